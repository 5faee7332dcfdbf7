//! Keeps a verified load honest: one request a block at a time, a rest after doubtful writes, every read
//! compared.

use super::report::Verified;
use super::spec::LoadSpec;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::queue::{Completion, Event, Outcome};
use crate::window::Retransmit;
use crate::wire::ata;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
enum Block {
    Free,
    /// A request is outstanding; `generation` is that of a write.
    Claimed {
        generation: u64,
    },
    /// A copy of the write with this tag may still be on its way.
    Resting {
        until: Instant,
        tag: u32,
    },
}

/// A write with copies that were not answered.
struct Unanswered {
    block: usize,
    copies: u32,
}

pub(super) struct Verifier<'l> {
    ledger: &'l mut Ledger,
    blocks: Vec<Block>,
    unanswered: HashMap<u32, Unanswered>,
    timing: Retransmit,
    totals: Verified,
}

impl<'l> Verifier<'l> {
    /// # Errors
    /// [`Error::Load`] if the ledger does not cover the load's range.
    pub(super) fn new(ledger: &'l mut Ledger, spec: &LoadSpec, range: &Range<u64>) -> Result<Self> {
        let covered = ledger.range();
        if covered.start > range.start || covered.end < range.end {
            return Err(Error::Load(format!(
                "the ledger covers sectors {covered:?}, the load uses {range:?}"
            )));
        }
        let blocks = (range.end - range.start) / u64::from(spec.sectors_per_io);
        let blocks = usize::try_from(blocks)
            .map_err(|_| Error::Load("too many sectors to keep in memory: name fewer".into()))?;
        Ok(Self {
            ledger,
            blocks: vec![Block::Free; blocks],
            unanswered: HashMap::new(),
            timing: spec.timing,
            totals: Verified::default(),
        })
    }

    /// Takes a block for a request. `false`: it has one, or rests.
    pub(super) fn claim(&mut self, block: u64, now: Instant) -> bool {
        let block = &mut self.blocks[index(block)];
        match *block {
            Block::Claimed { .. } => return false,
            Block::Resting { until, .. } if now < until => return false,
            Block::Resting { .. } | Block::Free => {}
        }
        *block = Block::Claimed { generation: 0 };
        true
    }

    /// Fills the data of a write to a claimed block.
    pub(super) fn stamp(&mut self, block: u64, lba: u64, data: &mut [u8]) {
        let generation = self.ledger.stamp(lba, data);
        self.blocks[index(block)] = Block::Claimed { generation };
    }

    /// # Errors
    /// [`Error::WrongData`].
    pub(super) fn event(&mut self, event: &Event<'_>, now: Instant) -> Result<()> {
        match event {
            Event::Completion(completion) => self.completion(completion, now),
            Event::Duplicate { tag } => {
                self.duplicate(*tag);
                Ok(())
            }
        }
    }

    fn completion(&mut self, completion: &Completion<'_>, now: Instant) -> Result<()> {
        let block = index(completion.context);
        let Block::Claimed { generation } = self.blocks[block] else { return Ok(()) };
        let request = &completion.request;
        if request.aflags & ata::AFLAG_WRITE == 0 {
            self.blocks[block] = Block::Free;
            if let Outcome::Done(reply) = completion.outcome {
                let checked = self.ledger.check(request.lba, reply.data)?;
                self.totals.sectors_checked += checked.sectors;
                self.totals.sectors_unwritten += checked.unwritten;
            }
            return Ok(());
        }
        let answered = !matches!(completion.outcome, Outcome::NoAnswer);
        if let Outcome::Done(_) = completion.outcome {
            self.ledger.acknowledge(request.lba, usize::from(request.count), generation);
            self.totals.writes_acknowledged += 1;
        } else {
            self.totals.writes_of_unknown_fate += 1;
        }
        let copies = completion.copies - u32::from(answered);
        self.blocks[block] = if copies == 0 {
            Block::Free
        } else {
            let tag = completion.tag;
            self.unanswered.insert(tag, Unanswered { block, copies });
            Block::Resting { until: now + self.timing.give_up, tag }
        };
        Ok(())
    }

    /// One more copy of a write was answered; the rest ends with the last.
    fn duplicate(&mut self, tag: u32) {
        let Some(write) = self.unanswered.get_mut(&tag) else { return };
        write.copies -= 1;
        if write.copies == 0 {
            let block = write.block;
            self.unanswered.remove(&tag);
            if matches!(self.blocks[block], Block::Resting { tag: resting, .. } if resting == tag) {
                self.blocks[block] = Block::Free;
            }
        }
    }

    pub(super) fn into_totals(self) -> Verified {
        self.totals
    }
}

/// Blocks are counted by a `usize` at creation, so a block's number is one.
fn index(block: u64) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX)
}
