//! Step three, admission, first check: may this initiator see the export, and may it use the disk?
//!
//! Most exports have no ACL, which costs a request one null check. The ACL is built outside the lcore whenever the
//! operator's lists or the initiator state change, and published with them.

use std::sync::Arc;

use aoe_wire::MacAddr;
use ata::AtaCommand;

use crate::drop_reason::DropReason;
use crate::initiator_state::InitiatorState;

/// Initiators that are kept off an export. All lists are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    closed: bool,
    allow: Box<[MacAddr]>,
    deny: Box<[MacAddr]>,
    mask: Box<[MacAddr]>,
    reserved: Option<Reserved>,
}

/// A reservation that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reserved {
    holders: Box<[MacAddr]>,
    others_read: bool,
}

fn sorted(macs: impl Iterator<Item = MacAddr>) -> Box<[MacAddr]> {
    let mut macs: Vec<MacAddr> = macs.collect();
    macs.sort_unstable();
    macs.dedup();
    macs.into_boxed_slice()
}

fn lists(macs: &[MacAddr], mac: MacAddr) -> bool {
    macs.binary_search(&mac).is_ok()
}

impl Acl {
    /// The ACL of an export. `allow` and `deny` are the operator's lists: a non-empty `allow` admits only its members,
    /// `deny` always wins. `closed` means that the initiator state is unknown, so nobody is admitted. `None` when nobody
    /// is kept off. Allocates: not for an lcore.
    #[must_use]
    pub fn build(
        allow: &[MacAddr],
        deny: &[MacAddr],
        state: &InitiatorState,
        closed: bool,
    ) -> Option<Arc<Self>> {
        let held = state.reservation.is_held();
        if !closed && !held && allow.is_empty() && deny.is_empty() && state.mask.is_empty() {
            return None;
        }
        let reserved = held.then(|| Reserved {
            holders: sorted(state.reservation.holders()),
            others_read: state.reservation.kind().others_read(),
        });
        Some(Arc::new(Self {
            closed,
            allow: sorted(allow.iter().copied()),
            deny: sorted(deny.iter().copied()),
            mask: sorted(state.mask.as_slice().iter().copied()),
            reserved,
        }))
    }

    /// Checks that messages from `source` are answered.
    ///
    /// # Errors
    /// The drop reason.
    pub fn check_sender(&self, source: MacAddr) -> Result<(), DropReason> {
        if self.closed {
            Err(DropReason::StateUnknown)
        } else if lists(&self.deny, source) || !self.allow.is_empty() && !lists(&self.allow, source) {
            Err(DropReason::Denied)
        } else if !self.mask.is_empty() && !lists(&self.mask, source) {
            Err(DropReason::Masked)
        } else {
            Ok(())
        }
    }

    /// Whether a request of `source` that was admitted before this ACL is admitted by it too. `changes`: it writes, or its
    /// command is one that a reservation keeps for its holders.
    #[must_use]
    pub(crate) fn still_admits(&self, source: MacAddr, changes: bool) -> bool {
        let permits =
            |reserved: &Reserved| lists(&reserved.holders, source) || reserved.others_read && !changes;
        self.check_sender(source).is_ok() && self.reserved.as_ref().is_none_or(permits)
    }

    /// Whether the reservation, if any, permits this command of `source`. IDENTIFY is always permitted; of the others, only
    /// commands that do not write, and only where others may read.
    #[must_use]
    pub fn allows(&self, source: MacAddr, command: AtaCommand) -> bool {
        let Some(reserved) = &self.reserved else { return true };
        if command == AtaCommand::Identify || lists(&reserved.holders, source) {
            return true;
        }
        // An explicit list: a new command is refused until it is added here.
        reserved.others_read
            && matches!(
                command,
                AtaCommand::Read { .. }
                    | AtaCommand::Flush
                    | AtaCommand::CheckPowerMode
                    | AtaCommand::BadCount(..)
                    | AtaCommand::Unsupported(_)
            )
    }
}
