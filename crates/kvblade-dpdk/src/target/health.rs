//! `aoe_get_health`: what the target and the machine say, gathered for [`control::health`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use control::health::{Machine, drops_of, report};
use control::{ExportList, InitiatorStats, Stats};

use super::control_plane::Target;
use super::watchdog::Watchdog;
use crate::answer::Answer;

impl Target {
    /// Answers with the verdict. Files of the machine are read where the text is made.
    pub(super) fn report_health(
        &mut self,
        list: Arc<ExportList>,
        stats: Arc<Stats>,
        initiators: InitiatorStats,
        answer: Answer,
    ) {
        let drops_before = self.health.compare(Instant::now(), &drops_of(&stats));
        let links_down =
            self.ports.iter().filter(|port| !port.has_link()).map(|port| port.number()).collect();
        let stuck_lcores = self.watchdog.as_ref().map(Watchdog::stuck).unwrap_or_default();
        let lcores: Vec<u32> = self.lcores.iter().map(|lcore| lcore.core()).collect();
        answer.give_text(move || {
            let nodes: BTreeSet<i32> = lcores.iter().filter_map(|lcore| node_of_cpu(*lcore)).collect();
            let machine = Machine {
                links_down,
                stuck_lcores,
                free_hugepages: free_hugepages(),
                clock_source: line_of("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
                across_nodes: across_nodes(&list, &nodes),
                drops_before,
                initiators,
            };
            report(&list, &stats, &machine).to_string()
        });
    }
}

fn line_of(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Bytes of free hugepages, where this process uses some.
fn free_hugepages() -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    if !maps.contains("hugepages") && !maps.contains("/anon_hugepage") && !maps.contains("/dev/huge") {
        return None;
    }
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages").ok()?;
    let free = sizes.flatten().filter_map(|size| {
        let kib: u64 =
            size.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages: u64 = line_of(size.path().join("free_hugepages").to_str()?)?.parse().ok()?;
        Some(pages * (kib << 10))
    });
    Some(free.sum())
}

/// The NUMA node of a CPU, where the machine has several.
fn node_of_cpu(cpu: u32) -> Option<i32> {
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{cpu}")).ok()?;
    let nodes =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok());
    nodes.into_iter().next()
}

/// NICs on a node that none of `nodes` is.
fn across_nodes(list: &ExportList, nodes: &BTreeSet<i32>) -> Vec<(String, i32)> {
    let node_of_port = |port: &control::PortInfo| {
        let device = match &port.netif {
            Some(netif) => format!("/sys/class/net/{netif}/device/numa_node"),
            None => format!("/sys/bus/pci/devices/{}/numa_node", port.name),
        };
        // A device without a node says -1.
        line_of(&device)?.parse::<i32>().ok().filter(|node| *node >= 0)
    };
    let ports = list.ports.all().iter().filter_map(|port| Some((port.name.clone(), node_of_port(port)?)));
    ports.filter(|(_, node)| !nodes.is_empty() && !nodes.contains(node)).collect()
}
