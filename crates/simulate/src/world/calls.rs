//! Calls of operators: each is answered once, and the oracles know its change as that of a request.

use super::World;
use crate::plan::Call;

impl World {
    /// Makes the calls that are due.
    pub(super) fn make_calls(&mut self) {
        let now = self.now();
        let due: Vec<Call> = self.plan.calls.extract_if(.., |call| call.at <= now).collect();
        for call in due {
            self.busy = true;
            self.note(|| format!("{call:?}"));
            let at = self.moment();
            if let Some(op) = call.as_request() {
                let slot = self.plan.exports[call.export].slot;
                self.registers.began(&op, slot, at);
                self.registers.arrived(&op, slot);
                self.rules.arrived(&op, at);
            }
            self.calls.insert(call.id, call);
            self.control.call(&call, now);
        }
    }

    /// A call is answered.
    ///
    /// # Errors
    /// If it was not made, or has been answered.
    pub(super) fn answered(&mut self, call: u32, succeeded: bool) -> Result<(), String> {
        let Some(call) = self.calls.remove(&call) else {
            return Err(format!("call {call} is answered twice"));
        };
        let Some(op) = call.as_request() else { return Ok(()) };
        let at = self.moment();
        if succeeded {
            self.rules.answered(op.id, at);
        }
        self.registers.ended(&op, self.plan.exports[call.export].slot, at, succeeded)
    }

    /// Whether each call that was made is answered.
    ///
    /// # Errors
    /// The call that is not.
    pub(super) fn check_calls(&self) -> Result<(), String> {
        match self.calls.values().next() {
            Some(call) => Err(format!("{call:?} is never answered")),
            None => Ok(()),
        }
    }
}
