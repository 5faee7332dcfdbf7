//! rx, parse, route: a burst of frames, each judged and brought to the export it is for.

use aoe_target::{DropReason, Request, Route};
use dpdk::{Burst, Mbuf};

use crate::{Lcore, lane::Lane};

/// Bytes at the start of a frame that parsing wants in one piece (`Request::parse`).
const HEAD: usize = 64;

impl Lcore {
    /// Takes what has arrived on every lane, one burst each. True if anything had.
    #[inline]
    pub(crate) fn receive(&mut self) -> bool {
        let mut received = false;
        for lane in 0..self.lanes.len() {
            let mut burst = Burst::new();
            if self.lanes[lane].rx.poll(&mut burst) == 0 {
                continue;
            }
            received = true;
            burst.prefetch();
            for frame in &mut burst {
                self.accept(lane, frame);
            }
        }
        received
    }

    /// Brings one frame to its export, or drops it.
    #[inline]
    fn accept(&mut self, lane_index: usize, frame: Mbuf) {
        let lane = &mut self.lanes[lane_index];
        lane.counters.rx_frames += 1;
        lane.counters.rx_bytes += frame.frame_len() as u64;
        // An untagged answer to a tagged request would leave its VLAN.
        if frame.is_of_vlan() {
            return lane.drop(frame, DropReason::NotAoe);
        }
        let Some(mut frame) = writable(lane, frame) else { return };
        let request = match Request::parse(frame.data(), frame.frame_len()) {
            Ok(request) if request.is_for(lane.mac) => request,
            Ok(_) => return lane.drop(frame, DropReason::NotOurMac),
            Err(reason) => return lane.drop(frame, reason),
        };
        if request.contiguous_len(frame.frame_len()) > frame.data().len() && !frame.linearize() {
            return lane.drop(frame, DropReason::ConfigSplit);
        }
        match self.table.route(lane.port, request.address) {
            Route::One(export) => self.admit(lane_index, export, &request, frame),
            Route::Many(pattern) => self.fan_out_request(lane_index, pattern, frame),
            Route::None => lane.drop(frame, DropReason::UnknownShelfSlot),
        }
    }
}

/// The frame as a request needs it: its head in one piece, its bytes nobody else's. A PMD that shares or splits
/// mbufs costs a copy here; none does for the frames of an Ethernet port with whole-frame rooms.
#[inline]
fn writable(lane: &mut Lane, mut frame: Mbuf) -> Option<Mbuf> {
    if !frame.is_exclusive() {
        let Some(mut own) = lane.rx.mempool().alloc() else {
            lane.drop(frame, DropReason::NoMbuf);
            return None;
        };
        if !own.copy_from(&frame) {
            lane.drop(frame, DropReason::NoRoom);
            return None;
        }
        frame = own;
    }
    if frame.data().len() < HEAD.min(frame.frame_len()) && !frame.linearize() {
        lane.drop(frame, DropReason::NoRoom);
        return None;
    }
    Some(frame)
}
