//! Lists of CPUs, as Linux writes them.

use std::collections::BTreeSet;

use crate::preflight::Host;

/// Reads a list such as `0-3,8`.
pub(super) fn cpus(list: &str) -> BTreeSet<u32> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// The CPUs of this machine that are in use.
pub(crate) fn online(host: &Host) -> BTreeSet<u32> {
    host.read("/sys/devices/system/cpu/online").map(|list| cpus(&list)).unwrap_or_default()
}
