//! One frame, many exports: wildcard requests and advertisements, a slice each turn, so that ten thousand
//! exports do not hold up the other requests.

use aoe_target::{Cursor, DropReason, PortId, Request, Scan, ShelfSlot, VlanId, Vlans, emit_advertisement};
use dpdk::Mbuf;

use crate::Lcore;

/// Wildcard requests that one lcore answers at the same time.
const MAX_WILDCARDS: usize = 64;

/// Places of the table looked at, and replies made, in one turn.
const SLICE: usize = 64;

/// Something to do for every export that matches.
#[derive(Debug)]
pub(crate) struct Fanout {
    lane: usize,
    vlans: Vlans,
    pattern: ShelfSlot,
    cursor: Cursor,
    job: Job,
}

#[derive(Debug)]
enum Job {
    /// Answer this request, from a copy for each export.
    Request(Mbuf),
    /// Announce the export, next to this one of its destinations.
    Advertise { nth: usize },
}

impl Lcore {
    /// Keeps a wildcard request, of `vlan` or of none, to answer it for each export in turn.
    pub(crate) fn fan_out_request(
        &mut self,
        lane: usize,
        vlan: Option<VlanId>,
        pattern: ShelfSlot,
        frame: Mbuf,
    ) {
        if self.wildcards == MAX_WILDCARDS {
            self.lanes[lane].drop(frame, DropReason::FanoutFull);
            return;
        }
        self.wildcards += 1;
        let (vlans, cursor) = (Vlans::One(vlan), Cursor::default());
        self.fanouts.push_back(Fanout { lane, vlans, pattern, cursor, job: Job::Request(frame) });
    }

    /// Announces the exports that `pattern` means, on `port` or on all ports whose advertisements this lcore
    /// sends; those of a VLAN in it.
    pub fn advertise(&mut self, port: Option<PortId>, pattern: ShelfSlot) {
        for (lane, state) in self.lanes.iter().enumerate() {
            if state.advertises && port.is_none_or(|port| port == state.port) {
                let (vlans, cursor) = (Vlans::Every, Cursor::default());
                let job = Job::Advertise { nth: 0 };
                self.fanouts.push_back(Fanout { lane, vlans, pattern, cursor, job });
            }
        }
    }

    /// Goes on with the oldest fan-out for one slice. True if there was one.
    #[inline]
    pub(crate) fn fan_out(&mut self) -> bool {
        let Some(mut fanout) = self.fanouts.pop_front() else { return false };
        if self.slice(&mut fanout) {
            self.wildcards -= usize::from(matches!(fanout.job, Job::Request(_)));
        } else {
            self.fanouts.push_back(fanout);
        }
        true
    }

    /// One slice; true when the fan-out is finished.
    fn slice(&mut self, fanout: &mut Fanout) -> bool {
        for _ in 0..SLICE {
            let before = fanout.cursor;
            let port = self.lanes[fanout.lane].port;
            let export = match self.table.scan(&mut fanout.cursor, port, fanout.vlans, fanout.pattern, SLICE)
            {
                Scan::Match(export) => export,
                Scan::Paused => return false,
                Scan::Done => return true,
            };
            let Some(mut frame) = self.lanes[fanout.lane].rx.mempool().alloc() else {
                // Mbufs come back as replies are sent: this export is tried again then.
                fanout.cursor = before;
                return false;
            };
            match &mut fanout.job {
                Job::Request(request) => {
                    if !frame.copy_from(request) {
                        self.lanes[fanout.lane].drop(frame, DropReason::NoRoom);
                        return true;
                    }
                    match Request::parse(frame.data(), frame.frame_len()) {
                        Ok(request) => self.admit(fanout.lane, export, &request, frame),
                        Err(reason) => self.lanes[fanout.lane].drop(frame, reason),
                    }
                }
                Job::Advertise { nth } => {
                    let lane = &mut self.lanes[fanout.lane];
                    let Some(export) = self.table.get(export) else { continue };
                    let Some(destination) = export.advertisement_destination(*nth) else {
                        // The list became shorter meanwhile.
                        *nth = 0;
                        continue;
                    };
                    *nth += 1;
                    if export.advertisement_destination(*nth).is_some() {
                        // The same export again, for the next address of its mask list.
                        fanout.cursor = before;
                    } else {
                        *nth = 0;
                    }
                    let room = frame.room();
                    let length = frame
                        .resize(room)
                        .then(|| {
                            emit_advertisement(frame.data_mut(), lane.mac, destination, export, lane.limits)
                        })
                        .flatten();
                    if length.is_some_and(|length| frame.resize(length)) {
                        if let Some(vlan) = export.vlan() {
                            frame.tag(vlan.get());
                        }
                        lane.counters.advertisements += 1;
                        lane.send(frame);
                    } else {
                        lane.drop(frame, DropReason::NoRoom);
                    }
                }
            }
        }
        false
    }
}
