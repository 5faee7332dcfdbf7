//! Work that may change initiator state, and the change that it leads to.

use std::sync::Arc;

use aoe_target::{DropReason, InitiatorState, StateReply};

use super::events::Lists;
use super::shared::Shared;
use crate::error::RpcError;
use crate::state_change::StateChange;

/// Work that may change initiator state. It waits for the change before, and is decided then.
#[derive(Debug)]
pub(super) enum Job<R, A> {
    Deferred(R),
    Set(StateChange, A),
    /// The export has left ports, so its file gets another name.
    Rename(String),
    /// The operator's lists are other ones.
    Access(Lists, A),
}

/// A change that is being saved, then published.
#[derive(Debug)]
pub(super) struct Change<R, A> {
    pub(super) number: u64,
    pub(super) next: Arc<InitiatorState>,
    /// The export stays closed, for this reason.
    pub(super) closed: Option<String>,
    /// Lcores that do not have the new ACL, or the new state, yet.
    pub(super) waiting: usize,
    /// Requests admitted under the ACL before have not ended in time.
    pub(super) overdue: bool,
    pub(super) end: End<R, A>,
}

/// The requester of a change.
#[derive(Debug)]
pub(super) enum End<R, A> {
    Deferred(R, StateReply),
    /// A call of this method.
    Set(&'static str, A),
    Access(A),
    Nobody,
}

impl<R, A> Job<R, A> {
    pub(super) const fn is_call(&self) -> bool {
        matches!(self, Self::Set(..) | Self::Access(..))
    }

    /// The job is not carried out.
    pub(super) fn refuse(self, reason: DropReason, error: fn() -> RpcError, shared: &mut Shared<R, A>) {
        match self {
            Self::Deferred(request) => shared.drop_request(request, reason),
            Self::Set(_, answer) | Self::Access(_, answer) => shared.answer(answer, Err(error())),
            Self::Rename(_) => {}
        }
    }
}

impl<R, A> Change<R, A> {
    pub(super) const fn new(
        number: u64,
        next: Arc<InitiatorState>,
        closed: Option<String>,
        end: End<R, A>,
    ) -> Self {
        Self { number, next, closed, waiting: 0, overdue: false, end }
    }

    /// Takes note that one lcore less is waited for. Whether none is.
    pub(super) const fn is_reported(&mut self) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting == 0
    }
}

impl<R, A> End<R, A> {
    pub(super) const fn is_call(&self) -> bool {
        matches!(self, Self::Set(..) | Self::Access(_))
    }

    /// The change is not made.
    pub(super) fn refuse(self, reason: DropReason, error: fn() -> RpcError, shared: &mut Shared<R, A>) {
        match self {
            Self::Deferred(request, _) => shared.drop_request(request, reason),
            Self::Set(_, answer) | Self::Access(answer) => shared.answer(answer, Err(error())),
            Self::Nobody => {}
        }
    }
}
