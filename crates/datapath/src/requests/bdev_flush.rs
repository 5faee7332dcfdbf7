//! The flush of a bdev before its export goes on with another one.
//!
//! No initiator asks for it: one that sends FLUSH CACHE later reaches the other bdev.

use aoe_target::{AddressWidth, BdevIo, BdevOp, ExportKey, IoOutcome, Lba, MacAddr, Place, SectorCount};
use dpdk::Mbuf;
use spdk::{CurrentThread, Io, IoKind, Sectors};

use super::Requests;
use crate::{
    inflight::{InFlight, Next, PAYLOAD},
    port_queue::PortQueue,
};

/// Bytes of a frame without data.
const FRAME: usize = 64;

impl Requests {
    /// Flushes the bdev of an export on which nothing is in flight, unless all that was answered is durable. `done` gets whether
    /// that is so then. A bdev that no flush can reach is left as it is: initiators can't make it durable either.
    pub(crate) fn flush_bdev(
        &mut self,
        thread: CurrentThread<'_>,
        queues: &mut [PortQueue],
        key: ExportKey,
        done: impl FnOnce(bool) + 'static,
    ) {
        let is_here = self.exports.get(key.id).is_some_and(|export| export.key() == key);
        // An lcore without a queue has written nothing.
        let Some(queue) = queues.first_mut().filter(|_| is_here) else { return done(true) };
        let (_, backing) = self.exports.export_of(key.id);
        if !backing.holds_volatile_writes() {
            return done(true);
        }
        let Some(mut frame) = queue.alloc().filter(|frame| frame.room() >= FRAME) else { return done(false) };
        if !frame.resize(FRAME) {
            return done(false);
        }
        // The request is of no initiator.
        frame.data_mut().fill(0);
        let io = BdevIo {
            op: BdevOp::Flush,
            lba: Lba::default(),
            sectors: SectorCount::default(),
            width: AddressWidth::Lba48,
        };
        let deadline = self.accounting.deadline(backing);
        let context = InFlight {
            next: Next::BdevFlushed,
            ..InFlight::new(queue.index(), key.id, Place::NONE, io, deadline)
        };
        let flush = Io { kind: IoKind::Flush, sectors: Sectors::default(), payload: PAYLOAD };
        match backing.submit(thread, &self.bdevs, flush, frame, context) {
            Ok(()) => {
                self.accounting.begin(key.id, backing, queue, MacAddr([0; 6]), deadline);
                self.bdev_flushes.begin(key, Box::new(done));
            }
            Err(frame) => {
                drop(frame);
                done(false);
            }
        }
    }

    /// The flush has ended.
    #[cold]
    pub(super) fn bdev_flushed(
        &mut self,
        context: &InFlight,
        outcome: IoOutcome,
        queue: &mut PortQueue,
        frame: Mbuf,
    ) {
        let (export, backing) = self.exports.export_of(context.export);
        let key = export.key();
        self.accounting.end(context.export, backing, queue, (context.deadline, context.fenced), &frame);
        drop(frame);
        if let Some(done) = self.bdev_flushes.end(key) {
            done(outcome == IoOutcome::Ok);
        }
    }
}
