//! The oracle: what initiators saw, held against what a disk may do.
//!
//! Every write has content of its own, so a read says which write it saw. A write may take effect between its first
//! transmission and its reply; one that is answered with an error, or never, may take effect at any time after its first
//! transmission. A request that reached the target in several copies may take effect several times, but not after its
//! reply: the simulated link delivers no copy after it. The rules, per sector, of which each holds for every correct
//! target:
//!
//! TRIM is a write of zeros, which are the content at the start, too. Where the disk may keep what it held, it is a write of
//! which nobody knows whether it has taken effect.
//!
//! 1. A read sees the content at the start or a write that began before the read ended.
//! 2. A read does not see a write that was over before another began whose content the disk had before the read began:
//!    because that other write was answered, or because an earlier read saw it.
//! 3. Writes of one copy each, with the reads that saw them, can be put in one order: for no two of them must each come
//!    before the other (Gibbons, Korach: Testing shared memories, 1997).
//! 4. After a loss of power there is no write that was over before another began which was on stable media: because it
//!    was answered by a write-through export, or because a later flush was answered.

use crate::plan::{Op, Operation};

const NEVER: u64 = u64::MAX;

/// The content of a sector that a write puts there: recognisable, and different in each sector and for each write.
pub(crate) fn content(op: u32, export: usize, lba: u64) -> Vec<u8> {
    if op == 0 {
        return vec![0; 512];
    }
    let mark = u64::from(op) << 32 | (export as u64) << 16 | lba;
    (0..64_u64).flat_map(|word| mark.wrapping_add(word << 56).to_be_bytes()).collect()
}

/// The write whose content of this sector this is.
fn writer(bytes: &[u8], export: usize, lba: u64) -> Option<u32> {
    let op = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
    (bytes == content(op, export, lba)).then_some(op)
}

/// A request's fate so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    /// The moment of its first transmission.
    pub(crate) began: u64,
    /// The moment of its reply.
    pub(crate) ended: Option<u64>,
    /// It was answered without an error.
    pub(crate) succeeded: bool,
    /// Copies that reached the target whole.
    pub(crate) copies: u32,
}

/// What a read saw of a sector.
#[derive(Debug, Clone, Copy)]
struct Seen {
    began: u64,
    ended: u64,
    writer: u32,
}

/// A look at what a loss of power would leave.
#[derive(Debug)]
struct Cut {
    at: u64,
    export: usize,
    lba: u64,
    writer: u32,
}

/// All that initiators did and saw.
#[derive(Debug)]
pub(crate) struct History {
    ops: Vec<Op>,
    /// By request's number; `None` before its first transmission.
    fates: Vec<Option<Fate>>,
    seen: Vec<(usize, u64, Seen)>,
    cuts: Vec<Cut>,
    promises: Vec<Promise>,
}

/// What is promised of an export.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    /// A write that is answered is on stable media.
    pub(crate) write_through: bool,
    /// A sector that was given up holds zeros.
    pub(crate) trim_zeros: bool,
}

impl History {
    pub(crate) fn new(ops: &[Op], promises: Vec<Promise>) -> Self {
        let fates = ops.iter().map(|op| op.id as usize + 1).max().unwrap_or(1);
        Self { ops: ops.to_vec(), fates: vec![None; fates], seen: Vec::new(), cuts: Vec::new(), promises }
    }

    pub(crate) fn began(&mut self, op: u32, at: u64) {
        self.fates[op as usize].get_or_insert(Fate { began: at, ended: None, succeeded: false, copies: 0 });
    }

    pub(crate) fn copy_arrived(&mut self, op: u32) {
        if let Some(fate) = &mut self.fates[op as usize] {
            fate.copies += 1;
        }
    }

    /// A request was answered. `data` is what a read brought.
    ///
    /// # Errors
    /// The rule that the data breaks by itself.
    pub(crate) fn ended(&mut self, op: &Op, at: u64, succeeded: bool, data: &[u8]) -> Result<(), String> {
        let Some(fate) = &mut self.fates[op.id as usize] else {
            return Err(format!("request {} never began", op.id));
        };
        (fate.ended, fate.succeeded) = (Some(at), succeeded);
        let began = fate.began;
        if succeeded && op.operation == Operation::Read {
            for (lba, bytes) in
                (op.lba..).zip(data.chunks(512).take(usize::try_from(op.sectors).unwrap_or(0)))
            {
                self.saw(op.export, lba, bytes, began, at, &format!("read {}", op.id))?;
            }
        }
        Ok(())
    }

    /// The content of a sector when nothing is in flight any more.
    ///
    /// # Errors
    /// The rule that it breaks by itself.
    pub(crate) fn is_left(&mut self, export: usize, lba: u64, bytes: &[u8], at: u64) -> Result<(), String> {
        self.saw(export, lba, bytes, at, at, "the disk at the end")
    }

    /// The content of a sector after a loss of power at this moment.
    ///
    /// # Errors
    /// If no write made it.
    pub(crate) fn survived(&mut self, export: usize, lba: u64, bytes: &[u8], at: u64) -> Result<(), String> {
        let writer = writer(bytes, export, lba)
            .ok_or_else(|| format!("after a loss of power, sector {lba} of export {export} is torn"))?;
        self.cuts.push(Cut { at, export, lba, writer });
        Ok(())
    }

    fn saw(
        &mut self,
        export: usize,
        lba: u64,
        bytes: &[u8],
        began: u64,
        ended: u64,
        who: &str,
    ) -> Result<(), String> {
        let writer = writer(bytes, export, lba).ok_or_else(|| {
            format!(
                "{who} saw in sector {lba} of export {export} what no write put there: {:02x?}",
                &bytes[..16]
            )
        })?;
        self.seen.push((export, lba, Seen { began, ended, writer }));
        Ok(())
    }

    /// Looks for a broken rule.
    ///
    /// # Errors
    /// It.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut sectors: Vec<(usize, u64)> =
            self.seen.iter().map(|(export, lba, _)| (*export, *lba)).collect();
        sectors.extend(self.cuts.iter().map(|cut| (cut.export, cut.lba)));
        sectors.sort_unstable();
        sectors.dedup();
        sectors.into_iter().try_for_each(|(export, lba)| self.check_sector(export, lba))
    }

    fn check_sector(&self, export: usize, lba: u64) -> Result<(), String> {
        let broken = |text: String| Err(format!("sector {lba} of export {export}: {text}"));
        let mut writes = self.writes(export, lba);
        let reads: Vec<Seen> = self
            .seen
            .iter()
            .filter(|(e, l, _)| (*e, *l) == (export, lba))
            .map(|(_, _, seen)| *seen)
            .collect();
        for read in &reads {
            let mut found = writes.iter_mut().filter(|write| write.made(read.writer, read.ended));
            let Some(write) = found.next() else {
                return broken(format!(
                    "a read that ended at {} saw write {}, which {}",
                    read.ended, read.writer, "had not begun, or did not reach the target whole"
                ));
            };
            // Zeros may be of several.
            if found.next().is_none() {
                write.known = write.known.min(read.ended);
                write.last_use = write.last_use.max(read.began);
            }
        }
        for read in &reads {
            let undone =
                |old: &Write| writes.iter().find(|write| old.over < write.began && write.known < read.began);
            let found = writes.iter().filter(|write| write.made(read.writer, read.ended));
            if let Some((old, newer)) = undone_by_each(found, undone) {
                return broken(format!(
                    "a read of {} to {} saw write {}, which was over at {}, although write {} of {} was there from {} on",
                    read.began, read.ended, old.id, old.over, newer.id, newer.began, newer.known
                ));
            }
        }
        for (at, one) in writes.iter().enumerate() {
            for other in &writes[..at] {
                let single = one.copies <= 1 && other.copies <= 1;
                if single && one.known < other.last_use && other.known < one.last_use {
                    return broken(format!(
                        "writes {} and {} were each seen after the other",
                        other.id, one.id
                    ));
                }
            }
        }
        for cut in self.cuts.iter().filter(|cut| (cut.export, cut.lba) == (export, lba)) {
            let lost =
                |old: &Write| writes.iter().find(|write| old.over < write.began && write.stable < cut.at);
            let mut found = writes.iter().filter(|write| write.made(cut.writer, cut.at)).peekable();
            if found.peek().is_none() {
                return broken(format!("write {}, which never began, survived", cut.writer));
            }
            if let Some((old, lost)) = undone_by_each(found, lost) {
                return broken(format!(
                    "a loss of power at {} leaves write {}, which was over at {}, and undoes write {} of {}, promised to be \
                     stable from {} on",
                    cut.at, old.id, old.over, lost.id, lost.began, lost.stable
                ));
            }
        }
        Ok(())
    }

    /// The content at the start and all writes of a sector.
    fn writes(&self, export: usize, lba: u64) -> Vec<Write> {
        let start =
            Write { id: 0, zeros: true, began: 0, over: 0, known: 0, last_use: 0, copies: 1, stable: 0 };
        let mut writes = vec![start];
        for op in self.ops.iter().filter(|op| op.changes() && op.covers(export, lba)) {
            let Some(fate) = self.fates[op.id as usize] else { continue };
            let answered = fate.ended.filter(|_| fate.succeeded).unwrap_or(NEVER);
            let zeros = op.operation != Operation::Write;
            let is_certain = !zeros || self.promises[export].trim_zeros;
            writes.push(Write {
                id: op.id,
                zeros,
                began: fate.began,
                over: answered,
                known: if is_certain { answered } else { NEVER },
                last_use: fate.began,
                copies: fate.copies,
                stable: if is_certain { self.stable_at(export, answered) } else { NEVER },
            });
        }
        writes
    }

    /// The moment from which on a write is promised to be on stable media that was answered at this one.
    fn stable_at(&self, export: usize, answered: u64) -> u64 {
        if answered == NEVER || self.promises[export].write_through {
            return answered;
        }
        let flushed = self.ops.iter().filter(|op| op.operation == Operation::Flush && op.export == export);
        let fates = flushed.filter_map(|op| self.fates[op.id as usize]);
        let covering = fates.filter(|fate| fate.succeeded && answered < fate.began);
        covering.filter_map(|fate| fate.ended).min().unwrap_or(NEVER)
    }
}

/// A write of one sector.
#[derive(Debug)]
struct Write {
    id: u32,
    /// Its content is that of the start.
    zeros: bool,
    began: u64,
    /// It takes no effect after this.
    over: u64,
    /// Its content is there from then on at the latest, until it is overwritten.
    known: u64,
    /// The last moment from which on its content was seen.
    last_use: u64,
    copies: u32,
    stable: u64,
}

impl Write {
    /// Whether a content that was seen by this moment, and that says it is of this writer, can be of this write.
    fn made(&self, writer: u32, seen: u64) -> bool {
        let is_content = if writer == 0 { self.zeros } else { self.id == writer };
        is_content && self.began < seen && self.copies > 0
    }
}

/// If each of these writes is undone, one with that which undoes it.
fn undone_by_each<'a>(
    writes: impl Iterator<Item = &'a Write>,
    undone: impl Fn(&'a Write) -> Option<&'a Write>,
) -> Option<(&'a Write, &'a Write)> {
    let mut last = None;
    for write in writes {
        last = Some((write, undone(write)?));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(id: u32, operation: Operation) -> Op {
        Op {
            id,
            initiator: 0,
            export: 0,
            operation,
            lba: 3,
            sectors: u64::from(operation != Operation::Flush),
            at: 0,
        }
    }

    /// Writes 1, 2 and so on, each with the moments of its begin and its end; a `None` end is no reply.
    fn history(write_through: bool, writes: &[(u64, Option<u64>)]) -> History {
        let ops: Vec<Op> = (1..).zip(writes).map(|(id, _)| op(id, Operation::Write)).collect();
        let mut history = History::new(&ops, vec![Promise { write_through, trim_zeros: true }]);
        for (op, (began, ended)) in ops.iter().zip(writes) {
            history.began(op.id, *began);
            history.copy_arrived(op.id);
            if let Some(ended) = ended {
                history.ended(op, *ended, true, &[]).expect("it began");
            }
        }
        history
    }

    fn read(history: &mut History, began: u64, ended: u64, writer: u32) {
        history.saw(0, 3, &content(writer, 0, 3), began, ended, "a test").expect("a write's content");
    }

    #[test]
    fn reads_see_the_last_write_or_one_beside_them() {
        let mut history = history(false, &[(1, Some(5)), (6, Some(9)), (12, Some(20))]);
        read(&mut history, 2, 3, 0);
        read(&mut history, 10, 11, 2);
        read(&mut history, 13, 19, 3);
        read(&mut history, 13, 14, 2);
        assert_eq!(history.check(), Ok(()));
    }

    #[test]
    fn an_overwritten_value_that_comes_back_is_found() {
        let mut undone = history(false, &[(1, Some(5)), (6, Some(9))]);
        read(&mut undone, 10, 11, 1);
        assert!(undone.check().expect_err("write 2 is undone").contains("write 2 of 6 was there"));
        // Write 2 was never answered, but seen.
        let mut seen = history(false, &[(1, Some(5)), (6, None)]);
        read(&mut seen, 10, 11, 2);
        read(&mut seen, 12, 13, 1);
        assert!(seen.check().is_err());
        // It was neither answered nor seen.
        let mut unseen = history(false, &[(1, Some(5)), (6, None)]);
        read(&mut unseen, 12, 13, 1);
        assert_eq!(unseen.check(), Ok(()));
    }

    #[test]
    fn a_value_that_comes_back_is_right_if_two_copies_of_its_write_arrived() {
        let both = |copies: u32| {
            let mut history = history(false, &[(1, Some(20)), (2, Some(19))]);
            (1..copies).for_each(|_| history.copy_arrived(1));
            read(&mut history, 3, 4, 1);
            read(&mut history, 5, 6, 2);
            read(&mut history, 7, 8, 1);
            history.check()
        };
        assert!(both(1).expect_err("each after the other").contains("each seen after"));
        assert_eq!(both(2), Ok(()));
    }

    #[test]
    fn content_that_no_write_made_is_found() {
        let mut history = history(false, &[(5, Some(6))]);
        let mut torn = content(1, 0, 3);
        torn[511] ^= 1;
        assert!(history.saw(0, 3, &torn, 7, 8, "a test").is_err());
        assert!(history.saw(0, 3, &content(1, 0, 4), 7, 8, "a test").is_err(), "another sector's");
        read(&mut history, 2, 3, 1);
        assert!(history.check().expect_err("a read before the write").contains("had not begun"));
    }

    #[test]
    fn a_loss_of_power_undoes_only_what_was_not_promised() {
        let cut = |write_through, writer| {
            let mut history = history(write_through, &[(1, Some(5)), (6, Some(9))]);
            history.survived(0, 3, &content(writer, 0, 3), 10).expect("a write's content");
            history.check()
        };
        assert_eq!(cut(true, 2), Ok(()));
        assert!(cut(true, 1).expect_err("an answered write is lost").contains("undoes write 2"));
        assert_eq!(cut(false, 1), Ok(()));
        assert_eq!(cut(false, 0), Ok(()));
    }

    #[test]
    fn trimmed_sectors_are_zeros_or_what_they_were_as_the_disk_promises() {
        let check = |trim_zeros, trimmed: (u64, u64), writer| {
            let ops = [op(1, Operation::Write), op(2, Operation::Trim { gap: 0 })];
            let mut history = History::new(&ops, vec![Promise { write_through: false, trim_zeros }]);
            for (op, (began, ended)) in ops.iter().zip([(1, 5), trimmed]) {
                history.began(op.id, began);
                history.copy_arrived(op.id);
                history.ended(op, ended, true, &[]).expect("it began");
            }
            read(&mut history, 20, 21, writer);
            history.check()
        };
        assert_eq!(check(true, (6, 9), 0), Ok(()));
        assert_eq!(check(false, (6, 9), 0), Ok(()));
        assert!(check(true, (6, 9), 1).expect_err("the write is back").contains("write 2 of 6 was there"));
        assert_eq!(check(false, (6, 9), 1), Ok(()));
        assert_eq!(check(true, (4, 9), 1), Ok(()), "both at the same time");
        assert!(check(true, (22, 30), 0).expect_err("zeros before the TRIM").contains("write 1 of 1"));
    }

    #[test]
    fn a_flush_promises_the_writes_answered_before_it_began() {
        let cut = |flush: (u64, u64), writer| {
            let ops = [op(1, Operation::Write), op(2, Operation::Flush)];
            let mut history = History::new(&ops, vec![Promise { write_through: false, trim_zeros: true }]);
            history.began(1, 1);
            history.copy_arrived(1);
            history.ended(&ops[0], 5, true, &[]).expect("it began");
            history.began(2, flush.0);
            history.ended(&ops[1], flush.1, true, &[]).expect("it began");
            history.survived(0, 3, &content(writer, 0, 3), 20).expect("a write's content");
            history.check()
        };
        assert!(cut((6, 8), 0).is_err());
        assert_eq!(cut((4, 8), 0), Ok(()), "the flush began before the write was answered");
        assert_eq!(cut((6, 30), 0), Ok(()), "the flush was answered after the loss");
    }
}
