//! What the control plane holds for an export while it lives: its open bdev, and the calls that wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aoe_target::Export;
use control::RpcError;
use serde_json::Value;
use spdk::Bdev;

use crate::answer::Answer;

/// How long a call waits for requests in flight. Its work goes on after that.
pub(super) const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// The resources of one export.
#[derive(Default)]
pub(super) struct Resources {
    bdev: Option<Bdev>,
    /// The export for the lcores, until it is given to them.
    export: Option<Export>,
    creation: Option<Answer>,
    /// The bdev that it is about to go on with.
    other: Option<Bdev>,
    /// The call that has it go on with that.
    change: Option<Answer>,
    /// Calls that delete it or have it leave ports, the oldest first.
    deletions: VecDeque<DeletionCall>,
    /// The first failure of a task, in words.
    failure: Option<String>,
    /// When calls that wait are answered with an error.
    deadline: Option<Instant>,
}

impl Resources {
    /// Of an export that a call creates, or none.
    pub(super) fn of_creation(export: Export, bdev: Bdev, creation: Option<Answer>) -> Self {
        Self { bdev: Some(bdev), export: Some(export), creation, ..Self::default() }
    }

    /// Its bdev has come back, and is served by this export.
    pub(super) fn reopen(&mut self, export: Export, bdev: Bdev) {
        (self.bdev, self.export, self.failure) = (Some(bdev), Some(export), None);
    }

    /// The bdev, if it is open.
    pub(super) fn bdev(&self) -> Option<&Bdev> {
        self.bdev.as_ref()
    }

    /// Takes the bdev out, to close it.
    pub(super) fn take_bdev(&mut self) -> Option<Bdev> {
        self.bdev.take()
    }

    /// The export for the lcores, and its bdev, once.
    pub(super) fn take_export(&mut self) -> Option<(Export, Bdev)> {
        Some((self.export.take()?, self.bdev.clone()?))
    }

    /// The call that waits for the creation, if one does.
    pub(super) fn take_creation(&mut self) -> Option<Answer> {
        self.creation.take()
    }

    /// It is about to go on with that bdev, as `export`.
    pub(super) fn begin_change(&mut self, export: Export, bdev: Bdev, change: Answer) {
        (self.export, self.other, self.change, self.failure) = (Some(export), Some(bdev), Some(change), None);
    }

    /// The export for the lcores, and the bdev that it is about to go on with, once.
    pub(super) fn take_other(&mut self) -> Option<(Export, Bdev)> {
        Some((self.export.take()?, self.other.clone()?))
    }

    /// It goes on with the other bdev, and the one before is closed. Returns the call that waits for that, if one does.
    pub(super) fn go_on(&mut self) -> Option<Answer> {
        self.bdev = self.other.take();
        self.change.take()
    }

    /// The call that waits for a change, if one does.
    pub(super) fn take_change(&mut self) -> Option<Answer> {
        self.change.take()
    }

    /// It does not go on with the other bdev, which is closed.
    pub(super) fn close_other(&mut self) {
        (self.other, self.export) = (None, None);
    }

    pub(super) fn add_deletion(&mut self, call: DeletionCall) {
        self.deletions.push_back(call);
    }

    /// The oldest call that waits for a deletion.
    pub(super) fn take_deletion(&mut self) -> Option<DeletionCall> {
        self.deletions.pop_front()
    }

    /// Notes a failure; the first one counts.
    pub(super) fn note_failure(&mut self, sentence: String) {
        self.failure.get_or_insert(sentence);
    }

    /// Takes the failure out: that of a change is over with it.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Has calls that wait be answered in time, or not at all.
    pub(super) fn set_deadline(&mut self, waits: bool) {
        match (waits, self.deadline) {
            (true, None) => self.deadline = Some(Instant::now() + CALL_PATIENCE),
            (true, Some(_)) => {}
            (false, _) => self.deadline = None,
        }
    }

    pub(super) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Drops the calls that wait, which answers them with an error.
    pub(super) fn give_up_calls(&mut self) {
        (self.creation, self.change) = (None, None);
        self.deletions.clear();
    }
}

/// A call that deletes one export or several, or has them leave ports. Each of them holds it until it is done.
#[derive(Clone)]
pub(super) struct DeletionCall(Rc<RefCell<Pending>>);

struct Pending {
    answer: Option<Answer>,
    left: usize,
}

impl DeletionCall {
    /// A call that concerns so many exports.
    pub(super) fn new(answer: Answer, exports: usize) -> Self {
        Self(Rc::new(RefCell::new(Pending { answer: Some(answer), left: exports })))
    }

    /// One of them is done; after the last one the call is answered.
    pub(super) fn done(self) {
        let mut pending = self.0.borrow_mut();
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0
            && let Some(answer) = pending.answer.take()
        {
            answer.give(&Value::Bool(true));
        }
    }

    /// One of them is not done: the call is refused, once.
    pub(super) fn refuse(self, error: &RpcError) {
        if let Some(answer) = self.0.borrow_mut().answer.take() {
            answer.refuse(error);
        }
    }
}
