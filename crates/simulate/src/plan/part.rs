//! The parts of the simulation.

use std::str::FromStr;

/// A part of the simulation that can be left out, on the command line and by shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Requests that overlap others in flight, and retransmissions of writes that the target still works on.
    Overlap,
    /// The same where several lcores serve an export.
    OverlapAcross,
    /// Bdevs that do not answer some I/Os until the end.
    Hang,
    /// Bdevs that answer some I/Os past the deadlines of requests.
    Deadline,
    /// The link loses frames.
    Loss,
    /// The link duplicates frames.
    Duplicate,
    /// The link delivers frames in another order.
    Reorder,
    /// The link cuts frames short.
    Truncate,
    /// SPDK has no memory for some I/Os.
    NoMemory,
    /// Bdevs fail some I/Os.
    Fail,
    /// The bdev of one lcore fails everything.
    FailOneLcore,
    /// An lcore gets no channel into a bdev, now and then.
    NoChannel,
    /// Lcores stall.
    Stall,
    /// Frames are distributed over lcores by software.
    Distribute,
    /// Each lcore has a port of its own: requests and replies go from lcore to lcore.
    Ports,
    /// TRIM.
    Trim,
    /// VLAN tags.
    Vlan,
    /// Requests to wildcard addresses, and to nobody.
    Wildcard,
    /// Reservations, by which requests of others are fenced off.
    Fence,
    /// Exports are deleted, and created again.
    Delete,
    /// Exports are deleted by force, and others get their addresses.
    Force,
    /// Bdevs are removed, and come back.
    Remove,
    /// Bdevs become smaller.
    Shrink,
    /// Exports go on with another bdev.
    Replace,
    /// Blocks of 4096 bytes.
    LargeBlocks,
    /// Files whose writes share fdatasyncs.
    GroupCommit,
    /// Config strings and mask lists are set.
    State,
    /// Operators change initiator state, and the lists of initiators.
    Calls,
}

impl Part {
    pub(crate) const ALL: [Self; 28] = [
        Self::Overlap,
        Self::OverlapAcross,
        Self::Hang,
        Self::Deadline,
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Truncate,
        Self::NoMemory,
        Self::Fail,
        Self::FailOneLcore,
        Self::NoChannel,
        Self::Stall,
        Self::Distribute,
        Self::Ports,
        Self::Trim,
        Self::Vlan,
        Self::Wildcard,
        Self::Fence,
        Self::Delete,
        Self::Force,
        Self::Remove,
        Self::Shrink,
        Self::Replace,
        Self::LargeBlocks,
        Self::GroupCommit,
        Self::State,
        Self::Calls,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::OverlapAcross => "overlap-across",
            Self::Hang => "hang",
            Self::Deadline => "deadline",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Truncate => "truncate",
            Self::NoMemory => "no-memory",
            Self::Fail => "fail",
            Self::FailOneLcore => "fail-one-lcore",
            Self::NoChannel => "no-channel",
            Self::Stall => "stall",
            Self::Distribute => "distribute",
            Self::Ports => "ports",
            Self::Trim => "trim",
            Self::Vlan => "vlan",
            Self::Wildcard => "wildcard",
            Self::Fence => "fence",
            Self::Delete => "delete",
            Self::Force => "force",
            Self::Remove => "remove",
            Self::Shrink => "shrink",
            Self::Replace => "replace",
            Self::LargeBlocks => "large-blocks",
            Self::GroupCommit => "group-commit",
            Self::State => "state",
            Self::Calls => "calls",
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| {
            format!("no part of the simulation is called {text:?}: {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
