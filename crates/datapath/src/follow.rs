//! complete, submit: requests that one I/O does not finish. Writes and TRIMs are flushed where their answer
//! says that they are on stable media, TRIM goes from range to range, SMART turns the drive's log into the page that was asked for; all in the request's own mbuf.

use aoe_target::{BdevIo, Export, Health, HealthUse, IoOutcome, PAYLOAD_OFFSET, Range, Ranges, SMART_BYTES};
use dpdk::Mbuf;
use spdk::{HealthLog, Io, IoKind};

use crate::{
    Lcore,
    lcore::Settling,
    submit::{InFlight, PAYLOAD},
};

/// What there is to do when an I/O of a request has ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Answer.
    Reply,
    /// Flush what was written.
    Flush,
    /// Unmap the next range, from this entry of TRIM's payload on.
    Unmap(u16),
    /// Make of the drive's log what was asked for.
    Health(HealthUse),
}

impl Lcore {
    /// Does what `context` says is next. `None` if the bdev has the request again; else it is to be answered, with
    /// this outcome.
    #[cold]
    pub(crate) fn follow(&mut self, context: InFlight, mut frame: Mbuf) -> Option<(Mbuf, IoOutcome)> {
        // Both are there while a request is under way.
        let backing = self.backings.get_mut(context.export.0 as usize).and_then(Option::as_mut);
        let Some(backing) = backing else { return Some((frame, IoOutcome::DeviceFault)) };
        let export = match &backing.leaving {
            Some(leaving) => Some(&*leaving.export),
            None => self.table.get(context.export),
        };
        let Some(export) = export else { return Some((frame, IoOutcome::DeviceFault)) };
        let flush = Io { kind: IoKind::Flush, block: 0, blocks: 0, payload: PAYLOAD };
        let (io, step) = match context.step {
            Step::Reply => return Some((frame, IoOutcome::Ok)),
            Step::Health(what) => {
                let outcome = tell(what, &mut frame);
                return Some((frame, outcome));
            }
            Step::Flush => {
                backing.counters.write_flushes += 1;
                (flush, Step::Reply)
            }
            Step::Unmap(from) => match unmap(export, &context.io, &frame, backing.block_shift, from) {
                Some(next) => next,
                None if backing.before_answer == Settling::Nothing => return Some((frame, IoOutcome::Ok)),
                None => {
                    backing.counters.write_flushes += 1;
                    (flush, Step::Reply)
                }
            },
        };
        let Some(channel) = &backing.channel else { return Some((frame, IoOutcome::DeviceFault)) };
        match channel.submit(&self.completions, io, frame, InFlight { step, ..context }) {
            Ok(()) => None,
            Err(frame) => Some((frame, IoOutcome::DeviceFault)),
        }
    }
}

/// The I/O for the first range of TRIM's payload from entry `from` on that holds a whole block of the bdev's
/// (`512 << block_shift` bytes each), and the step after it. What covers a block in part leaves it as it is: TRIM
/// permits to give up sectors and does not oblige to.
pub(crate) fn unmap(
    export: &Export,
    io: &BdevIo,
    frame: &Mbuf,
    block_shift: u32,
    mut from: u16,
) -> Option<(Io, Step)> {
    let payload = frame.data().get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + io.data_len())?;
    let ranges = Ranges::new(payload);
    loop {
        let (range, next) = ranges.next_from(from)?;
        if let Some((block, blocks)) = whole_blocks(export.first_sector, range, block_shift) {
            let io = Io { kind: IoKind::Unmap, block, blocks, payload: PAYLOAD };
            return Some((io, Step::Unmap(next)));
        }
        from = next;
    }
}

/// First block and number of blocks that lie wholly within `range` of an export that starts at `first_sector`;
/// `None` if there is none.
fn whole_blocks(first_sector: u64, range: Range, block_shift: u32) -> Option<(u64, u32)> {
    let start = (first_sector + range.lba).div_ceil(1 << block_shift);
    let end = (first_sector + range.end()) >> block_shift;
    let blocks = u32::try_from(end.checked_sub(start)?).ok()?;
    (blocks > 0).then_some((start, blocks))
}

/// Turns the drive's log in the frame's payload into the page that was asked for, or judges it.
fn tell(what: HealthUse, frame: &mut Mbuf) -> IoOutcome {
    let page = frame.data_mut().get_mut(PAYLOAD_OFFSET..);
    let Some(page) = page.and_then(<[u8]>::first_chunk_mut::<SMART_BYTES>) else {
        return IoOutcome::DeviceFault;
    };
    let health = health_of(&HealthLog::parse(page));
    match what {
        HealthUse::Data => health.write_data(page),
        HealthUse::Thresholds => health.write_thresholds(page),
        HealthUse::Status if health.critical => return IoOutcome::Failing,
        HealthUse::Status => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_gives_up_whole_blocks_only() {
        for (first_sector, lba, sectors, shift, want) in [
            (0, 7, 3, 0, Some((7, 3))),
            (5, 7, 65535, 0, Some((12, 65535))),
            (0, 8, 16, 3, Some((1, 2))),
            (0, 7, 10, 3, Some((1, 1))),
            (1, 7, 8, 3, Some((1, 1))),
            (0, 9, 7, 3, None),
            (0, 7, 2, 3, None),
            (0, 1, 6, 3, None),
        ] {
            let range = Range { lba, sectors };
            assert_eq!(whole_blocks(first_sector, range, shift), want, "{range:?} behind {first_sector}");
        }
    }
}
