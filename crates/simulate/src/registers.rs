//! The oracle for initiator state: after a loss of power at any moment, the state directory has each change that was answered.
//!
//! An export's config string and its reservation are registers: a request sets one whole. So the rules are those of a disk's sectors,
//! of an export that writes through ([`History`]). The mask list only grows: it has each address whose addition was answered.

use aoe_target::{InitiatorState, MacAddr};

use crate::{
    frame,
    history::{History, Promise, content},
    plan::{Op, Operation},
};

/// Where the registers are among the sectors of the history.
const CONFIG: u64 = 0;
const RESERVATION: u64 = 1;

/// See the module. Exports go by their slots, under which their state is saved.
#[derive(Debug)]
pub(crate) struct Registers {
    history: History,
    /// Additions to mask lists that were answered.
    masks: Vec<(usize, u32)>,
}

/// The request as one to a sector, if it sets a register.
fn as_sector(op: &Op, slot: usize) -> Option<Op> {
    let (operation, lba) = match op.operation {
        Operation::Config => (Operation::Write, CONFIG),
        // A release leaves nothing that says whose it is.
        Operation::Reserve { holders: 0 } => (Operation::Trim { gap: 0 }, RESERVATION),
        Operation::Reserve { .. } => (Operation::Write, RESERVATION),
        _ => return None,
    };
    Some(Op { export: slot, operation, lba, sectors: 1, ..*op })
}

impl Registers {
    /// `slot` is that of each export.
    pub(crate) fn new(ops: &[Op], slot: impl Fn(usize) -> u8) -> Self {
        let slot_of = |op: &Op| usize::from(slot(op.export));
        let slots = ops.iter().map(slot_of).max().unwrap_or(0) + 1;
        let promises = vec![Promise { write_through: true, trim_zeros: true }; slots];
        let ops: Vec<Op> = ops.iter().filter_map(|op| as_sector(op, slot_of(op))).collect();
        Self { history: History::new(&ops, promises), masks: Vec::new() }
    }

    pub(crate) fn began(&mut self, op: &Op, slot: u8, at: u64) {
        if as_sector(op, usize::from(slot)).is_some() {
            self.history.began(op.id, at);
        }
    }

    /// A whole copy of a request has arrived.
    pub(crate) fn arrived(&mut self, op: &Op, slot: u8) {
        if as_sector(op, usize::from(slot)).is_some() {
            self.history.copy_arrived(op.id);
        }
    }

    /// A request was answered.
    ///
    /// # Errors
    /// If it never began.
    pub(crate) fn ended(&mut self, op: &Op, slot: u8, at: u64, succeeded: bool) -> Result<(), String> {
        let slot = usize::from(slot);
        if succeeded && op.operation == Operation::Mask {
            self.masks.push((slot, op.id));
        }
        as_sector(op, slot).map_or(Ok(()), |op| self.history.ended(&op, at, succeeded, &[]))
    }

    /// What a loss of power at this moment would leave of an export's state.
    ///
    /// # Errors
    /// The rule that it breaks by itself.
    pub(crate) fn survived(&mut self, slot: u8, state: &InitiatorState, at: u64) -> Result<(), String> {
        let slot = usize::from(slot);
        let config = match state.config.as_bytes() {
            [] => content(0, slot, CONFIG),
            bytes => bytes.to_vec(),
        };
        let broken = |text: String| format!("initiator state of slot {slot}: {text}");
        self.history.survived(slot, CONFIG, &config, at).map_err(broken)?;
        let holders = state.reservation.macs();
        let by = holders.iter().find_map(frame::request_of);
        if by.is_none() && !holders.is_empty() {
            return Err(broken(format!("it is reserved by {holders:?}, which no request asked for")));
        }
        let reservation = content(by.unwrap_or(0), slot, RESERVATION);
        self.history.survived(slot, RESERVATION, &reservation, at).map_err(broken)?;
        let mask = state.mask.as_slice();
        let lost = |(of, op): &&(usize, u32)| *of == slot && !mask.contains(&MacAddr(frame::mark(*op)));
        match self.masks.iter().find(lost) {
            Some((_, op)) => {
                Err(broken(format!("a loss of power at {at} undoes the mask list of request {op}")))
            }
            None => Ok(()),
        }
    }

    /// Looks for a broken rule.
    ///
    /// # Errors
    /// It.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.history.check().map_err(|broken| {
            format!("initiator state, where sector {CONFIG} is the config string and {RESERVATION} the reservation: {broken}")
        })
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::ConfigString;

    use super::*;

    fn op(id: u32, operation: Operation) -> Op {
        Op { id, initiator: 0, export: 0, operation, lba: 0, sectors: 0, at: 0 }
    }

    fn registers(ops: &[Op]) -> Registers {
        let mut registers = Registers::new(ops, |_| 0);
        // What was there before is there since 0.
        for (op, at) in ops.iter().zip((10u64..).step_by(10)) {
            registers.began(op, 0, at);
            registers.arrived(op, 0);
            registers.ended(op, 0, at + 5, true).expect("it began");
        }
        registers
    }

    #[test]
    fn an_older_config_string_after_a_loss_is_found() {
        let check = |survivor: u32, at| {
            let mut registers = registers(&[op(1, Operation::Config), op(2, Operation::Config)]);
            let config = ConfigString::new(&content(survivor, 0, CONFIG)).expect("512 bytes");
            let state = InitiatorState { config, ..InitiatorState::default() };
            registers.survived(0, &state, at).and_then(|()| registers.check())
        };
        assert_eq!(check(2, 26), Ok(()));
        assert!(check(1, 26).expect_err("2 was answered at 25").contains("undoes write 2"));
        assert_eq!(check(1, 23), Ok(()), "2 has begun");
        assert_eq!(check(2, 23), Ok(()));
    }

    #[test]
    fn a_lost_reservation_or_mask_address_is_found() {
        let mut reserved = registers(&[op(1, Operation::Reserve { holders: 1 })]);
        assert_eq!(reserved.survived(0, &InitiatorState::default(), 19), Ok(()));
        assert!(reserved.check().expect_err("it was answered").contains("undoes write 1"));
        let mut released =
            registers(&[op(1, Operation::Reserve { holders: 1 }), op(2, Operation::Reserve { holders: 0 })]);
        assert_eq!(released.survived(0, &InitiatorState::default(), 26), Ok(()));
        assert_eq!(released.check(), Ok(()));
        let mut masked = registers(&[op(1, Operation::Mask)]);
        assert!(
            masked.survived(0, &InitiatorState::default(), 19).expect_err("it is gone").contains("request 1")
        );
    }
}
