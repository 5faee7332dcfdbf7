//! rx, parse, route: a burst of frames, each judged and brought to the export it is for.

use aoe_target::{DropReason, Request, Route, VlanId};
use dpdk::{BURST, Burst, Mbuf};

use crate::{Lcore, intake::COMPLETIONS, lane::Lane};

/// Bytes at the start of a frame that parsing wants in one piece (`Request::parse`), behind a VLAN tag.
const HEAD: usize = 64 + dpdk::VLAN_TAG;

/// The part of a turn, in [`BURST`]ths, after which no further lane is polled: a burst of that one could make it half as
/// much again as the cache holds.
const ENOUGH: usize = BURST / 2;

/// EtherTypes of VLAN tags: a customer's (IEEE 802.1Q) and a provider's (802.1ad).
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

impl Lcore {
    /// Takes what has arrived, lane after lane, until it is enough for a turn; the next turn begins behind the last
    /// lane. True if anything had.
    #[inline]
    pub(crate) fn receive(&mut self) -> bool {
        let mut received = false;
        let (mut frames, mut part) = (0, 0);
        for _ in 0..self.lanes.len() {
            if part >= ENOUGH {
                break;
            }
            let lane = self.next_lane;
            self.next_lane = if lane + 1 < self.lanes.len() { lane + 1 } else { 0 };
            let spread = self.lanes[lane].spread.is_some();
            if spread {
                received |= self.take_over(lane);
            }
            let mut burst = Burst::new();
            let limit = self.lanes[lane].intake.limit();
            let taken = self.lanes[lane].rx.poll_at_most(&mut burst, limit);
            if taken == 0 {
                continue;
            }
            burst.prefetch();
            self.lanes[lane].intake.begin();
            if spread {
                self.deal(lane, &mut burst);
            } else {
                self.serve(lane, &mut burst);
            }
            frames += taken;
            part += self.lanes[lane].intake.taken(taken);
        }
        self.hold_back = frames.saturating_sub(1) / COMPLETIONS;
        received | (frames > 0)
    }

    /// Brings the frames of a burst to their exports.
    #[inline]
    pub(crate) fn serve(&mut self, lane: usize, burst: &mut Burst) {
        self.foresee_exports(burst.frames());
        if self.in_memory > 0 {
            self.serve_each::<true>(lane, burst)
        } else {
            self.serve_each::<false>(lane, burst)
        }
    }

    /// All that this calls for a read or write, down to SPDK, is `inline(always)` and so becomes one function, and another
    /// one where data is in memory: left to itself, the compiler takes another part of it out with each edit elsewhere, for
    /// 50 to 200 instructions a request (benches/instructions).
    #[inline(never)]
    fn serve_each<const IN_MEMORY: bool>(&mut self, lane: usize, burst: &mut Burst) {
        while let Some(frame) = burst.next() {
            let next = if IN_MEMORY { self.foresee_data(burst.frames().first()) } else { None };
            self.accept(lane, frame);
            if let Some(data) = next {
                data.ask_for_more();
            }
        }
    }

    /// Brings one frame to its export, or drops it.
    #[inline(always)]
    fn accept(&mut self, lane_index: usize, frame: Mbuf) {
        let lane = &mut self.lanes[lane_index];
        lane.counters.rx_frames += 1;
        lane.counters.rx_bytes += frame.frame_len() as u64;
        let Some(mut frame) = writable(lane, frame) else { return };
        let mut parsed = Request::parse(frame.data(), frame.frame_len());
        if parsed == Err(DropReason::NotAoe) {
            parsed = parse_tagged(&mut frame);
        }
        let request = match parsed {
            Ok(request) if request.is_for(lane.mac) => request,
            Ok(_) => return lane.drop(frame, DropReason::NotOurMac),
            Err(reason) => return lane.drop(frame, reason),
        };
        if request.contiguous_len(frame.frame_len()) > frame.data().len() && !frame.linearize() {
            return lane.drop(frame, DropReason::ConfigSplit);
        }
        let vlan = if frame.is_tag_taken() {
            match vlan_of(&frame) {
                Ok(vlan) => vlan,
                Err(reason) => return lane.drop(frame, reason),
            }
        } else {
            None
        };
        match self.table.route(lane.port, vlan, request.address) {
            Route::One(export) => self.admit(lane_index, export, &request, frame),
            Route::Many(pattern) => self.fan_out_request(lane_index, vlan, pattern, frame),
            Route::None => lane.drop(frame, DropReason::UnknownShelfSlot),
        }
    }
}

/// Judges a frame that does not carry AoE directly behind its addresses: behind a tag it may. The tag goes beside the
/// frame; `Lane::send` puts it into the answer.
#[cold]
#[inline(never)]
fn parse_tagged(frame: &mut Mbuf) -> Result<Request, DropReason> {
    match frame.data().get(12..14) {
        Some(tag) if tag == TAGS[0] && !frame.is_tag_taken() => {}
        // A second tag, or a provider's, which leads to a customer's tag or to a bridge.
        Some(tag) if TAGS.iter().any(|known| tag == known) => return Err(DropReason::DoubleTagged),
        _ => return Err(DropReason::NotAoe),
    }
    if !frame.take_tag() {
        return Err(DropReason::Runt);
    }
    if frame.data().get(12..14).is_some_and(|next| TAGS.iter().any(|known| next == known)) {
        return Err(DropReason::DoubleTagged);
    }
    Request::parse(frame.data(), frame.frame_len())
}

/// The VLAN of a frame whose tag was taken out; `None` for one that has a priority only.
#[cold]
#[inline(never)]
fn vlan_of(frame: &Mbuf) -> Result<Option<VlanId>, DropReason> {
    if frame.are_two_tags_taken() {
        return Err(DropReason::DoubleTagged);
    }
    match frame.vlan() {
        0 => Ok(None),
        // 4095 is reserved, so no export has it.
        number => VlanId::new(number).map(Some).ok_or(DropReason::UnknownShelfSlot),
    }
}

/// The frame as a request needs it: its head in one piece, its bytes nobody else's. A PMD that shares or splits
/// mbufs costs a copy here; none does for the frames of an Ethernet port with whole-frame rooms.
#[inline(always)]
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
