//! Whether the start is over, and why it failed.

use std::cell::{Cell, RefCell};

thread_local! {
    /// Why the program does not start: the first reason given.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Set once start-up is over, when failures no longer end the program. Not in the target, which may be borrowed where
    /// something fails.
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// Stores why the program does not start. The first reason counts; after the start there is none.
pub(crate) fn note_failure(sentence: &str) {
    if !READY.get() {
        FAILURE.with_borrow_mut(|failure| {
            failure.get_or_insert_with(|| sentence.to_owned());
        });
    }
}

/// True once start-up is over.
pub(super) fn is_ready() -> bool {
    READY.get()
}

/// Whether the start has failed.
pub(super) fn has_failed() -> bool {
    FAILURE.with_borrow(Option::is_some)
}

/// Why the program did not start, if it did not.
pub(crate) fn failure() -> Option<String> {
    FAILURE.take()
}

/// The start is over.
pub(super) fn set_ready() {
    READY.set(true);
}
