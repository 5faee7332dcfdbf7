//! What the exports of a state manager have in common.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aoe_target::{DropReason, ExportKey, InitiatorState, StateReply};

use super::events::{StateEffect, StateNote};
use crate::error::RpcError;

/// Time for the requests in flight to end when an ACL changes. Initiators have retransmitted several times by then.
pub const FENCE_LIMIT: Duration = Duration::from_secs(10);

/// The saved state of an export, or the reason why it is unknown.
pub type SavedState = Result<Arc<InitiatorState>, String>;

#[derive(Debug)]
pub(super) struct Shared<R, A> {
    pub(super) lcores: usize,
    /// By name of the file.
    pub(super) saved: BTreeMap<String, SavedState>,
    /// The number of changes so far: that of the last one.
    changes: u64,
    /// Oldest first.
    fences: VecDeque<Fence>,
    /// Those of the step that is taken.
    effects: Vec<StateEffect<R, A>>,
}

/// A change that waits for requests in flight, with the moment after which its requester is not kept waiting.
#[derive(Debug, Clone, Copy)]
struct Fence {
    limit: Duration,
    key: ExportKey,
    number: u64,
}

impl<R, A> Shared<R, A> {
    pub(super) const fn new(lcores: usize, saved: BTreeMap<String, SavedState>) -> Self {
        Self { lcores, saved, changes: 0, fences: VecDeque::new(), effects: Vec::new() }
    }

    /// The effects of the step that ends here.
    pub(super) fn take_effects(&mut self) -> Vec<StateEffect<R, A>> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn push(&mut self, effect: StateEffect<R, A>) {
        self.effects.push(effect);
    }

    pub(super) fn reply(&mut self, request: R, reply: StateReply) {
        self.push(StateEffect::Reply(request, reply));
    }

    pub(super) fn drop_request(&mut self, request: R, reason: DropReason) {
        self.reply(request, StateReply::Drop(reason));
    }

    pub(super) fn answer(&mut self, answer: A, result: Result<(), RpcError>) {
        self.push(StateEffect::Answer(answer, result));
    }

    pub(super) fn note(&mut self, note: StateNote) {
        self.push(StateEffect::Note(note));
    }

    pub(super) const fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    pub(super) fn begin_fence(&mut self, key: ExportKey, number: u64, now: Duration) {
        self.fences.push_back(Fence { limit: now + FENCE_LIMIT, key, number });
    }

    pub(super) fn end_fence(&mut self, number: u64) {
        self.fences.retain(|fence| fence.number != number);
    }

    /// The export and the change of a fence whose requester is not kept waiting any longer.
    pub(super) fn expired_fence(&mut self, now: Duration) -> Option<(ExportKey, u64)> {
        let Fence { key, number, .. } = *self.fences.front().filter(|fence| fence.limit <= now)?;
        self.fences.pop_front();
        Some((key, number))
    }

    /// When a fence expires next.
    pub(super) fn next_limit(&self) -> Option<Duration> {
        self.fences.front().map(|fence| fence.limit)
    }
}
