//! The steps of a request's way, and whose time a sample is.

use super::frames::KERNEL;
use serde::Serialize;
use std::fmt;

/// What an lcore does, in the order of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Takes frames from the port.
    Rx,
    /// Asks the CPU for what the next request will read.
    Foresee,
    /// Looks whether a frame is a request.
    Parse,
    /// Finds the export, and what it permits.
    Admit,
    /// Hands the request to SPDK.
    Submit,
    /// SPDK's way to the bdev and back.
    Bdev,
    /// The bdev's copy of the data.
    Copy,
    /// Takes what bdevs have finished.
    Complete,
    /// Turns the request's frame into its answer.
    Reply,
    /// Gives frames to the port.
    Tx,
    /// Linux's part in that, where the PMD asks it.
    Linux,
    /// The turn around all these.
    Turn,
    /// SPDK's loop around the turn.
    Reactor,
    /// The rest.
    Other,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Rx,
        Self::Foresee,
        Self::Parse,
        Self::Admit,
        Self::Submit,
        Self::Bdev,
        Self::Copy,
        Self::Complete,
        Self::Reply,
        Self::Tx,
        Self::Linux,
        Self::Turn,
        Self::Reactor,
        Self::Other,
    ];

    /// As the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Foresee => "foresee",
            Self::Parse => "parse",
            Self::Admit => "route + admit",
            Self::Submit => "submit",
            Self::Bdev => "bdev",
            Self::Copy => "copy",
            Self::Complete => "complete",
            Self::Reply => "reply",
            Self::Tx => "tx",
            Self::Linux => "Linux",
            Self::Turn => "turn",
            Self::Reactor => "reactor",
            Self::Other => "other",
        }
    }

    /// What belongs to it.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Rx => "DPDK's rx burst: the PMD; memif and af_packet copy each frame",
            Self::Foresee => {
                "asking the CPU for the next request's data ahead, and waiting until it can be asked for more"
            }
            Self::Parse => "is the frame a request, and for us",
            Self::Admit => "its export, and whether that may do it",
            Self::Submit => "our call of SPDK, with the data's place in the mbuf",
            Self::Bdev => "SPDK's bdev layer and the malloc bdev",
            Self::Copy => "the malloc bdev's copy between its memory and the mbuf",
            Self::Complete => "SPDK's callback, and taking what is finished",
            Self::Reply => "the answer's headers, in the request's mbuf",
            Self::Tx => "DPDK's tx burst: the PMD; memif and af_packet copy each frame",
            Self::Linux => "its system calls: over veth all of sending, and receiving at the other end",
            Self::Turn => "our loop over the lanes, and SPDK's call of it",
            Self::Reactor => "SPDK's loop, its messages and timers",
            Self::Other => "interrupts, page faults; the control plane",
        }
    }

    /// Whose time a stack is. The innermost function that has a rule decides; one that has none, such as a copy or the
    /// clock, works for its caller.
    pub fn of(stack: &str) -> Self {
        let functions: Vec<&str> = stack.split(';').collect();
        if functions.last().is_some_and(|function| function.ends_with(KERNEL)) {
            let is_asked = functions.iter().any(|function| function.contains(SYSTEM_CALL));
            return if is_asked { Self::Linux } else { Self::Other };
        }
        let by_function = |inside: usize| {
            let outside = &functions[..inside];
            let rule = RULES.iter().find(|rule| {
                matches(rule.function, functions[inside])
                    && rule.under.is_none_or(|under| outside.iter().any(|outer| matches(under, outer)))
            });
            rule.map(|rule| rule.step)
        };
        (0..functions.len()).rev().find_map(by_function).unwrap_or(Self::Other)
    }

    /// Whose time a function is by itself, whoever calls it; `None` if that is its caller's.
    pub fn of_function(function: &str) -> Option<Self> {
        if function.ends_with(KERNEL) {
            // That it is asked shows only on the stack.
            return Some(Self::Linux);
        }
        let by_itself = |rule: &&Rule| rule.under.is_none() || rule.step == Self::Copy;
        RULES.iter().filter(by_itself).find(|rule| matches(rule.function, function)).map(|rule| rule.step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Of the stacks in the order of time, those from the first to the last that belong to a request's data or answer: before
/// and after, the initiator starts and ends, and the lcore has nothing to do.
pub fn under_load(stacks: &[String]) -> &[String] {
    let works = |stack: &String| matches!(Step::of(stack), Step::Bdev | Step::Copy | Step::Reply);
    match (stacks.iter().position(works), stacks.iter().rposition(works)) {
        (Some(first), Some(last)) => &stacks[first..=last],
        _ => &[],
    }
}

/// In the name of the function of Linux's that every system call goes through.
const SYSTEM_CALL: &str = "do_syscall_64";

/// Functions, and whose time they are.
struct Rule {
    /// A name, or with a star at its end the beginning of names.
    function: &'static str,
    /// Only if it is called, directly or not, by one of these.
    under: Option<&'static str>,
    step: Step,
}

const fn rule(function: &'static str, step: Step) -> Rule {
    Rule { function, under: None, step }
}

const fn under(function: &'static str, caller: &'static str, step: Step) -> Rule {
    Rule { function, under: Some(caller), step }
}

/// The first that fits counts.
const RULES: &[Rule] = &[
    // DPDK's PMDs have no symbols, so they are known by their library.
    under("[librte_net_*", "dpdk_shim_rx_burst", Step::Rx),
    rule("[librte_net_*", Step::Tx),
    rule("dpdk_shim_rx_burst", Step::Rx),
    rule("dpdk_shim_tx_burst", Step::Tx),
    rule("dpdk::queue::poll*", Step::Rx),
    rule("dpdk::queue::flush", Step::Tx),
    rule("datapath::receive::receive", Step::Rx),
    rule("datapath::lcore::send", Step::Tx),
    rule("datapath::foresee::*", Step::Foresee),
    under("aoe_*", "datapath::foresee::*", Step::Foresee),
    under("spdk::*", "datapath::foresee::*", Step::Foresee),
    rule("datapath::receive::writable", Step::Parse),
    rule("datapath::receive::parse_tagged", Step::Parse),
    rule("datapath::receive::vlan_of", Step::Parse),
    rule("aoe_target::request::*", Step::Parse),
    rule("datapath::receive::*", Step::Admit),
    rule("aoe_target::table::*", Step::Admit),
    rule("aoe_target::admit::*", Step::Admit),
    rule("aoe_target::guard::*", Step::Admit),
    rule("datapath::submit::ended", Step::Complete),
    rule("datapath::submit::*", Step::Admit),
    // SPDK's callback when a request has ended.
    rule("spdk::channel::ended", Step::Complete),
    under("spdk::*", "spdk::channel::ended", Step::Complete),
    rule("spdk::channel::*", Step::Submit),
    under("mem*", "bdev_malloc_*", Step::Copy),
    under("__mem*", "bdev_malloc_*", Step::Copy),
    // By which the malloc bdev copies, where the stack does not reach back to it.
    under("mem*", "_sw_accel_copy_iovs", Step::Copy),
    under("__mem*", "_sw_accel_copy_iovs", Step::Copy),
    rule("spdk_bdev_*", Step::Bdev),
    rule("bdev_*", Step::Bdev),
    rule("_bdev_*", Step::Bdev),
    rule("malloc_done", Step::Bdev),
    rule("malloc_completion_poller", Step::Bdev),
    rule("malloc_sequence_done", Step::Bdev),
    rule("spdk_accel_*", Step::Bdev),
    rule("_accel_*", Step::Bdev),
    rule("accel_*", Step::Bdev),
    rule("sw_accel_*", Step::Bdev),
    rule("_sw_accel_*", Step::Bdev),
    rule("datapath::complete::*", Step::Complete),
    rule("datapath::follow::*", Step::Complete),
    rule("datapath::reply::*", Step::Reply),
    rule("aoe_target::reply::*", Step::Reply),
    rule("datapath::lcore::complete", Step::Complete),
    under("datapath::lane::*", "datapath::reply::send", Step::Reply),
    rule("datapath::*", Step::Turn),
    rule("spdk::thread::*", Step::Turn),
    // The bare responder.
    under("mem*", "benches::store::*", Step::Copy),
    under("__mem*", "benches::store::*", Step::Copy),
    rule("benches::store::*", Step::Copy),
    rule("benches::bin::responder::answer", Step::Reply),
    rule("benches::bin::responder::*", Step::Turn),
    // The control plane.
    rule("rpc_*", Step::Other),
    rule("spdk_rpc_*", Step::Other),
    rule("spdk_jsonrpc_*", Step::Other),
    rule("kvblade_dpdk::*", Step::Other),
    rule("spdk_thread_*", Step::Reactor),
    rule("thread_*", Step::Reactor),
    rule("msg_queue_run_batch", Step::Reactor),
    rule("event_queue_run_batch", Step::Reactor),
    rule("reactor_run", Step::Reactor),
    rule("_reactor_run", Step::Reactor),
];

fn matches(pattern: &str, function: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => function.starts_with(beginning),
        None => function == pattern,
    }
}

#[cfg(test)]
mod tests;
