//! reply, tx: the answer written over the request it answers, in the same mbuf.

use aoe_target::{DropReason, Export, Reply};
use dpdk::Mbuf;

use crate::lane::Lane;

/// Turns `frame` into the reply and queues it on the lane it came by.
#[inline]
pub(crate) fn send(lane: &mut Lane, export: &Export, reply: &Reply, mut frame: Mbuf) {
    // A write's data may lie in further segments, which a reply has no use for.
    if frame.segments() > 1 {
        frame.truncate_to_first_segment();
    }
    let written = frame.resize(reply.frame_len())
        && reply.emit(frame.data_mut(), lane.mac, export, lane.limits).is_some();
    if written { lane.send(frame) } else { lane.drop(frame, DropReason::NoRoom) }
}
