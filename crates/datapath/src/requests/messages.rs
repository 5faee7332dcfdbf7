//! Requests other than reads and writes: what the export decides on them, what the control plane decides, and what concerns
//! many exports.

use aoe_target::{
    Disposition, DropReason, ExportId, InitiatorDrop, PortId, Reply, Request, Route, ShelfSlot, StateReply,
};
use dpdk::Mbuf;
use spdk::CurrentThread;

use super::{Requests, make_room, refused::reply_at_once, vlan_for};
use crate::{
    admission::NotAdmitted,
    deferred::{Deferred, DeferredSender},
    fanout::{SLICE, Step},
    port_queue::PortQueue,
};

impl Requests {
    /// Brings a request other than a read or write to its export, or to the exports that it means. It is parsed again rather
    /// than passed, so that a read or write is never in memory.
    #[cold]
    pub(super) fn serve_message(
        &mut self,
        thread: CurrentThread<'_>,
        queue: &mut PortQueue,
        mut frame: Mbuf,
    ) {
        let request = match Request::parse(frame.data(), frame.frame_len()) {
            Ok(request) => request,
            Err(reason) => return queue.drop(frame, reason),
        };
        if request.contiguous_len(frame.frame_len()) > frame.data().len() && !frame.linearize() {
            return queue.drop(frame, DropReason::ConfigSplit);
        }
        let vlan = match vlan_for(queue, &request, &frame) {
            Ok(vlan) => vlan,
            Err(reason) => return queue.drop(frame, reason),
        };
        match self.exports.route(queue.port(), vlan, request.address) {
            Route::One(id) => self.admit_message(thread, queue, id, request, frame),
            Route::Many(_) if !request.is_discovery() => queue.drop(frame, DropReason::WildcardRefused),
            Route::Many(pattern) => self.fanouts.push_request(queue, vlan, pattern, frame),
            Route::None => queue.drop(frame, DropReason::UnknownShelfSlot),
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
        let (bdevs, order, limits) = (&mut self.bdevs, &self.order, &mut self.limits);
        let unended = move || (bdevs, order, limits);
        if let Disposition::Submit(_) = &disposition {
            match self.accounting.admit(export, backing, queue, unended, request.source) {
                // It may have to wait, for others or for its rate.
                Ok(()) | Err(NotAdmitted::Limited) => {}
                Err(NotAdmitted::Elsewhere(owner)) => return queue.hand_over(owner, frame),
                Err(NotAdmitted::Refused(refusal)) => disposition = refusal.into(),
            }
        }
        if disposition == Disposition::Drop(DropReason::ExportFull) {
            backing.counters().export_full += 1;
            self.accounting.count_drop(export.key(), request.source, InitiatorDrop::ExportFull);
        }
        backing.counters().admitted(&request, &disposition);
        let key = export.key();
        if !matches!(disposition, Disposition::Drop(_)) {
            self.saw_message(key, request.source);
        }
        let (export, backing) = self.exports.export_of(id);
        match disposition {
            Disposition::Submit(io) if make_room(&mut frame, &io) => {
                self.admit_behind(thread, queue, id, io, request.source, frame);
            }
            Disposition::Submit(_) => queue.drop(frame, DropReason::NoRoom),
            Disposition::Reply(reply) => reply_at_once(queue, export, reply, frame),
            Disposition::Drop(reason) => queue.drop(frame, reason),
            Disposition::Defer => match self.deferred.send(Deferred::new(queue.index(), export.key(), frame))
            {
                Ok(()) => backing.started(),
                Err(frame) => queue.drop(frame, DropReason::DeferredFull),
            },
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
}
