//! Requests that meet others on the same sectors: they wait until those have been answered, or are copies and answered with
//! their original.

use aoe_target::{
    BdevIo, BdevOp, DropReason, ExportId, InitiatorDrop, IoOutcome, MacAddr, Place, Refusal, Reply,
};
use dpdk::{Mbuf, tsc};
use spdk::CurrentThread;

use super::{Requests, make_room};
use crate::{
    admission, bdev_io,
    inflight::InFlight,
    order::{self, Behind, Parked},
    port_queue::PortQueue,
    timing,
};

impl Requests {
    /// Submits a request that meets others, or has it wait for them.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_behind(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        io: BdevIo,
        source: MacAddr,
        mut frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(id);
        if backing.load().is_timed() && queue.has_one_address() {
            timing::stamp(&mut frame);
            self.activities.seen(export.key(), source, tsc::now()).requests += 1;
        }
        let deadline = self.accounting.deadline(backing);
        let parked = Parked { queue: queue.index(), io, frame, deadline };
        match self.order.enter_behind(id, source, parked) {
            Behind::Start(place, frame) => {
                if backing.load().is_limited() && !self.limits.start(id, source, &io) {
                    let request = Parked { queue: queue.index(), io, frame, deadline };
                    return self.hold(queue, id, place, request, source, true);
                }
                self.accounting.begin(id, backing, queue, source, deadline);
                let context = InFlight::new(queue.index(), id, place, io, deadline);
                let submitted = bdev_io::submit(export, backing, thread, &self.bdevs, context, frame);
                if let Err((outcome, frame)) = submitted {
                    self.fail_at_once(queue, context, outcome, frame);
                }
            }
            Behind::Full(frame) => queue.drop(frame, DropReason::OrderFull),
            Behind::Parked { is_copy, superseded, deadline } => {
                self.accounting.begin(id, backing, queue, source, deadline);
                let counters = backing.counters();
                let counter = if is_copy { &mut counters.copies } else { &mut counters.order_waits };
                *counter += 1;
                if is_copy {
                    self.activities.seen(export.key(), source, tsc::now()).retransmissions += 1;
                }
                if let Some(old) = superseded {
                    self.accounting.end(id, backing, queue, (old.deadline, false), &old.frame);
                    queue.drop(old.frame, DropReason::CopyInFlight);
                }
            }
        }
    }

    /// A read or write that is admitted, but for the budget: `refusal`. If it is a copy, it takes the place of an earlier one,
    /// which costs no mbuf.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse_unless_copy(
        &mut self,
        queue: &mut PortQueue,
        id: ExportId,
        io: BdevIo,
        source: MacAddr,
        refusal: Refusal,
        mut frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(id);
        if refusal == Refusal::Drop(DropReason::ExportFull) && make_room(&mut frame, &io) {
            let deadline = self.accounting.deadline(backing);
            let request = Parked { queue: queue.index(), io, frame, deadline };
            let (originals, bdevs) = (&mut self.originals, &mut self.bdevs);
            let is_copy_of = |place, copy: &Parked| {
                originals.is_at_bdev(bdevs, place, |original| order::is_copy(&io, copy, original))
            };
            match self.order.take_over(id, source, request, is_copy_of) {
                Ok(unneeded) => {
                    backing.counters().copies += 1;
                    self.activities.seen(export.key(), source, tsc::now()).retransmissions += 1;
                    return queue.drop(unneeded, DropReason::CopyInFlight);
                }
                Err(same) => frame = same,
            }
        }
        if refusal == Refusal::Drop(DropReason::ExportFull) {
            self.accounting.count_drop(export.key(), source, InitiatorDrop::ExportFull);
        }
        Self::refuse(queue, export, backing, io.op == BdevOp::Write, refusal, frame);
    }

    /// Answers a request that has its outcome and is not in flight any more, and its copies, the newest first.
    #[cold]
    #[inline(never)]
    pub(super) fn finish_met(
        &mut self,
        queues: &mut [PortQueue],
        context: InFlight,
        outcome: IoOutcome,
        mut frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(context.export);
        let reply = Reply::completed(&context.io, outcome);
        backing.counters().completed(&context.io, outcome);
        while let Some(copy) = self.order.pop_copy(context.place, &context.io, &frame) {
            let Parked { queue, frame: mut copied, deadline, .. } = copy;
            let queue = &mut queues[queue];
            self.accounting.end(context.export, backing, queue, (deadline, false), &copied);
            match order::answer_for_copy(&context.io, outcome, &frame, &mut copied) {
                Ok(()) => {
                    backing.counters().completed(&context.io, outcome);
                    queue.reply(export, &reply, copied);
                }
                Err(reason) => queue.drop(copied, reason),
            }
        }
        self.order.put_tag(context.place, &mut frame);
        self.order.leave(context.place);
        queues[context.queue].reply(export, &reply, frame);
    }

    /// Starts the requests that have waited for others, but for those that now wait for their rates.
    #[cold]
    #[inline(never)]
    pub(super) fn start_ready(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) {
        while let Some((place, id, parked)) = self.order.pop_ready() {
            let (_, backing) = self.exports.export_of(id);
            let source = admission::source_of(&parked.frame);
            if backing.load().is_limited() && !self.limits.start(id, source, &parked.io) {
                self.hold(&mut queues[parked.queue], id, place, parked, source, false);
            } else {
                self.start_parked(thread, queues, place, id, parked);
            }
        }
    }

    /// Starts a request that has waited.
    pub(super) fn start_parked(
        &mut self,
        thread: CurrentThread<'_>,
        queues: &mut [PortQueue],
        place: Place,
        id: ExportId,
        parked: Parked,
    ) {
        let Parked { queue, io, frame, deadline } = parked;
        let context = InFlight::new(queue, id, place, io, deadline);
        let (export, backing) = self.exports.export_of(id);
        let submitted = match export.recheck(&io, admission::source_of(&frame)) {
            Ok(()) => bdev_io::submit(export, backing, thread, &self.bdevs, context, frame),
            Err(outcome) => Err((outcome, frame)),
        };
        let Err((outcome, frame)) = submitted else { return };
        let queue = &mut queues[queue];
        self.accounting.end(id, backing, queue, (deadline, false), &frame);
        self.finish_met(queues, context, outcome, frame);
    }
}
