//! A request's way through an lcore: a frame is parsed and routed to its export, the export admits the request, its bdev
//! carries it out, and the reply is written over it.
//!
//! Here is the way of reads and writes. All other requests leave it to `messages`, those that meet others on the same sectors
//! to `waiting`, those beyond a limit on rates to `limited`, those that no bdev carries out to `refused`, those that need
//! another I/O to `continuations`, and those past their deadline to `overdue`.

use std::hash::{BuildHasher, RandomState};

use aoe_target::{
    BdevIo, BdevOp, DropReason, Export, ExportId, InitiatorActivities, IoOutcome, PAYLOAD_OFFSET, Reply,
    Request, Transfer, VlanId,
};
use dpdk::{Burst, Mbuf, RxMbuf};
use spdk::{CompletionQueue, CurrentThread, Outcome};

use crate::{
    accounting::Accounting,
    admission::NotAdmitted,
    backing::Backing,
    bdev_flushes::BdevFlushes,
    bdev_io,
    deferred::DeferredRequests,
    degraded::DegradedChanges,
    exports::Exports,
    fanout::Fanouts,
    inflight::{InFlight, Next},
    order::Order,
    pacing::{Pacing, RX_BURST},
    port_queue::PortQueue,
    rate_limits::RateLimits,
    tag,
};

use original::Originals;

mod bdev_flush;
mod continuations;
mod initiators;
mod limited;
mod messages;
mod original;
mod overdue;
mod refused;
mod timed;
mod waiting;

pub use initiators::SeenInitiator;

/// An lcore's exports, and the requests to them.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) exports: Exports,
    pub(crate) bdevs: CompletionQueue<InFlight>,
    order: Order,
    originals: Originals,
    accounting: Accounting,
    limits: RateLimits,
    pacing: Pacing,
    fanouts: Fanouts,
    deferred: DeferredRequests,
    degraded_changes: DegradedChanges,
    bdev_flushes: BdevFlushes,
    activities: InitiatorActivities,
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
            originals: Originals::new(capacity),
            accounting: Accounting::new(capacity),
            limits: RateLimits::new(capacity),
            pacing: Pacing::default(),
            fanouts: Fanouts::new(),
            deferred: DeferredRequests::default(),
            degraded_changes: DegradedChanges::default(),
            bdev_flushes: BdevFlushes::default(),
            activities: InitiatorActivities::new(RandomState::new().hash_one(capacity)),
        })
    }

    /// Answers the requests that bdevs have finished, or goes on with what is left to do for them. Whether there were any.
    #[inline]
    pub(crate) fn complete(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        self.bdevs.advance();
        let mut completed = false;
        while let Some(request) = self.bdevs.poll() {
            completed = true;
            // Read where it lies, field by field. Rare arms get a copy of it.
            let context = request.context();
            let is_usual = context.next == Next::Reply && request.outcome() == Outcome::Done;
            if !is_usual {
                self.complete_rarely(thread, queues, request);
                continue;
            }
            let (export, backing) = self.exports.export_of(context.export);
            let queue = &mut queues[context.queue];
            let (deadline, fenced) = (context.deadline, context.fenced);
            self.accounting.end(context.export, backing, queue, (deadline, fenced), request.frame());
            if !self.order.leave_unmet(context.place) {
                let context = context.again();
                self.finish_met(queues, context, IoOutcome::Ok, request.into_frame());
                continue;
            }
            let (io, frame) = (context.io.again(), request.into_frame());
            // A copy of the code for each, without the other's cases.
            match io.op {
                BdevOp::Read => answer(queue, export, backing, false, &io, frame),
                BdevOp::Write => answer(queue, export, backing, true, &io, frame),
                _ => answer_other(queue, export, backing, io.again(), IoOutcome::Ok, frame),
            }
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

    /// Serves the frames that other lcores have handed over, as far as the turn's budget allows. Returns the
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

    /// Serves frames that other lcores handed over. Returns how many.
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
        burst.drain(|frame| self.serve_frame(thread, queue, frame));
        queue.send_handed_over();
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
        match vlan_for(queue, &request, &frame) {
            Ok(vlan) => self.admit_transfer(thread, queue, vlan, request, transfer, frame),
            Err(reason) => queue.drop(frame, reason),
        }
    }

    /// Submits a read or write to the export's bdev, or does what the export decides instead.
    #[inline(always)]
    fn admit_transfer(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        vlan: Option<VlanId>,
        Request { source, address, .. }: Request,
        transfer: Transfer,
        mut frame: Mbuf,
    ) {
        let Some((id, export, backing)) = self.exports.route_to_one(queue.port(), vlan, address) else {
            return Self::drop_unrouted(queue, address, frame);
        };
        let io = match export.admit_transfer(source, transfer, frame.frame_len(), queue.limits()) {
            Ok(io) => io,
            Err(refusal) => return Self::refuse(queue, export, backing, transfer.is_write, refusal, frame),
        };
        // In a closure: only a rare arm looks at them.
        let (bdevs, order, limits) = (&mut self.bdevs, &self.order, &mut self.limits);
        let unended = move || (bdevs, order, limits);
        match self.accounting.admit(export, backing, queue, unended, source) {
            Ok(()) => {}
            Err(NotAdmitted::Elsewhere(owner)) => return queue.hand_over(owner, frame),
            Err(NotAdmitted::Refused(refusal)) => {
                return self.refuse_unless_copy(queue, id, io.again(), source, refusal, frame);
            }
            Err(NotAdmitted::Limited) => {
                return self.admit_limited(thread, queue, id, io.again(), (source, transfer), frame);
            }
        }
        backing.counters().submitted(transfer.is_write);
        if !make_room(&mut frame, &io) {
            return queue.drop(frame, DropReason::NoRoom);
        }
        self.pacing.submitted(io.data_len());
        // Rare arms get a copy of `io`, so that it stays in registers.
        let Some(place) = self.order.enter(id, &io, source) else {
            return self.admit_behind(thread, queue, id, io.again(), source, frame);
        };
        // Begun before the bdev has it, so that nothing need be kept for it meanwhile.
        let deadline = self.accounting.deadline(backing);
        self.accounting.begin(id, backing, queue, source, deadline);
        let context = InFlight::new(queue.index(), id, place, io.again(), deadline);
        let submitted = bdev_io::submit(export, backing, thread, &self.bdevs, context.again(), frame);
        if let Err((outcome, frame)) = submitted {
            self.fail_at_once(queue, context.again(), outcome, frame);
        }
    }

    /// See [`crate::Lcore::fence`].
    pub(crate) fn fence(&mut self, id: ExportId, done: impl FnOnce() + 'static) {
        self.accounting.fence(id, self.exports.backing(id), &mut self.bdevs, done);
    }

    /// Whether something is in flight: at bdevs or in the control plane.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.bdevs.in_flight() > 0
            || self.deferred.is_pending()
            || self.order.has_ready()
            || self.limits.has_waiting()
    }

    /// Whether something is still to be done without a frame or a completion.
    pub(crate) fn has_work(&self) -> bool {
        !self.fanouts.is_empty() || self.exports.is_reaping()
    }
}

/// The VLAN of a request that came in `frame`.
///
/// # Errors
/// The drop reason of a frame for another port, or of one with tags that no VLAN has.
#[inline(always)]
fn vlan_for(queue: &PortQueue, request: &Request, frame: &Mbuf) -> Result<Option<VlanId>, DropReason> {
    if !request.is_for(queue.mac()) && !queue.serves_address(request.destination) {
        return Err(DropReason::NotOurMac);
    }
    if frame.is_tag_taken() { tag::vlan_of(frame) } else { Ok(None) }
}

/// Answers a read or write that the bdev has carried out.
#[inline(always)]
fn answer(
    queue: &mut PortQueue,
    export: &Export,
    backing: &mut Backing,
    is_write: bool,
    io: &BdevIo,
    frame: Mbuf,
) {
    backing.counters().transferred(is_write, io);
    queue.reply(export, &Reply::transferred(is_write, io), frame);
}

/// Answers another request that has its outcome, or one that failed.
#[cold]
#[inline(never)]
fn answer_other(
    queue: &mut PortQueue,
    export: &Export,
    backing: &mut Backing,
    io: BdevIo,
    outcome: IoOutcome,
    frame: Mbuf,
) {
    backing.counters().completed(&io, outcome);
    queue.reply(export, &Reply::completed(&io, outcome), frame);
}

/// Makes the frame as long as a read's data asks for; the initiator's trailing bytes, if any, give way. Whether it is.
#[inline(always)]
fn make_room(frame: &mut Mbuf, io: &BdevIo) -> bool {
    if io.op != BdevOp::Read && !io.op.is_smart() {
        return true;
    }
    frame.resize_to_one_segment(PAYLOAD_OFFSET + io.data_len())
}
