//! Checks that EAL will find memory: free hugepages, and a hugetlbfs to map them through.

use std::fs;

use super::host::Host;
use crate::command_line::CommandLine;
use crate::launch_config::LaunchConfig;
use crate::launch_error::LaunchError;

const MIB: u64 = 1 << 20;

pub(super) fn check(command: &CommandLine, launch: &LaunchConfig, host: &Host) -> Result<(), LaunchError> {
    let asked = command.eal.mem_mb.map(|mb| u64::from(mb) * MIB);
    if command.eal.no_huge {
        return match asked {
            Some(asked) if asked < launch.malloc_bytes => Err(LaunchError::environment(format!(
                "the malloc exports need {} MiB and -m gives {} MiB: give more, or smaller exports",
                launch.malloc_bytes.div_ceil(MIB),
                asked / MIB
            ))),
            _ => Ok(()),
        };
    }
    let pages = free_pages(host);
    let free: u64 = pages.iter().map(|(size, count)| size * count).sum();
    if free == 0 {
        return Err(LaunchError::environment(
            "no hugepages are free: start it with --hugepages auto, which reserves those that are missing, or reserve some \
             by hand, for example 512 MiB with echo 256 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or do \
             without by the EAL options --no-huge --legacy-mem -m 1024",
        ));
    }
    let usable = usable(command, host);
    if usable == 0 {
        return Err(LaunchError::environment(
            "hugepages are free but no hugetlbfs for their size is mounted: run mount -t hugetlbfs none \
             /dev/hugepages, or give the EAL option --in-memory",
        ));
    }
    let (needed, by) = match asked {
        Some(asked) if asked > launch.malloc_bytes => (asked, "the EAL option -m asks for"),
        _ => (launch.malloc_bytes, "the malloc exports need"),
    };
    if needed > usable {
        return Err(LaunchError::environment(format!(
            "{by} {} MiB and {} MiB of hugepages are free: start it with --hugepages auto, which reserves what is \
             missing, or ask for less",
            needed.div_ceil(MIB),
            usable / MIB
        )));
    }
    Ok(())
}

/// Bytes of free hugepages that EAL can map.
pub(super) fn usable(command: &CommandLine, host: &Host) -> u64 {
    let pages = free_pages(host);
    if command.eal.in_memory {
        pages.iter().map(|(size, count)| size * count).sum()
    } else {
        mapped_through_hugetlbfs(host, &pages)
    }
}

/// Bytes of free hugepages of this size that EAL can map through a hugetlbfs.
pub(super) fn free_of(host: &Host, size: u64) -> u64 {
    let pages: Vec<(u64, u64)> = free_pages(host).into_iter().filter(|(other, _)| *other == size).collect();
    mapped_through_hugetlbfs(host, &pages)
}

/// Page size in bytes and number of free pages, for every size the kernel has.
fn free_pages(host: &Host) -> Vec<(u64, u64)> {
    let Ok(sizes) = fs::read_dir(host.at("/sys/kernel/mm/hugepages")) else { return Vec::new() };
    sizes
        .flatten()
        .filter_map(|size| {
            let name = size.file_name();
            let kib: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let free: u64 =
                fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
            Some((kib << 10, free))
        })
        .collect()
}

/// Bytes in free pages of those sizes that some hugetlbfs is mounted for.
fn mapped_through_hugetlbfs(host: &Host, pages: &[(u64, u64)]) -> u64 {
    let mounts = host.read("/proc/mounts").unwrap_or_default();
    // `pagesize=2M`, or nothing at all on kernels that do not show the default.
    let sizes: Vec<Option<u64>> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&"hugetlbfs"))
        .map(|fields| {
            let options = fields.get(3)?.split(',');
            page_size(options.clone().find_map(|option| option.strip_prefix("pagesize="))?)
        })
        .collect();
    let is_mounted = |size: u64| sizes.iter().any(|mounted| mounted.is_none_or(|mounted| mounted == size));
    pages.iter().filter(|(size, _)| is_mounted(*size)).map(|(size, count)| size * count).sum()
}

fn page_size(text: &str) -> Option<u64> {
    let shift = match text.chars().last()? {
        'K' | 'k' => 10,
        'M' | 'm' => 20,
        'G' | 'g' => 30,
        _ => return text.parse().ok(),
    };
    text.get(..text.len() - 1)?.parse::<u64>().ok().map(|number| number << shift)
}
