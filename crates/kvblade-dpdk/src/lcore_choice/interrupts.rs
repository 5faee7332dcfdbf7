//! The CPUs that handle interrupts of served interfaces and disks, and the NUMA nodes of these devices.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::cpu_list::{cpus, online};
use crate::preflight::Host;

/// Maximum depth of stacked block devices: a partition, a logical volume, RAID, encryption.
const LAYERS_MAX: usize = 8;

/// The served interfaces and files, whose interrupts the polling CPU should not handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    pub(crate) interfaces: Vec<String>,
    pub(crate) files: Vec<PathBuf>,
}

/// The CPUs that handle interrupts of these interfaces and of the disks beneath these files, and the names of those
/// devices.
pub(super) fn cpus_of(host: &Host, served: &Served) -> (BTreeSet<u32>, String) {
    let mut found = BTreeSet::new();
    let mut whose = Vec::new();
    let mut add = |devices: Vec<PathBuf>, name: String| {
        let serving: BTreeSet<u32> = devices
            .iter()
            .flat_map(|device| interrupts(device))
            .flat_map(|number| served_by(host, number))
            .collect();
        if !serving.is_empty() {
            found.extend(serving);
            whose.push(name);
        }
    };
    for name in &served.interfaces {
        add(vec![host.at(&format!("/sys/class/net/{name}/device"))], name.clone());
    }
    for file in &served.files {
        add(disks(host, file), file.display().to_string());
    }
    (found, whose.join(" and "))
}

/// An interrupt of a disk that an lcore's CPU handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OnLcore {
    pub(crate) interrupt: u32,
    pub(crate) cpu: u32,
}

/// The interrupts of the disks beneath a file that the CPUs of these lcores handle. None where a drive has a queue for each
/// CPU: then a CPU completes what it has submitted itself, and nothing can be moved.
pub(crate) fn on_lcores(host: &Host, file: &Path, lcores: &[u32]) -> Vec<OnLcore> {
    let fired = fired(host);
    let devices = disks(host, file);
    let numbers =
        devices.iter().flat_map(|device| interrupts(device)).filter(|number| fired.contains(number));
    let served: Vec<(u32, BTreeSet<u32>)> =
        numbers.map(|interrupt| (interrupt, served_by(host, interrupt))).collect();
    let all: BTreeSet<u32> = served.iter().flat_map(|(_, serving)| serving).copied().collect();
    if served.len() > 1 && online(host).is_subset(&all) {
        return Vec::new();
    }
    let on_lcores = served.iter().flat_map(|(interrupt, serving)| {
        let serving = serving.iter().filter(|cpu| lcores.contains(cpu));
        serving.map(|&cpu| OnLcore { interrupt: *interrupt, cpu })
    });
    on_lcores.collect()
}

/// The interrupts that have come at least once. A disk has some for other things than its requests, which never do.
fn fired(host: &Host) -> BTreeSet<u32> {
    let table = host.read("/proc/interrupts").unwrap_or_default();
    let number = |line: &str| {
        let (number, counts) = line.split_once(':')?;
        let mut counts = counts.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        counts.any(|count| count > 0).then(|| number.trim().parse().ok())?
    };
    table.lines().filter_map(number).collect()
}

/// The NUMA nodes of these interfaces' NICs.
pub(super) fn nodes_of(host: &Host, interfaces: &[String]) -> BTreeSet<u32> {
    let node =
        |name: &String| host.read(&format!("/sys/class/net/{name}/device/numa_node"))?.trim().parse().ok();
    interfaces.iter().filter_map(node).collect()
}

/// The devices in sysfs of the disks that a file or block device lies on.
fn disks(host: &Host, file: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::metadata(file) else { return Vec::new() };
    let number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    beneath(&host.at(&format!("/sys/dev/block/{}:{}", major(number), minor(number))), LAYERS_MAX)
}

/// The lowest block devices beneath this one.
fn beneath(device: &Path, layers: usize) -> Vec<PathBuf> {
    let Ok(device) = device.canonicalize() else { return Vec::new() };
    let slaves = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten();
    let lower: Vec<PathBuf> = match layers.checked_sub(1) {
        Some(layers) => slaves.flat_map(|slave| beneath(&slave.path(), layers)).collect(),
        None => Vec::new(),
    };
    if lower.is_empty() { vec![device] } else { lower }
}

/// The numbers of a device's interrupts: its own, or those of the nearest parent that has any (a partition's disk, a disk's
/// controller, a virtio device's PCI function).
fn interrupts(device: &Path) -> Vec<u32> {
    let Ok(device) = device.canonicalize() else { return Vec::new() };
    for place in device.ancestors() {
        let messages: Vec<u32> = fs::read_dir(place.join("msi_irqs"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        if !messages.is_empty() {
            return messages;
        }
        let line = fs::read_to_string(place.join("irq")).ok().and_then(|line| line.trim().parse().ok());
        if let Some(line) = line.filter(|line| *line > 0) {
            return vec![line];
        }
        if place.ends_with("sys") {
            break;
        }
    }
    Vec::new()
}

/// The CPUs that an interrupt goes to.
fn served_by(host: &Host, interrupt: u32) -> BTreeSet<u32> {
    let lists = ["effective_affinity_list", "smp_affinity_list"];
    let list = lists.iter().find_map(|list| host.read(&format!("/proc/irq/{interrupt}/{list}")));
    list.map(|list| cpus(&list)).unwrap_or_default()
}
