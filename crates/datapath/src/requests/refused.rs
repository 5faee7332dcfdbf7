//! Reads and writes that no bdev carries out: dropped, or answered at once.

use aoe_target::{DropReason, Export, IoOutcome, Refusal, Reply, ShelfSlot};
use dpdk::Mbuf;

use super::{Requests, answer_other};
use crate::{backing::Backing, inflight::InFlight, port_queue::PortQueue};

impl Requests {
    /// Drops a read or write that means no export, or more than one.
    #[cold]
    pub(super) fn drop_unrouted(queue: &mut PortQueue, address: ShelfSlot, frame: Mbuf) {
        let is_wildcard = address.is_wildcard();
        queue.drop(
            frame,
            if is_wildcard { DropReason::WildcardRefused } else { DropReason::UnknownShelfSlot },
        );
    }

    /// Drops or answers a read or write that is not submitted.
    #[cold]
    pub(super) fn refuse(
        queue: &mut PortQueue,
        export: &Export,
        backing: &mut Backing,
        is_write: bool,
        refusal: Refusal,
        frame: Mbuf,
    ) {
        backing.counters().refused(is_write, &refusal);
        match refusal {
            Refusal::Reply(reply) => reply_at_once(queue, export, reply, frame),
            Refusal::Drop(reason) => queue.drop(frame, reason),
        }
    }

    /// Answers a request that has begun, and that its bdev has not taken. It has just arrived, so it has no copies.
    #[cold]
    #[inline(never)]
    pub(super) fn fail_at_once(
        &mut self,
        queue: &mut PortQueue,
        context: InFlight,
        outcome: IoOutcome,
        frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(context.export);
        self.accounting.end(context.export, backing, queue, (context.deadline, false), &frame);
        self.order.leave(context.place);
        answer_other(queue, export, backing, context.io, outcome, frame);
    }
}

/// Replies to a request that no bdev has. Out of line: a bdev's replies alone are worth inlining.
#[inline(never)]
pub(super) fn reply_at_once(queue: &mut PortQueue, export: &Export, reply: Reply, frame: Mbuf) {
    queue.reply(export, &reply, frame);
}
