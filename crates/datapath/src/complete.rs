//! complete: what the bdevs have finished becomes replies.

use aoe_target::{IoOutcome, Reply};
use spdk::Outcome;

use crate::{Lcore, follow::Step, reply};

impl Lcore {
    /// Answers every request that a bdev has finished. Returns how many there were.
    #[inline]
    pub(crate) fn complete(&mut self) -> usize {
        self.completions.advance();
        let mut completed = 0;
        while let Some(done) = self.completions.poll() {
            completed += 1;
            let context = done.context;
            let mut outcome = outcome_of(done.outcome);
            let mut frame = done.frame;
            if context.step != Step::Reply && outcome == IoOutcome::Ok {
                match self.follow(context, frame) {
                    Some(followed) => (frame, outcome) = followed,
                    // The bdev has it again.
                    None => continue,
                }
            }
            let lane = &mut self.lanes[context.lane];
            let Some(Some(backing)) = self.backings.get_mut(context.export.0 as usize) else {
                // A backing goes when nothing is under way on it.
                unreachable!("export {} went with requests under way", context.export.0);
            };
            backing.ended();
            backing.counters.completed(&context.io, outcome);
            let export = match &backing.leaving {
                Some(leaving) => &leaving.export,
                None => {
                    self.table.get(context.export).expect("an export that is not leaving is in the table")
                }
            };
            reply::send(lane, export, &Reply::completed(&context.io, outcome), frame);
        }
        completed
    }
}

/// What the initiator is told of the bdev's outcome.
#[inline]
fn outcome_of(outcome: Outcome) -> IoOutcome {
    match outcome {
        Outcome::Done => IoOutcome::Ok,
        Outcome::MediaError => IoOutcome::MediaError,
        Outcome::OutOfRange => IoOutcome::OutOfRange,
        Outcome::Aborted => IoOutcome::Aborted,
        Outcome::DeviceFault => IoOutcome::DeviceFault,
    }
}
