//! SPDK's log lines during a repeated attempt. Lines of the attempt before are not logged again.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Maximum number of lines kept of one attempt.
const LINES_MAX: usize = 32;

thread_local! {
    /// Nested attempts, the innermost last.
    static ATTEMPTS: RefCell<Vec<Attempt>> = const { RefCell::new(Vec::new()) };
}

struct Attempt {
    known: BTreeSet<String>,
    attempted: Attempted,
}

/// The lines logged during an attempt.
#[derive(Debug, Default)]
pub(crate) struct Attempted {
    /// Its lines.
    pub(crate) said: BTreeSet<String>,
    /// The last line that reports an error.
    pub(crate) last_error: Option<String>,
}

/// Starts to keep the lines of this thread. Lines that are `known` from the attempt before get the level trace. Another
/// attempt may begin and end within one that waits for a reply.
pub(crate) fn begin_attempt(known: BTreeSet<String>) {
    ATTEMPTS.with_borrow_mut(|attempts| attempts.push(Attempt { known, attempted: Attempted::default() }));
}

/// Ends what [`begin_attempt`] began.
pub(crate) fn end_attempt() -> Attempted {
    ATTEMPTS.with_borrow_mut(Vec::pop).map(|attempt| attempt.attempted).unwrap_or_default()
}

/// Keeps a line of SPDK's. True if the attempt before logged it too.
pub(super) fn is_repeated(level: i32, message: &str) -> bool {
    ATTEMPTS.with_borrow_mut(|attempts| {
        let Some(Attempt { known, attempted }) = attempts.last_mut() else { return false };
        if level <= 0 {
            attempted.last_error = Some(message.to_owned());
        }
        if attempted.said.len() < LINES_MAX {
            attempted.said.insert(message.to_owned());
        }
        known.contains(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_repeated_if_the_attempt_before_brought_it() {
        assert!(!is_repeated(0, "a"), "nothing is attempted");
        begin_attempt(BTreeSet::new());
        assert!(!is_repeated(0, "a") && !is_repeated(0, "a") && !is_repeated(2, "b"));
        let first = end_attempt();
        assert_eq!(first.last_error.as_deref(), Some("a"));
        begin_attempt(first.said);
        assert!(is_repeated(0, "a") && is_repeated(2, "b") && !is_repeated(0, "c"));
        assert_eq!(end_attempt().said.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!is_repeated(0, "a"));
    }

    #[test]
    fn of_a_flood_only_so_much_is_remembered() {
        begin_attempt(BTreeSet::new());
        for number in 0..1000 {
            assert!(!is_repeated(0, &number.to_string()));
        }
        let attempted = end_attempt();
        assert_eq!((attempted.said.len(), attempted.last_error.as_deref()), (LINES_MAX, Some("999")));
    }
}
