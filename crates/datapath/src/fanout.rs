//! Fan-outs: wildcard requests and advertisements, which concern many exports. An lcore does a slice of one in each turn,
//! so that ten thousand exports do not hold up other requests.

use std::collections::VecDeque;

use aoe_target::{Cursor, DropReason, ExportId, PortId, Scan, ShelfSlot, VlanId, Vlans};
use dpdk::Mbuf;

use crate::{exports::Exports, port_queue::PortQueue};

/// Wildcard requests that one lcore answers at the same time.
const MAX_WILDCARDS: usize = 64;

/// Places of the table looked at, and replies made, in one turn.
pub(crate) const SLICE: usize = 64;

/// An lcore's fan-outs, oldest first.
#[derive(Debug)]
pub(crate) struct Fanouts {
    queued: VecDeque<Fanout>,
    /// Requests among them.
    wildcards: usize,
}

/// Work for every export that matches.
#[derive(Debug)]
pub(crate) struct Fanout {
    queue: usize,
    vlans: Vlans,
    pattern: ShelfSlot,
    cursor: Cursor,
    job: Job,
    /// Whether an export matched.
    found: bool,
}

#[derive(Debug)]
enum Job {
    /// Answer this request, from a copy for each export.
    Request(Mbuf),
    /// Advertise the export, next to this one of its destinations.
    Advertise { nth: usize },
}

/// What the next export of a fan-out needs.
pub(crate) enum Step {
    /// This copy of the request is to be admitted by this export.
    Admit(ExportId, Mbuf),
    /// Nothing more: it was advertised or left out.
    Done,
    /// The rest waits for another turn.
    Pause,
    /// There are no further exports.
    End,
}

impl Fanouts {
    pub(crate) fn new() -> Self {
        Self { queued: VecDeque::with_capacity(256), wildcards: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.queued.clear();
        self.wildcards = 0;
    }

    /// Keeps a wildcard request, of `vlan` or of none, to answer it for each export in turn.
    #[cold]
    pub(crate) fn push_request(
        &mut self,
        queue: &mut PortQueue,
        vlan: Option<VlanId>,
        pattern: ShelfSlot,
        frame: Mbuf,
    ) {
        if self.wildcards == MAX_WILDCARDS {
            return queue.drop(frame, DropReason::FanoutFull);
        }
        self.wildcards += 1;
        let (vlans, cursor) = (Vlans::One(vlan), Cursor::default());
        let job = Job::Request(frame);
        self.queued.push_back(Fanout { queue: queue.index(), vlans, pattern, cursor, job, found: false });
    }

    /// Advertises the exports that `pattern` means, on `port` or on all ports whose advertisements these queues send; those
    /// of a VLAN in it.
    pub(crate) fn push_advertisements(
        &mut self,
        queues: &[PortQueue],
        port: Option<PortId>,
        pattern: ShelfSlot,
    ) {
        for queue in queues {
            if queue.advertises() && port.is_none_or(|port| port == queue.port()) {
                let (vlans, cursor) = (Vlans::Every, Cursor::default());
                let job = Job::Advertise { nth: 0 };
                self.queued.push_back(Fanout {
                    queue: queue.index(),
                    vlans,
                    pattern,
                    cursor,
                    job,
                    found: false,
                });
            }
        }
    }

    /// Takes out the oldest one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Fanout> {
        self.queued.pop_front()
    }

    /// Puts one back that is not at its end.
    pub(crate) fn put_back(&mut self, fanout: Fanout) {
        self.queued.push_back(fanout);
    }

    /// Forgets one that is at its end. A request that meant no export is counted as a drop, like one to a single address
    /// that nobody serves.
    pub(crate) fn end(&mut self, fanout: Fanout, queue: &mut PortQueue) {
        let Job::Request(request) = fanout.job else { return };
        self.wildcards -= 1;
        if !fanout.found {
            queue.drop(request, DropReason::UnknownShelfSlot);
        }
    }
}

impl Fanout {
    /// Index of the queue that it replies by.
    pub(crate) fn queue(&self) -> usize {
        self.queue
    }

    /// Goes on to the next export.
    pub(crate) fn step(&mut self, exports: &Exports, queue: &mut PortQueue) -> Step {
        let before = self.cursor;
        let id = match exports.scan(&mut self.cursor, queue.port(), self.vlans, self.pattern, SLICE) {
            Scan::Match(id) => id,
            Scan::Paused => return Step::Pause,
            Scan::Done => return Step::End,
        };
        let Some(mut frame) = queue.alloc() else {
            // Mbufs come back as replies are sent: this export is tried again then.
            self.cursor = before;
            return Step::Pause;
        };
        match &mut self.job {
            Job::Request(request) => {
                self.found = true;
                if frame.copy_from(request) {
                    Step::Admit(id, frame)
                } else {
                    queue.drop(frame, DropReason::NoRoom);
                    Step::End
                }
            }
            Job::Advertise { nth } => {
                let Some(export) = exports.get(id) else { return Step::Done };
                let Some(destination) = export.advertisement_destination(*nth) else {
                    // The list became shorter meanwhile.
                    *nth = 0;
                    return Step::Done;
                };
                *nth += 1;
                if export.advertisement_destination(*nth).is_some() {
                    // The same export again, for the next address of its mask list.
                    self.cursor = before;
                } else {
                    *nth = 0;
                }
                queue.advertise(export, destination, frame);
                Step::Done
            }
        }
    }
}
