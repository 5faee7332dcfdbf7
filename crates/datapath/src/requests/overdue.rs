//! Requests past their deadline: the initiator gets a device fault, and the bdev keeps the I/O and its mbuf until it
//! answers.
//!
//! The mbuf of the request is not free, since the bdev may still read or write it. So the answer leaves in another mbuf. The late
//! completion frees the first one and sends nothing. An export is *degraded* as long as its bdev has such requests.
//!
//! A bdev that can abort is asked to, once for each request; if that can't be now, at the next tick. The ownership of the mbuf stays as
//! it is: it is free when the bdev has given the request back.

use aoe_target::{IoOutcome, Place, Reply};
use dpdk::{Mbuf, tsc};
use spdk::{Abort, CurrentThread, Pending};

use super::Requests;
use crate::{
    accounting::Accounting,
    backing::Backing,
    deadline::Tick,
    degraded::{Degraded, DegradedChanges},
    inflight::{InFlight, Next},
    order::Parked,
    port_queue::PortQueue,
};

impl Requests {
    /// Answers the requests that are past their deadline. Whether there were any.
    #[inline]
    pub(crate) fn check_deadlines(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        let now = tsc::now();
        match self.accounting.due(now) {
            Some(due) => {
                self.expire(thread, due, now, queues);
                true
            }
            None => false,
        }
    }

    /// Answers the requests in flight that are due at this tick. Those that have ended are not among them: the turn has
    /// answered them.
    #[cold]
    fn expire(&mut self, thread: CurrentThread<'_>, due: Tick, now: u64, queues: &mut [PortQueue]) {
        let Self { exports, bdevs, order, accounting, degraded_changes, .. } = self;
        bdevs.for_each_in_flight(|request| {
            let context = request.context();
            if context.deadline != due || matches!(context.next, Next::Answered | Next::BdevFlushed) {
                return;
            }
            let (export, backing) = exports.export_of(context.export);
            if context.next == Next::AnsweredUnaborted {
                return abort(thread, request, due, accounting, backing);
            }
            let queue = &mut queues[context.queue];
            let answer = queue.alloc().and_then(|mut frame| request.copy_head(&mut frame).then_some(frame));
            let Some(mut answer) = answer else {
                // The reserve is empty. Mbufs come back as replies are sent.
                let deadline = accounting.put_off(due);
                return request.set_context(InFlight { deadline, ..context });
            };
            request.set_context(InFlight { next: Next::Answered, ..context });
            order.copies_are_due(request, due, |from, to| accounting.reschedule(from, to));
            if backing.expired(now) {
                degraded_changes.count();
            }
            order.put_tag(context.place, &mut answer);
            backing.counters().completed(&context.io, IoOutcome::DeviceFault);
            queue.reply(export, &Reply::completed(&context.io, IoOutcome::DeviceFault), answer);
            // Last: it may end within the call.
            abort(thread, request, due, accounting, backing);
        });
        self.expire_parked(due, queues);
        self.expire_limited(due, queues);
    }

    /// Answers the requests that wait for others and are due at this tick. No bdev has them, so the answer leaves in their own
    /// mbufs.
    fn expire_parked(&mut self, due: Tick, queues: &mut [PortQueue]) {
        let mut place = Place::NONE;
        while let Some((id, parked)) = self.order.pop_due(&mut place, due, |due| self.accounting.put_off(due))
        {
            let Parked { queue, io, frame, .. } = parked;
            let (queue, (export, backing)) = (&mut queues[queue], self.exports.export_of(id));
            self.accounting.end(id, backing, queue, (due, false), &frame);
            backing.counters().timeouts += 1;
            backing.counters().completed(&io, IoOutcome::DeviceFault);
            queue.reply(export, &Reply::completed(&io, IoOutcome::DeviceFault), frame);
        }
    }

    /// The bdev has answered a request that was answered past its deadline: nothing is sent. Its copies, which came after
    /// that, become requests of their own, and those that waited for it may start.
    #[cold]
    #[inline(never)]
    pub(super) fn complete_late(&mut self, context: InFlight, queue: &mut PortQueue, frame: Mbuf) {
        let (_, backing) = self.exports.export_of(context.export);
        if backing.answered_late() {
            self.degraded_changes.count();
        }
        if context.next == Next::AnsweredUnaborted {
            self.accounting.overdue(context.deadline);
        }
        // Only now: what the bdev had could still have been written.
        self.accounting.end_overdue(context.export, backing, queue, context.fenced, &frame);
        if !self.order.leave_unmet(context.place) {
            self.order.leave(context.place);
        }
        drop(frame);
    }

    /// Counts changes of degraded exports there from now on.
    pub(crate) fn count_degraded_changes(&mut self, changes: DegradedChanges) {
        self.degraded_changes = changes;
    }

    /// The exports that are degraded now.
    pub(crate) fn degraded(&self) -> Vec<Degraded> {
        let now = tsc::now();
        let degraded = self.exports.overdue().map(|(export, overdue)| Degraded {
            export,
            overdue: overdue.requests,
            for_time: self.accounting.between(overdue.since, now),
        });
        degraded.collect()
    }
}

/// Has the bdev abort a request that was answered past its deadline, if it can; it is not due any more, unless it is to be asked
/// again.
fn abort(
    thread: CurrentThread<'_>,
    request: &mut Pending<'_, InFlight>,
    due: Tick,
    accounting: &mut Accounting,
    backing: &mut Backing,
) {
    let (next, deadline) = match request.abort(thread) {
        Abort::NotNow => (Next::AnsweredUnaborted, accounting.put_off(due)),
        asked => {
            backing.counters().aborts += u64::from(asked == Abort::Asked);
            accounting.overdue(due);
            (Next::Answered, due)
        }
    };
    request.set_context(InFlight { next, deadline, ..request.context() });
}
