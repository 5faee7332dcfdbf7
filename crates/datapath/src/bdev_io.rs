//! A request as bdev I/O: which I/O comes first, which one follows, and what the reply says of the last one's outcome.
//!
//! A read, write or flush is one I/O. A write whose reply says that it is durable may be two ([`SyncPolicy`]), TRIM is one
//! for each of its ranges, and SMART turns the drive's log into the requested page: [`Next`] says which of these is left.

use aoe_target::{
    BdevIo, BdevOp, Export, Health, IoOutcome, Lba, PAYLOAD_OFFSET, Ranges, SMART_BYTES, SectorCount,
};
use dpdk::Mbuf;
use spdk::{CompletionQueue, CurrentThread, HealthLog, Io, IoKind, Outcome, Sectors};

use crate::{
    backing::{Backing, SyncPolicy},
    inflight::{InFlight, Next, PAYLOAD},
};

/// What is to be done for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Submit this, and when it has ended well, go on with that.
    Submit(Io, Next),
    /// Reply.
    Reply(IoOutcome),
}

/// Hands a request to its bdev, with the continuation that it needs.
///
/// # Errors
/// The outcome that it is to be answered with at once, and its frame.
#[inline(always)]
pub(crate) fn submit(
    export: &Export,
    backing: &mut Backing,
    thread: CurrentThread<'_>,
    bdevs: &CompletionQueue<InFlight>,
    context: InFlight,
    frame: Mbuf,
) -> Result<(), (IoOutcome, Mbuf)> {
    let is_write = match context.io.op {
        BdevOp::Read => false,
        BdevOp::Write => true,
        _ => return submit_other(export, backing, thread, bdevs, context, frame),
    };
    let Some(channel) = backing.channel() else { return Err((IoOutcome::DeviceFault, frame)) };
    let sectors = on_bdev(export, context.io.lba, context.io.sectors);
    let (kind, next) = if is_write {
        write(backing.sync(), || channel.can_force(sectors, &frame))
    } else {
        (IoKind::Read, Next::Reply)
    };
    if kind == IoKind::WriteFua {
        backing.counters().fua_writes += 1;
    }
    let io = Io { kind, sectors, payload: PAYLOAD };
    let submitted = backing.submit(thread, bdevs, io, frame, InFlight { next, ..context });
    submitted.map_err(|frame| (IoOutcome::DeviceFault, frame))
}

/// [`submit`] of what is no read or write.
#[cold]
#[inline(never)]
fn submit_other(
    export: &Export,
    backing: &mut Backing,
    thread: CurrentThread<'_>,
    bdevs: &CompletionQueue<InFlight>,
    context: InFlight,
    frame: Mbuf,
) -> Result<(), (IoOutcome, Mbuf)> {
    let io = &context.io;
    let todo = match io.op {
        BdevOp::Trim => trim(export, backing.sync(), io, &frame, 0),
        BdevOp::SmartData | BdevOp::SmartThresholds | BdevOp::SmartStatus => {
            let sectors = on_bdev(export, io.lba, io.sectors);
            Todo::Submit(Io { kind: IoKind::Health, sectors, payload: PAYLOAD }, Next::Smart)
        }
        // `submit` has the first two.
        BdevOp::Read | BdevOp::Write | BdevOp::Flush => flush(),
    };
    match todo {
        Todo::Submit(io, next) => {
            let submitted = backing.submit(thread, bdevs, io, frame, InFlight { next, ..context });
            submitted.map_err(|frame| (IoOutcome::DeviceFault, frame))
        }
        Todo::Reply(outcome) => Err((outcome, frame)),
    }
}

/// The sectors of the bdev under those of the export: the one place where addresses of the two meet.
#[inline(always)]
fn on_bdev(export: &Export, lba: Lba, count: SectorCount) -> Sectors {
    Sectors { first: export.first_sector() + lba.0, count: u32::from(count.0) }
}

/// What is done next, after an I/O that has ended well.
#[cold]
pub(crate) fn next(export: &Export, sync: SyncPolicy, io: &BdevIo, next: Next, frame: &mut Mbuf) -> Todo {
    match next {
        // One that was answered, or has no initiator, does not come here.
        Next::Reply | Next::Answered | Next::AnsweredUnaborted | Next::BdevFlushed => {
            Todo::Reply(IoOutcome::Ok)
        }
        Next::Flush => flush(),
        Next::Unmap(from) => trim(export, sync, io, frame, from),
        Next::Smart => Todo::Reply(smart(io.op, frame)),
    }
}

/// How a write goes to the bdev. `can_force`: one command with FUA carries it.
#[inline]
fn write(sync: SyncPolicy, can_force: impl FnOnce() -> bool) -> (IoKind, Next) {
    match sync {
        SyncPolicy::Nothing => (IoKind::Write, Next::Reply),
        SyncPolicy::Fua if can_force() => (IoKind::WriteFua, Next::Reply),
        SyncPolicy::Flush | SyncPolicy::Fua => (IoKind::Write, Next::Flush),
    }
}

/// A flush, after which there is nothing left but the reply.
fn flush() -> Todo {
    let io = Io { kind: IoKind::Flush, sectors: Sectors::default(), payload: PAYLOAD };
    Todo::Submit(io, Next::Reply)
}

/// The I/O for the next range of TRIM's payload, from entry `from` on; after the last one a flush, where the reply says
/// that what was given up stays so.
fn trim(export: &Export, sync: SyncPolicy, io: &BdevIo, frame: &Mbuf, from: u16) -> Todo {
    let Some(payload) = frame.data().get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + io.data_len()) else {
        return Todo::Reply(IoOutcome::Aborted);
    };
    match Ranges::new(payload).next_from(from) {
        Some((range, next)) => {
            let sectors = on_bdev(export, range.lba, range.sectors);
            Todo::Submit(Io { kind: IoKind::Unmap, sectors, payload: PAYLOAD }, Next::Unmap(next))
        }
        None if from == 0 || sync == SyncPolicy::Nothing => Todo::Reply(IoOutcome::Ok),
        None => flush(),
    }
}

/// Makes the requested page of the drive's log in the frame's payload, or the verdict.
fn smart(op: BdevOp, frame: &mut Mbuf) -> IoOutcome {
    let page = frame.data_mut().get_mut(PAYLOAD_OFFSET..);
    let Some(page) = page.and_then(<[u8]>::first_chunk_mut::<SMART_BYTES>) else {
        return IoOutcome::DeviceFault;
    };
    let health = health_of(&HealthLog::parse(page));
    match op {
        BdevOp::SmartData => health.write_data(page),
        BdevOp::SmartThresholds => health.write_thresholds(page),
        _ if health.critical => return IoOutcome::Failing,
        _ => {}
    }
    IoOutcome::Ok
}

fn health_of(log: &HealthLog) -> Health {
    Health {
        critical: log.critical_warning != 0,
        temperature: log.temperature,
        power_on_hours: log.power_on_hours,
        power_cycles: log.power_cycles,
        unsafe_shutdowns: log.unsafe_shutdowns,
        media_errors: log.media_errors,
        spare: log.spare,
        spare_threshold: log.spare_threshold,
        used: log.used,
    }
}

/// What the reply says of an I/O's outcome.
pub(crate) fn outcome_of(outcome: Outcome) -> IoOutcome {
    match outcome {
        Outcome::Done => IoOutcome::Ok,
        Outcome::MediaError => IoOutcome::MediaError,
        Outcome::OutOfRange => IoOutcome::OutOfRange,
        Outcome::Aborted => IoOutcome::Aborted,
        Outcome::DeviceFault => IoOutcome::DeviceFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_answered_after_what_makes_it_durable() {
        for (sync, can_force, expected) in [
            (SyncPolicy::Nothing, true, (IoKind::Write, Next::Reply)),
            (SyncPolicy::Flush, true, (IoKind::Write, Next::Flush)),
            (SyncPolicy::Fua, true, (IoKind::WriteFua, Next::Reply)),
            (SyncPolicy::Fua, false, (IoKind::Write, Next::Flush)),
        ] {
            assert_eq!(write(sync, || can_force), expected, "{sync:?}");
        }
    }
}
