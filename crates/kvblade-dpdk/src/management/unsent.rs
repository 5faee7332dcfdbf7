//! The memory of answers that are made and not sent, of all clients together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of these answers. One alone may have more: it is made already.
const MAX: usize = 256 << 20;

/// What is refused of a call whose answer has no room.
pub(super) const NO_ROOM: &str =
    "the call was carried out, but there is no room for its answer: other clients have not read theirs";

/// The bytes of all answers that are made and not sent.
#[derive(Debug, Default)]
pub(super) struct UnsentAnswers(AtomicUsize);

/// The bytes of one answer among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<'answers> {
    of: &'answers UnsentAnswers,
    bytes: usize,
}

impl UnsentAnswers {
    /// The share of an answer of which nothing is made yet.
    pub(super) fn share(&self) -> Share<'_> {
        Share { of: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// Adds bytes. False, and nothing is added, if there is no room for them.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let own = self.bytes;
        let added = |all: usize| {
            let all_then = all.checked_add(bytes)?;
            (all == own || all_then <= MAX).then_some(all_then)
        };
        let has_room = self.of.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_share_the_room_and_one_alone_has_no_limit() {
        let answers = UnsentAnswers::default();
        let (mut one, mut other) = (answers.share(), answers.share());
        assert!(one.add(MAX) && one.add(MAX), "it is alone");
        assert!(!other.add(1), "there is no room beside it");
        drop(one);
        let mut third = answers.share();
        assert!(other.add(MAX - 1) && third.add(1) && !third.add(1) && !other.add(1));
        drop(third);
        assert!(other.add(1));
        drop(other);
        assert_eq!(answers.0.load(Ordering::Relaxed), 0);
    }
}
