//! Requests that wait for the limits on the rates of their export or initiator.

use aoe_target::{
    BdevIo, DropReason, DropsOfInitiator, ExportId, ExportKey, ExportState, InitiatorDrop,
    InitiatorDropEntry, MacAddr, Place, Transfer,
    qos::{Held, Limits},
};
use dpdk::Mbuf;
use spdk::CurrentThread;

use super::{Requests, make_room};
use crate::{
    deadline::Tick,
    order::Parked,
    port_queue::PortQueue,
    rate_limits::{Limited, RateLimits},
};

impl Requests {
    /// Submits a read or write to a bdev whose export has limits, or has it wait.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_limited(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        id: ExportId,
        io: BdevIo,
        (source, transfer): (MacAddr, Transfer),
        mut frame: Mbuf,
    ) {
        let (_, backing) = self.exports.export_of(id);
        backing.counters().submitted(transfer.is_write);
        if !make_room(&mut frame, &io) {
            return queue.drop(frame, DropReason::NoRoom);
        }
        self.pacing.submitted(io.data_len());
        self.admit_behind(thread, queue, id, io, source, frame);
    }

    /// Has a request wait that may start by its order and not by its rate. `is_new`: it is not in flight yet.
    #[cold]
    #[inline(never)]
    pub(super) fn hold(
        &mut self,
        queue: &mut PortQueue,
        id: ExportId,
        place: Place,
        mut request: Parked,
        source: MacAddr,
        is_new: bool,
    ) {
        let (export, backing) = self.exports.export_of(id);
        let deadline = self.accounting.deadline_after(RateLimits::timeout(export));
        let before = std::mem::replace(&mut request.deadline, deadline);
        let limited = Limited { place, request };
        match self.limits.hold(id, source, u32::from(export.buffer_count()), limited) {
            Ok(()) => {
                backing.counters().rate_waits += 1;
                if is_new {
                    self.accounting.begin(id, backing, queue, source, deadline);
                } else {
                    self.accounting.reschedule(before, deadline);
                }
            }
            Err(Limited { request, .. }) => {
                if !is_new {
                    self.accounting.end(id, backing, queue, (before, false), &request.frame);
                }
                self.order.leave(place);
                backing.counters().rate_limited += 1;
                self.accounting.count_drop(export.key(), source, InitiatorDrop::RateLimited);
                queue.drop(request.frame, DropReason::RateLimited);
            }
        }
    }

    /// Starts the requests that have waited for a limit, as far as that allows. Whether there were any.
    #[inline]
    pub(crate) fn release(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        self.limits.has_waiting() && self.release_waiting(thread, queues)
    }

    #[cold]
    fn release_waiting(&mut self, thread: CurrentThread<'_>, queues: &mut [PortQueue]) -> bool {
        let mut released = false;
        self.limits.begin_pass();
        while let Some(Held { export: id, initiator: _, request }) = self.limits.pop() {
            released = true;
            let Limited { place, mut request } = request;
            let is_limited = self.limits.limit(id);
            let (_, backing) = self.exports.export_of(id);
            backing.set_limited(is_limited);
            // The disk's time begins now.
            let deadline = self.accounting.deadline(backing);
            self.accounting.reschedule(std::mem::replace(&mut request.deadline, deadline), deadline);
            self.start_parked(thread, queues, place, id, request);
        }
        released
    }

    /// Drops the requests that have waited for a limit until this tick. Their copies take their places.
    pub(super) fn expire_limited(&mut self, due: Tick, queues: &mut [PortQueue]) {
        let Self { exports, limits, accounting, order, .. } = self;
        limits.expire(due, |Held { export: id, initiator, request }| {
            let Limited { place, request: Parked { queue, frame, .. } } = request;
            let (queue, (export, backing)) = (&mut queues[queue], exports.export_of(id));
            accounting.end(id, backing, queue, (due, false), &frame);
            order.leave(place);
            accounting.count_drop(export.key(), initiator, InitiatorDrop::RateLimited);
            backing.counters().rate_limited += 1;
            queue.drop(frame, DropReason::RateLimited);
        });
    }

    /// Sets the limits of an export. Requests that wait go on by the new ones.
    pub(crate) fn limit(&mut self, key: ExportKey, limits: Limits) {
        self.exports.set_limits(key, limits);
        self.apply_limits(key);
    }

    /// Has the limits of an export hold for the requests that find it.
    pub(crate) fn apply_limits(&mut self, key: ExportKey) {
        if self.exports.get(key.id).is_some_and(|export| export.key() == key) {
            let (export, backing) = self.exports.export_of(key.id);
            // Without a bdev there is nothing to wait for.
            let is_online = export.state() == ExportState::Online;
            let limits = if is_online { export.limits() } else { Limits::default() };
            backing.set_limited(self.limits.set(key.id, limits));
        }
    }

    /// Lifts the limits of an export that goes: what waits starts.
    pub(crate) fn lift_limits(&mut self, key: ExportKey) {
        if self.exports.get(key.id).is_some_and(|export| export.key() == key) {
            self.limits.set(key.id, Limits::default());
        }
    }

    /// Lifts all limits.
    pub(crate) fn lift_all_limits(&mut self) {
        self.limits.lift_all();
    }

    /// The drops of each initiator that is told apart, and those of the others.
    pub(crate) fn initiator_drops(&self) -> (Vec<InitiatorDropEntry>, DropsOfInitiator) {
        self.accounting.initiator_drops()
    }
}
