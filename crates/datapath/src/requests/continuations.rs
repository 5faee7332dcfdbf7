//! Requests that are not finished with their I/O: the flush after a write, the further ranges of a TRIM, the page of SMART.

use aoe_target::IoOutcome;
use dpdk::Mbuf;
use spdk::{Completed, CurrentThread, IoKind};

use super::{Requests, answer_other};
use crate::{
    bdev_io::{self, Todo},
    inflight::{InFlight, Next},
    port_queue::PortQueue,
};

impl Requests {
    /// Goes on with a request that is not finished with its I/O, or answers one that is, or has failed.
    #[cold]
    #[inline(never)]
    pub(super) fn complete_rarely(
        &mut self,
        thread: CurrentThread<'_>,
        queues: &mut [PortQueue],
        request: Completed<InFlight>,
    ) {
        let context = *request.context();
        let outcome = bdev_io::outcome_of(request.outcome());
        let frame = request.into_frame();
        let ended = if context.next == Next::Reply {
            Some((frame, outcome))
        } else {
            self.go_on(thread, queues, context, outcome, frame)
        };
        let Some((frame, outcome)) = ended else { return };
        let (export, backing) = self.exports.export_of(context.export);
        let queue = &mut queues[context.queue];
        self.accounting.end(context.export, backing, queue, (context.deadline, context.fenced), &frame);
        if self.order.leave_unmet(context.place) {
            answer_other(queue, export, backing, context.io, outcome, frame);
        } else {
            self.finish_met(queues, context, outcome, frame);
        }
    }

    /// Goes on with a request that is not finished with its I/O, or was answered before. `None` if the bdev has it again, or
    /// nothing is left to do; else it is to be answered.
    fn go_on(
        &mut self,
        thread: CurrentThread<'_>,
        queues: &mut [PortQueue],
        context: InFlight,
        outcome: IoOutcome,
        mut frame: Mbuf,
    ) -> Option<(Mbuf, IoOutcome)> {
        if context.next.is_answered() {
            self.complete_late(context, &mut queues[context.queue], frame);
            return None;
        }
        if context.next == Next::BdevFlushed {
            self.bdev_flushed(&context, outcome, &mut queues[context.queue], frame);
            return None;
        }
        if outcome != IoOutcome::Ok {
            return Some((frame, outcome));
        }
        let (export, backing) = self.exports.export_of(context.export);
        match bdev_io::next(export, backing.sync(), &context.io, context.next, &mut frame) {
            Todo::Reply(outcome) => Some((frame, outcome)),
            Todo::Submit(io, next) => {
                backing.counters().write_flushes += u64::from(io.kind == IoKind::Flush);
                let resubmitted =
                    backing.submit(thread, &self.bdevs, io, frame, InFlight { next, ..context });
                resubmitted.err().map(|frame| (frame, IoOutcome::DeviceFault))
            }
        }
    }
}
