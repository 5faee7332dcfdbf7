//! A request's way through an lcore: a frame is parsed and routed to its export, the export admits the request, its bdev
//! carries it out, and the reply is written over it.
//!
//! What the control plane decides leaves this way to `deferred`; what concerns many exports, to `fanout`.

use aoe_target::{
    BdevIo, BdevOp, Disposition, DropReason, Export, ExportId, IoOutcome, MacAddr, PAYLOAD_OFFSET, PortId,
    Refusal, Reply, Request, Route, ShelfSlot, StateReply, Transfer, VlanId,
};
use dpdk::{Burst, Mbuf, RxMbuf, tsc};
use spdk::{Completed, CompletionQueue, CurrentThread, IoKind};

use crate::{
    admission::{self, Admission},
    backing::{Backing, Exports},
    bdev_io::{self, Todo},
    deadline::Deadlines,
    deferred::{Deferred, DeferredRequests, DeferredSender},
    degraded::DegradedChanges,
    fanout::{Fanouts, SLICE, Step},
    fence::Fences,
    inflight::{InFlight, Next},
    order::{self, Behind, Order, Parked},
    pacing::{Pacing, RX_BURST},
    port_queue::PortQueue,
    tag,
};

/// An lcore's exports, and the requests to them.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) exports: Exports,
    pub(crate) bdevs: CompletionQueue<InFlight>,
    pub(crate) order: Order,
    fanouts: Fanouts,
    deferred: DeferredRequests,
    pacing: Pacing,
    pub(crate) admission: Admission,
    pub(crate) deadlines: Deadlines,
    pub(crate) degraded_changes: DegradedChanges,
    pub(crate) fences: Fences,
}

impl Requests {
    /// Room for `capacity` requests in flight.
    ///
    /// # Errors
    /// What [`CompletionQueue::new`] says.
    pub(crate) fn new(capacity: usize) -> spdk::Result<Self> {
        Ok(Self {
            exports: Exports::new(),
            bdevs: CompletionQueue::new(capacity)?,
            order: Order::new(capacity),
            fanouts: Fanouts::new(),
            deferred: DeferredRequests::default(),
            pacing: Pacing::default(),
            admission: Admission::new(capacity),
            deadlines: Deadlines::new(tsc::now(), tsc::hz()),
            degraded_changes: DegradedChanges::default(),
            fences: Fences::default(),
        })
    }

    /// Answers the requests that bdevs have finished, or goes on with what is left to do for them. Whether there were any.
    #[inline]
    pub(crate) fn complete(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        self.bdevs.advance();
        let mut completed = false;
        while let Some(Completed { mut frame, context, outcome }) = self.bdevs.poll() {
            completed = true;
            let mut outcome = bdev_io::outcome_of(outcome);
            if context.next == Next::Answered {
                self.complete_late(context, &mut queues[context.queue], frame);
                continue;
            }
            let (export, backing) = self.exports.export_of(context.export);
            if context.next != Next::Reply && outcome == IoOutcome::Ok {
                match go_on(export, backing, thread, &self.bdevs, context, frame) {
                    Some(ended) => (frame, outcome) = ended,
                    // The bdev has it again.
                    None => continue,
                }
            }
            backing.ended();
            self.deadlines.end(context.deadline);
            let queue = &mut queues[context.queue];
            queue.room_mut().ended();
            if backing.load().is_watched() {
                if backing.load().is_tracked() {
                    let in_flight = (&mut self.bdevs, &self.order);
                    self.admission.ended(export, backing, in_flight, queue.room(), frame.first_bytes());
                }
                if backing.load().is_fenced() && self.fences.ended(&context) {
                    backing.set_fenced(false);
                }
            }
            backing.counters().completed(&context.io, outcome);
            if !self.order.leave_unmet(context.place) {
                self.finish_met(queues, &context, outcome, frame);
                continue;
            }
            queue.reply(export, &Reply::completed(&context.io, outcome), frame);
        }
        if self.order.has_ready() {
            self.start_ready(thread, queues);
            completed = true;
        }
        completed
    }

    /// Starts a turn's receiving.
    #[inline]
    pub(crate) fn start_receiving(&mut self) {
        self.pacing.start_turn();
    }

    /// Whether the turn's budget allows further frames.
    #[inline]
    pub(crate) fn may_receive(&self) -> bool {
        self.pacing.may_receive()
    }

    /// Receives from a queue until it is empty or the turn's budget is used. Whether there was a frame.
    #[inline]
    pub(crate) fn receive(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue) -> bool {
        let mut received = false;
        let mut burst = Burst::new();
        while self.pacing.may_receive() {
            let arrived = queue.receive(&mut burst, RX_BURST);
            // Those that were handed over by now came earlier.
            let handed = if queue.is_distributed() { self.take_over_all(thread, queue) } else { 0 };
            if arrived > 0 {
                self.pacing.received(arrived);
                self.serve(thread, queue, &mut burst);
            }
            received |= arrived + handed > 0;
            if arrived < RX_BURST && handed < RX_BURST {
                break;
            }
        }
        received
    }

    /// Serves the frames that other queues of the port have handed over, as far as the turn's budget allows. Returns the
    /// number of the last ones.
    #[inline(never)]
    fn take_over_all(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue) -> usize {
        loop {
            let handed = self.take_over(thread, queue);
            if handed < RX_BURST || !self.pacing.may_receive() {
                return handed;
            }
        }
    }

    /// Serves frames that other queues of the port handed over. Returns how many.
    #[inline(never)]
    pub(crate) fn take_over(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue) -> usize {
        let mut burst = Burst::new();
        let frames = queue.take_over(&mut burst, RX_BURST);
        self.pacing.received(frames);
        self.serve(thread, queue, &mut burst);
        frames
    }

    /// Serves the frames of a burst. All that this calls for a read or write, down to SPDK, is `inline(always)` and so
    /// becomes one function: else the compiler takes another part of it out with each edit elsewhere, for 50 to 200
    /// instructions a request (benches/instructions).
    #[inline(never)]
    fn serve(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue, burst: &mut Burst) {
        for frame in burst {
            self.serve_frame(thread, queue, frame);
        }
    }

    /// Parses a frame and brings its request to its export, or drops it.
    #[inline(always)]
    fn serve_frame(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue, frame: RxMbuf) {
        let Some(mut frame) = queue.accept(frame) else { return };
        let request = loop {
            match Request::parse(frame.data(), frame.frame_len()) {
                Ok(request) => break request,
                // Behind a tag there may be AoE.
                Err(DropReason::NotAoe) => {
                    if let Err(reason) = tag::take(&mut frame) {
                        return queue.drop(frame, reason);
                    }
                }
                Err(reason) => return queue.drop(frame, reason),
            }
        };
        let Some(transfer) = request.transfer() else {
            return self.serve_message(thread, queue, frame);
        };
        match self.route(queue, &request, &frame) {
            Ok((_, Route::One(id))) => {
                self.admit_transfer(thread, queue, id, request.source, transfer, frame)
            }
            Ok((_, Route::Many(_))) => queue.drop(frame, DropReason::WildcardRefused),
            Ok((_, Route::None)) => queue.drop(frame, DropReason::UnknownShelfSlot),
            Err(reason) => queue.drop(frame, reason),
        }
    }

    /// Brings a request other than a read or write to its export, or to the exports that it means. It is parsed again rather
    /// than passed, so that a read or write is never in memory.
    #[cold]
    fn serve_message(&mut self, thread: CurrentThread<'_>, queue: &mut PortQueue, mut frame: Mbuf) {
        let request = match Request::parse(frame.data(), frame.frame_len()) {
            Ok(request) => request,
            Err(reason) => return queue.drop(frame, reason),
        };
        if request.contiguous_len(frame.frame_len()) > frame.data().len() && !frame.linearize() {
            return queue.drop(frame, DropReason::ConfigSplit);
        }
        match self.route(queue, &request, &frame) {
            Ok((_, Route::One(id))) => self.admit_message(thread, queue, id, request, frame),
            Ok((_, Route::Many(_))) if !request.is_discovery() => {
                queue.drop(frame, DropReason::WildcardRefused);
            }
            Ok((vlan, Route::Many(pattern))) => self.fanouts.push_request(queue, vlan, pattern, frame),
            // `route` has no such.
            Ok((_, Route::None)) => queue.drop(frame, DropReason::UnknownShelfSlot),
            Err(reason) => queue.drop(frame, reason),
        }
    }

    /// The VLAN and the route of a request that came in `frame`.
    ///
    /// # Errors
    /// The drop reason of a frame for another port or for no export, or of one with tags that no VLAN has.
    #[inline(always)]
    fn route(
        &self,
        queue: &PortQueue,
        request: &Request,
        frame: &Mbuf,
    ) -> Result<(Option<VlanId>, Route), DropReason> {
        if !request.is_for(queue.mac()) && !queue.serves_address(request.destination) {
            return Err(DropReason::NotOurMac);
        }
        let vlan = if frame.is_tag_taken() { tag::vlan_of(frame)? } else { None };
        match self.exports.route(queue.port(), vlan, request.address) {
            Route::None => Err(DropReason::UnknownShelfSlot),
            found => Ok((vlan, found)),
        }
    }

    /// Submits a read or write to the export's bdev, or does what the export decides instead.
    #[inline(always)]
    fn admit_transfer(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        source: MacAddr,
        transfer: Transfer,
        mut frame: Mbuf,
    ) {
        // Routing found it a moment ago.
        let Some((export, backing)) = self.exports.serving(id) else {
            return queue.drop(frame, DropReason::UnknownShelfSlot);
        };
        match export.admit_transfer(source, transfer, frame.frame_len(), queue.limits()) {
            Ok(io) => {
                if queue.room().is_short(backing.load())
                    && let Err(refusal) = self.admission.admit(
                        export,
                        backing,
                        (&mut self.bdevs, &self.order),
                        queue.room(),
                        source,
                        io,
                    )
                {
                    return refuse(queue, export, backing, transfer, refusal, frame);
                }
                backing.counters().submitted(transfer);
                if !make_room(&mut frame, &io) {
                    return self.drop_admitted(queue, id, source, DropReason::NoRoom, frame);
                }
                let Some(place) = self.order.enter(id, &io, source) else {
                    return self.admit_behind(thread, queue, id, io, source, frame);
                };
                let deadline = self.deadlines.after(backing.timeout());
                let context = InFlight::new(queue.index(), id, place, io, deadline);
                match submit(export, backing, thread, &self.bdevs, context, frame) {
                    Ok(()) => {
                        self.deadlines.start(deadline);
                        queue.note_submitted();
                        self.pacing.submitted(io.data_len());
                    }
                    Err((outcome, frame)) => {
                        // Made again, so that the other one stays in registers.
                        let context = InFlight::new(queue.index(), id, place, io, deadline);
                        self.fail_at_once(queue, context, source, outcome, frame);
                    }
                }
            }
            Err(refusal) => refuse(queue, export, backing, transfer, refusal, frame),
        }
    }

    /// Does what the export decides on a request other than a read or write.
    fn admit_message(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        request: Request,
        frame: Mbuf,
    ) {
        let Some(export) = self.exports.get(id) else {
            return queue.drop(frame, DropReason::UnknownShelfSlot);
        };
        let disposition = export.admit(&request, frame.data(), frame.frame_len(), queue.limits());
        self.dispose(thread, queue, id, request, disposition, frame);
    }

    /// Does what the export decided on a request other than a read or write.
    fn dispose(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        request: Request,
        mut disposition: Disposition,
        mut frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(id);
        if let Disposition::Submit(io) = &disposition
            && queue.room().is_short(backing.load())
            && let Err(refusal) = self.admission.admit(
                export,
                backing,
                (&mut self.bdevs, &self.order),
                queue.room(),
                request.source,
                *io,
            )
        {
            disposition = refusal.into();
        }
        backing.counters().admitted(&request, &disposition);
        match disposition {
            Disposition::Submit(io) if make_room(&mut frame, &io) => {
                self.admit_behind(thread, queue, id, io, request.source, frame);
            }
            Disposition::Submit(_) => {
                self.drop_admitted(queue, id, request.source, DropReason::NoRoom, frame);
            }
            Disposition::Reply(reply) => reply_at_once(queue, export, reply, frame),
            Disposition::Drop(reason) => queue.drop(frame, reason),
            Disposition::Defer => match self.deferred.send(Deferred::new(queue.index(), export.key(), frame))
            {
                Ok(()) => backing.started(),
                Err(frame) => queue.drop(frame, DropReason::DeferredFull),
            },
        }
    }

    /// Submits a request that meets others, or has it wait for them.
    #[cold]
    #[inline(never)]
    fn admit_behind(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        io: BdevIo,
        source: MacAddr,
        frame: Mbuf,
    ) {
        let (_, backing) = self.exports.export_of(id);
        let deadline = self.deadlines.after(backing.timeout());
        let parked = Parked { queue: queue.index(), io, frame, deadline };
        let (place, frame) = match self.order.enter_behind(id, source, parked) {
            Behind::Start(place, frame) => (place, frame),
            Behind::Full(frame) => {
                return self.drop_admitted(queue, id, source, DropReason::OrderFull, frame);
            }
            Behind::Parked { is_copy, superseded, deadline } => {
                let (export, backing) = self.exports.export_of(id);
                backing.started();
                queue.room_mut().started();
                self.deadlines.start(deadline);
                let counters = backing.counters();
                let counter = if is_copy { &mut counters.copies } else { &mut counters.order_waits };
                *counter += 1;
                if let Some(old) = superseded {
                    backing.ended();
                    queue.room_mut().ended();
                    self.deadlines.end(old.deadline);
                    if backing.load().is_tracked() {
                        let head = old.frame.first_bytes();
                        self.admission.ended(
                            export,
                            backing,
                            (&mut self.bdevs, &self.order),
                            queue.room(),
                            head,
                        );
                    }
                    queue.drop(old.frame, DropReason::CopyInFlight);
                }
                return;
            }
        };
        let (export, backing) = self.exports.export_of(id);
        let context = InFlight::new(queue.index(), id, place, io, deadline);
        match submit(export, backing, thread, &self.bdevs, context, frame) {
            Ok(()) => {
                self.deadlines.start(deadline);
                queue.note_submitted();
                self.pacing.submitted(io.data_len());
            }
            Err((outcome, frame)) => self.fail_at_once(queue, context, source, outcome, frame),
        }
    }

    /// Drops a request that was admitted and is not in flight.
    #[cold]
    fn drop_admitted(
        &mut self,
        queue: &mut PortQueue,
        id: ExportId,
        source: MacAddr,
        reason: DropReason,
        frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(id);
        self.admission.withdrawn(export, backing, source);
        queue.drop(frame, reason);
    }

    /// Answers a request that no bdev has taken. It has just arrived, so it has no copies.
    #[cold]
    #[inline(never)]
    fn fail_at_once(
        &mut self,
        queue: &mut PortQueue,
        context: InFlight,
        source: MacAddr,
        outcome: IoOutcome,
        frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(context.export);
        self.admission.withdrawn(export, backing, source);
        self.order.leave(context.place);
        backing.counters().completed(&context.io, outcome);
        queue.reply(export, &Reply::completed(&context.io, outcome), frame);
    }

    /// Answers a request that has its outcome and is not in flight any more, and its copies, the newest first.
    #[cold]
    #[inline(never)]
    fn finish_met(&mut self, queues: &mut [PortQueue], context: &InFlight, outcome: IoOutcome, frame: Mbuf) {
        let (export, backing) = self.exports.export_of(context.export);
        let reply = Reply::completed(&context.io, outcome);
        while let Some(copy) = self.order.pop_copy(context.place, &context.io, &frame) {
            let Parked { queue, frame: mut copied, deadline, .. } = copy;
            let queue = &mut queues[queue];
            backing.ended();
            self.deadlines.end(deadline);
            queue.room_mut().ended();
            if backing.load().is_tracked() {
                self.admission.ended(
                    export,
                    backing,
                    (&mut self.bdevs, &self.order),
                    queue.room(),
                    copied.first_bytes(),
                );
            }
            match order::answer_for_copy(&context.io, outcome, &frame, &mut copied) {
                Ok(()) => {
                    backing.counters().completed(&context.io, outcome);
                    queue.reply(export, &reply, copied);
                }
                Err(reason) => queue.drop(copied, reason),
            }
        }
        self.order.leave(context.place);
        queues[context.queue].reply(export, &reply, frame);
    }

    /// Starts the requests that have waited for others.
    #[cold]
    #[inline(never)]
    fn start_ready(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) {
        while let Some((place, id, parked)) = self.order.pop_ready() {
            let Parked { queue, io, frame, deadline } = parked;
            let context = InFlight::new(queue, id, place, io, deadline);
            let (export, backing) = self.exports.export_of(id);
            // It counts as in flight already.
            backing.ended();
            let submitted = match export.recheck(&io, admission::source_of(&frame)) {
                Ok(()) => submit(export, backing, thread, &self.bdevs, context, frame),
                Err(outcome) => Err((outcome, frame)),
            };
            let Err((outcome, frame)) = submitted else { continue };
            let queue = &mut queues[queue];
            queue.room_mut().ended();
            self.deadlines.end(deadline);
            if backing.load().is_tracked() {
                self.admission.ended(
                    export,
                    backing,
                    (&mut self.bdevs, &self.order),
                    queue.room(),
                    frame.first_bytes(),
                );
            }
            backing.counters().completed(&io, outcome);
            self.finish_met(queues, &context, outcome, frame);
        }
    }

    /// Does a slice of the oldest fan-out. Whether there was one.
    #[inline]
    pub(crate) fn fan_out(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        let has_work = !self.fanouts.is_empty();
        if has_work {
            self.fan_out_slice(thread, queues);
        }
        has_work
    }

    #[cold]
    fn fan_out_slice(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) {
        let Some(mut fanout) = self.fanouts.pop() else { return };
        let queue = &mut queues[fanout.queue()];
        for _ in 0..SLICE {
            match fanout.step(&self.exports, queue) {
                Step::Admit(id, frame) => match Request::parse(frame.data(), frame.frame_len()) {
                    Ok(request) => self.admit_message(thread, queue, id, request, frame),
                    Err(reason) => queue.drop(frame, reason),
                },
                Step::Done => {}
                Step::Pause => break,
                Step::End => return self.fanouts.end(fanout, queue),
            }
        }
        self.fanouts.put_back(fanout);
    }

    /// See [`crate::Lcore::advertise`].
    pub(crate) fn advertise(&mut self, queues: &[PortQueue], port: Option<PortId>, pattern: ShelfSlot) {
        self.fanouts.push_advertisements(queues, port, pattern);
    }

    /// Forgets all fan-outs.
    pub(crate) fn cancel_fanouts(&mut self) {
        self.fanouts.clear();
    }

    /// See [`crate::Lcore::defer_to`].
    pub(crate) fn defer_to(&mut self, sender: DeferredSender) {
        self.deferred.set_sender(sender);
    }

    /// Answers a deferred request from `state_reply` and the state published last.
    pub(crate) fn complete_deferred(
        &mut self,
        queues: &mut [PortQueue],
        request: Deferred,
        state_reply: StateReply,
    ) {
        let (queue, id, frame) = request.into_parts();
        let queue = &mut queues[queue];
        self.deferred.returned();
        let (export, backing) = self.exports.export_of(id);
        backing.ended();
        match Reply::state(export, state_reply, queue.limits()) {
            Ok(reply) => {
                backing.counters().answered(&reply);
                reply_at_once(queue, export, reply, frame);
            }
            Err(reason) => queue.drop(frame, reason),
        }
    }

    /// See [`crate::Lcore::fence`].
    pub(crate) fn fence(&mut self, id: ExportId, done: impl FnOnce() + 'static) {
        let is_pending = self.fences.put_up(id, &mut self.bdevs, done);
        if is_pending && let Some(backing) = self.exports.backing(id) {
            backing.set_fenced(true);
        }
    }

    /// Whether something is in flight: at bdevs or in the control plane.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.bdevs.in_flight() > 0 || self.deferred.is_pending() || self.order.has_ready()
    }

    /// Whether something is still to be done without a frame or a completion.
    pub(crate) fn has_work(&self) -> bool {
        !self.fanouts.is_empty() || self.exports.is_reaping()
    }
}

/// Hands a request to its bdev, with the continuation that it needs.
///
/// # Errors
/// The outcome that it is to be answered with at once, and its frame.
#[inline(always)]
fn submit(
    export: &Export,
    backing: &mut Backing,
    thread: CurrentThread<'_>,
    bdevs: &CompletionQueue<InFlight>,
    context: InFlight,
    frame: Mbuf,
) -> Result<(), (IoOutcome, Mbuf)> {
    let io = &context.io;
    let todo = match backing.channel() {
        Some(channel) => bdev_io::first(export, channel, backing.sync(), io, &frame),
        None => Todo::Reply(IoOutcome::DeviceFault),
    };
    match todo {
        Todo::Submit(first, next) => {
            backing.counters().fua_writes += u64::from(first.kind == IoKind::WriteFua);
            match backing.submit(thread, bdevs, first, frame, InFlight { next, ..context }) {
                Ok(()) => {
                    backing.started();
                    Ok(())
                }
                Err(frame) => Err((IoOutcome::DeviceFault, frame)),
            }
        }
        Todo::Reply(outcome) => Err((outcome, frame)),
    }
}

/// Drops or answers a read or write that is not submitted.
#[cold]
fn refuse(
    queue: &mut PortQueue,
    export: &Export,
    backing: &mut Backing,
    transfer: Transfer,
    refusal: Refusal,
    frame: Mbuf,
) {
    backing.counters().refused(transfer, &refusal);
    match refusal {
        Refusal::Reply(reply) => reply_at_once(queue, export, reply, frame),
        Refusal::Drop(reason) => queue.drop(frame, reason),
    }
}

/// Replies to a request that no bdev has. Out of line: a bdev's replies alone are worth inlining.
#[inline(never)]
fn reply_at_once(queue: &mut PortQueue, export: &Export, reply: Reply, frame: Mbuf) {
    queue.reply(export, &reply, frame);
}

/// Makes the frame as long as a read's data asks for; the initiator's trailing bytes, if any, give way. Whether it is.
#[inline(always)]
fn make_room(frame: &mut Mbuf, io: &BdevIo) -> bool {
    if !matches!(io.op, BdevOp::Read | BdevOp::Health(_)) {
        return true;
    }
    frame.resize_to_one_segment(PAYLOAD_OFFSET + io.data_len())
}

/// Goes on with a request whose I/O has ended well. `None` if the bdev has it again; else it is to be answered.
#[cold]
fn go_on(
    export: &Export,
    backing: &mut Backing,
    thread: CurrentThread<'_>,
    bdevs: &CompletionQueue<InFlight>,
    context: InFlight,
    mut frame: Mbuf,
) -> Option<(Mbuf, IoOutcome)> {
    match bdev_io::next(export, backing.sync(), &context.io, context.next, &mut frame) {
        Todo::Reply(outcome) => Some((frame, outcome)),
        Todo::Submit(io, next) => {
            backing.counters().write_flushes += u64::from(io.kind == IoKind::Flush);
            let resubmitted = backing.submit(thread, bdevs, io, frame, InFlight { next, ..context });
            resubmitted.err().map(|frame| (frame, IoOutcome::DeviceFault))
        }
    }
}
