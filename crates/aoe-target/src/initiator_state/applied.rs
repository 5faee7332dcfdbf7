//! The outcome of a request about initiator state: the reply, and whether there is something to store.

use aoe_wire::{AoeError, ConfigCommand, KeyedCommand, MaskCommand, MaskError, ReserveCommand};

use crate::drop_reason::DropReason;

/// The answer to a request about initiator state; [`Reply::state`](crate::Reply::state) makes a reply of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateReply {
    /// The config answer, with the string published last.
    Config(ConfigCommand, Option<AoeError>),
    /// The mask answer: the list, or why an edit stopped and the number of directives done before.
    Mask(MaskCommand, MaskError, u8),
    /// The reserve answer with the list.
    Reserve(ReserveCommand, Option<AoeError>),
    /// The keyed answer with registrations and reservation.
    Keyed(KeyedCommand, Option<AoeError>),
    /// The ATA command is done.
    Done,
    /// The ATA command is aborted.
    Aborted,
    /// An AoE error and nothing else.
    Refused(AoeError),
    /// Silence, counted under this name.
    Drop(DropReason),
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer.
    pub reply: StateReply,
    /// Whether the state changed: only then is there something to store and to publish.
    pub changed: bool,
}

impl Applied {
    /// An answer without a change.
    pub(super) const fn unchanged(reply: StateReply) -> Self {
        Self { reply, changed: false }
    }
}
