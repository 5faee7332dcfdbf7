//! A load with a given queue depth, plain or verified, and its report.

mod report;
mod spec;
mod verifier;

pub use report::{Latency, LoadReport, Verified};
pub use spec::{LoadSpec, Waiting, Workload};

use crate::error::{Error, Result};
use crate::initiator::Export;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::queue::{Event, Outcome, Queue};
use crate::sector::Random;
use crate::window::MAX_WINDOW;
use crate::wire::AtaRequest;
use report::Tally;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use verifier::Verifier;

/// The addresses of a load, in order.
struct Addresses {
    workload: Workload,
    random: Random,
    first: u64,
    io: u64,
    count: u64,
    next: u64,
}

impl Addresses {
    fn new(spec: &LoadSpec, range: &std::ops::Range<u64>) -> Self {
        let io = u64::from(spec.sectors_per_io);
        let count = (range.end - range.start) / io;
        Self {
            workload: spec.workload,
            random: Random::new(spec.seed),
            first: range.start,
            io,
            count,
            next: 0,
        }
    }

    /// The next request: is it a write, and of which block of the range.
    #[inline]
    fn next(&mut self) -> (bool, u64) {
        match self.workload {
            Workload::Read | Workload::Write => {
                let block = self.next;
                self.next = if block + 1 == self.count { 0 } else { block + 1 };
                (self.workload == Workload::Write, block)
            }
            Workload::RandomRead => (false, self.random.below(self.count)),
            Workload::RandomWrite => (true, self.random.below(self.count)),
            Workload::RandomMixed(reads) => {
                (self.random.below(100) >= u64::from(reads), self.random.below(self.count))
            }
        }
    }

    const fn lba(&self, block: u64) -> u64 {
        self.first + block * self.io
    }
}

/// Runs a load on `export` of `capacity` sectors until its time is over or `stop` is set, and waits for what
/// is outstanding then. The data of writes is random and not looked at again.
///
/// # Errors
/// [`Error::Load`] for a spec that does not fit the export, and those of the link. A request that fails is
/// counted in the report.
pub fn run(
    link: Link,
    export: &Export,
    capacity: u64,
    spec: &LoadSpec,
    stop: &AtomicBool,
) -> Result<LoadReport> {
    run_with(link, export, capacity, spec, stop, None)
}

/// As [`run`], with every sector stamped and every sector read compared with `ledger`; requests never overlap
/// one that is outstanding. The ledger may be used for several runs, and [`sweep`] compares all of it with
/// the disk.
///
/// # Errors
/// As [`run`], and [`Error::WrongData`] as soon as a sector is not what it must be.
pub fn run_verified(
    link: Link,
    export: &Export,
    capacity: u64,
    spec: &LoadSpec,
    stop: &AtomicBool,
    ledger: &mut Ledger,
) -> Result<LoadReport> {
    run_with(link, export, capacity, spec, stop, Some(ledger))
}

/// A ledger for the sectors `spec` uses on an export of `capacity` sectors.
///
/// # Errors
/// [`Error::Load`] if they are not on the export, or too many for this machine's memory.
pub fn ledger_for(spec: &LoadSpec, capacity: u64) -> Result<Ledger> {
    let range = spec.range(capacity)?;
    let sectors = usize::try_from(range.end - range.start)
        .map_err(|_| Error::Load("too many sectors to keep in memory: name fewer".into()))?;
    Ok(Ledger::new(spec.seed, range.start, sectors))
}

fn run_with(
    link: Link,
    export: &Export,
    capacity: u64,
    spec: &LoadSpec,
    stop: &AtomicBool,
    ledger: Option<&mut Ledger>,
) -> Result<LoadReport> {
    let range = spec.range(capacity)?;
    let advertised = if export.sector_count == 0 { 2 } else { export.sector_count };
    if spec.sectors_per_io > advertised {
        return Err(Error::Load(format!(
            "{} sectors a request, but {} takes 1 to {advertised}",
            spec.sectors_per_io, export.address
        )));
    }
    if spec.depth == 0 || spec.depth > MAX_WINDOW {
        return Err(Error::Load(format!("a queue depth of {}, must be 1 to {MAX_WINDOW}", spec.depth)));
    }
    if let Workload::RandomMixed(reads @ 101..) = spec.workload {
        return Err(Error::Load(format!("{reads} percent reads, must be 0 to 100")));
    }
    let mut addresses = Addresses::new(spec, &range);
    let mut verifier = ledger.map(|ledger| Verifier::new(ledger, spec, &range)).transpose()?;
    let mut queue =
        Queue::new(link, export.mac, export.address, spec.depth, spec.sectors_per_io, spec.timing);
    queue.prime(spec.seed);

    let begun = Instant::now();
    let measure_from = begun + spec.warmup;
    let end = measure_from + spec.duration;
    let mut tally = Tally::new(measure_from, end)?;
    let mut wrong = None;
    let mut now = begun;
    let finished = loop {
        let submitting = now < end && wrong.is_none() && !stop.load(Ordering::Relaxed);
        if submitting {
            while queue.has_room() {
                let (write, block) = addresses.next();
                let lba = addresses.lba(block);
                let count = spec.sectors_per_io;
                let request =
                    if write { AtaRequest::write(lba, count) } else { AtaRequest::read(lba, count) };
                match &mut verifier {
                    None => {
                        queue.submit(now, 0, request, |_| ());
                    }
                    Some(verifier) => {
                        if !verifier.claim(block, now) {
                            // Busy or at rest. Another address next time; the turn goes on so that a range of
                            // few blocks does not spin here.
                            break;
                        }
                        queue.submit(now, block, request, |data| {
                            if write {
                                verifier.stamp(block, lba, data);
                            }
                        });
                    }
                }
            }
            queue.flush()?;
        } else if queue.outstanding() == 0 {
            break now;
        }
        let received = queue.poll(|event| {
            let at = Instant::now();
            if let Event::Completion(completion) = &event {
                tally.completion(completion, at);
            }
            if let Some(verifier) = &mut verifier
                && let Err(error) = verifier.event(&event, at)
            {
                wrong.get_or_insert(error);
            }
        })?;
        let turn_ended = Instant::now();
        if received > 0 {
            tally.busy(turn_ended.saturating_duration_since(now), turn_ended);
        }
        now = turn_ended;
        if received == 0 && spec.waiting == Waiting::Sleep {
            let until = queue.next_due().unwrap_or(now + Duration::from_millis(1)).min(end.max(now));
            // Woken at least each 100 ms for `stop`, and each ms when nothing but a resting block holds us
            // up.
            let most = Duration::from_millis(if queue.outstanding() == 0 { 1 } else { 100 });
            queue.link().wait(until.saturating_duration_since(now).min(most))?;
            now = Instant::now();
        }
    };
    if let Some(error) = wrong {
        return Err(error);
    }
    let verified = verifier.map(Verifier::into_totals);
    Ok(tally.report(spec, &queue, finished, verified))
}

/// Reads all acknowledged sectors of `ledger` and compares them. Returns how many there were.
///
/// # Errors
/// [`Error::WrongData`], [`Error::Ata`] and the like for the first request that fails, and those of the link.
pub fn sweep(link: Link, export: &Export, ledger: &Ledger, spec: &LoadSpec) -> Result<u64> {
    let per_io = export.max_sectors();
    let mut queue = Queue::new(link, export.mac, export.address, spec.depth, per_io, spec.timing);
    let mut lba = ledger.range().start;
    let mut checked = 0;
    let mut failed = None;
    loop {
        while failed.is_none() && queue.has_room() {
            let Some(range) = ledger.next_written(lba, usize::from(per_io)) else { break };
            let count = u8::try_from(range.end - range.start).unwrap_or(per_io);
            queue.submit(Instant::now(), 0, AtaRequest::read(range.start, count), |_| ());
            lba = range.end;
        }
        queue.flush()?;
        if queue.outstanding() == 0 {
            return failed.map_or(Ok(checked), Err);
        }
        let received = queue.poll(|event| {
            let Event::Completion(completion) = event else { return };
            let result = match completion.outcome {
                Outcome::Done(reply) => ledger.check(completion.request.lba, reply.data).map(|c| c.sectors),
                other => Err(other.error(export.address, &completion.request, spec.timing.give_up)),
            };
            match result {
                Ok(sectors) => checked += sectors,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        })?;
        if received == 0 && spec.waiting == Waiting::Sleep {
            queue.link().wait(Duration::from_millis(100).min(spec.timing.first))?;
        }
    }
}

#[cfg(test)]
mod tests;
