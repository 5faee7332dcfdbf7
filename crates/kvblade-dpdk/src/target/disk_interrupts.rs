//! The warning of disks whose interrupts an lcore's CPU handles.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use spdk::BdevInfo;

use crate::eal_options::ranges;
use crate::lcore_choice::{on_lcores, online};
use crate::preflight::Host;

thread_local! {
    /// The interrupts that were warned of: many exports lie on one disk.
    static WARNED: RefCell<BTreeSet<u32>> = const { RefCell::new(BTreeSet::new()) };
}

/// Warns of each interrupt of the disks beneath this bdev that goes to the CPU of one of these lcores, once, if there is a CPU
/// that it could go to.
pub(super) fn warn(info: &BdevInfo, lcores: &[u32]) {
    let host = Host::this();
    let mut others = online(&host);
    others.retain(|cpu| !lcores.contains(cpu));
    if others.is_empty() {
        return;
    }
    for file in &info.files {
        for found in on_lcores(&host, Path::new(&file.path), lcores) {
            if WARNED.with_borrow_mut(|warned| warned.insert(found.interrupt)) {
                tracing::warn!(
                    bdev = info.name,
                    path = file.path,
                    interrupt = found.interrupt,
                    lcore = found.cpu,
                    "the disk's interrupt goes to the CPU of an lcore and takes its time; to move it: echo {} \
                     >/proc/irq/{}/smp_affinity_list",
                    ranges(&others),
                    found.interrupt
                );
            }
        }
    }
}
