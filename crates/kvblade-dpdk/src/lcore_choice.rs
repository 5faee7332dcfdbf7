//! The choice of the polling CPU when the operator names none.
//!
//! An isolated CPU is best. Otherwise the CPU should have little other work: it handles no interrupts of the served
//! interfaces and disks, shares its core with no CPU that does, and is not CPU 0, where Linux runs its unbound work.

mod cpu_list;
mod interrupts;

use std::collections::BTreeSet;

use cpu_list::cpus;
pub(crate) use cpu_list::online;
pub(crate) use interrupts::{Served, on_lcores};

use crate::launch_error::LaunchError;
use crate::preflight::Host;

/// The number of CPUs that can be lcores of the same number (`RTE_MAX_LCORE` as Debian builds DPDK).
const CPUS_MAX: u32 = 128;

/// The chosen CPU, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) cpu: u32,
    pub(crate) why: String,
}

/// The drawbacks of a CPU, the gravest first: the derived order compares them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Drawbacks {
    not_isolated: bool,
    serves_interrupts: bool,
    sibling_serves_interrupts: bool,
    is_cpu_0: bool,
    on_another_node: bool,
    cpu: u32,
}

/// Chooses a CPU.
///
/// # Errors
/// One sentence, if this process may use no CPU that can be an lcore.
pub(crate) fn choose(host: &Host, served: &Served) -> Result<Choice, LaunchError> {
    let isolated = isolated(host);
    let allowed = allowed(host, &isolated);
    let (busy, whose) = interrupts::cpus_of(host, served);
    let nodes = interrupts::nodes_of(host, &served.interfaces);
    let drawbacks = |cpu: u32| Drawbacks {
        not_isolated: !isolated.contains(&cpu),
        serves_interrupts: busy.contains(&cpu),
        sibling_serves_interrupts: siblings(host, cpu).iter().any(|sibling| busy.contains(sibling)),
        is_cpu_0: cpu == 0,
        on_another_node: !nodes.is_empty() && !nodes.iter().any(|node| is_on(host, cpu, *node)),
        cpu,
    };
    let candidates = allowed.iter().filter(|cpu| **cpu < CPUS_MAX);
    let best = candidates.map(|cpu| drawbacks(*cpu)).min().ok_or_else(|| {
        LaunchError::environment(format!(
            "of the CPUs that this process may use ({}) none is below {CPUS_MAX}, which DPDK needs: allow it others, or \
             choose with -l",
            written(&allowed)
        ))
    })?;
    Ok(Choice { why: reason(&best, &allowed, &busy, &whose), cpu: best.cpu })
}

fn reason(best: &Drawbacks, allowed: &BTreeSet<u32>, busy: &BTreeSet<u32>, whose: &str) -> String {
    if !best.not_isolated {
        return "it is isolated (isolcpus or nohz_full)".into();
    }
    if allowed.len() == 1 {
        return "it is the only CPU that this process may use".into();
    }
    let mut reasons = Vec::new();
    if best.serves_interrupts {
        reasons.push(format!("every CPU that this process may use serves interrupts of {whose}"));
    } else if !busy.is_empty() {
        let neither =
            if best.sibling_serves_interrupts { "" } else { ", nor does the other thread of its core" };
        reasons.push(format!("it serves no interrupts of {whose}, as CPUs {} do{neither}", written(busy)));
    }
    if !best.is_cpu_0 {
        reasons.push("it is not CPU 0, where Linux does its own work".into());
    }
    reasons.join("; ")
}

/// The CPUs that Linux keeps free of other work.
fn isolated(host: &Host) -> BTreeSet<u32> {
    let lists = ["/sys/devices/system/cpu/isolated", "/sys/devices/system/cpu/nohz_full"];
    lists.iter().filter_map(|list| host.read(list)).flat_map(|list| cpus(&list)).collect()
}

/// The CPUs that this process may use: those of its affinity, and the isolated ones of its cpuset, which no default affinity
/// includes. An affinity that was narrowed by hand counts alone.
fn allowed(host: &Host, isolated: &BTreeSet<u32>) -> BTreeSet<u32> {
    let online = online(host);
    let affinity = host
        .read("/proc/self/status")
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(cpus))
        .unwrap_or_else(|| online.clone());
    let cpuset = match cpuset(host) {
        Some(cpuset) if online.is_empty() => cpuset,
        Some(cpuset) => &cpuset & &online,
        None => online,
    };
    if cpuset.is_subset(&(&affinity | isolated)) { &cpuset | &affinity } else { affinity }
}

/// The CPUs of the cpuset of this process's cgroup (version 2), or of the nearest above it that has one.
fn cpuset(host: &Host) -> Option<BTreeSet<u32>> {
    let groups = host.read("/proc/self/cgroup")?;
    let mut group = groups.lines().find_map(|line| line.strip_prefix("0::"))?.trim().trim_end_matches('/');
    loop {
        if let Some(list) = host.read(&format!("/sys/fs/cgroup{group}/cpuset.cpus.effective")) {
            return Some(cpus(&list));
        }
        group = group.rsplit_once('/')?.0;
    }
}

/// The other hardware threads of a CPU's core.
fn siblings(host: &Host, cpu: u32) -> BTreeSet<u32> {
    let list = host.read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let mut siblings = list.map(|list| cpus(&list)).unwrap_or_default();
    siblings.remove(&cpu);
    siblings
}

fn is_on(host: &Host, cpu: u32, node: u32) -> bool {
    host.at(&format!("/sys/devices/system/cpu/cpu{cpu}/node{node}")).exists()
}

fn written(cpus: &BTreeSet<u32>) -> String {
    crate::eal_options::ranges(cpus)
}

#[cfg(test)]
mod tests;
