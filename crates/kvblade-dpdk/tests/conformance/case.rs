//! The row of the conformance table.

use crate::bench::Bench;

/// A rule, and what each subject is seen to do about it.
pub(crate) struct Case {
    /// The test's name, which says the rule.
    pub(crate) name: &'static str,
    /// The rule in a sentence.
    pub(crate) rule: &'static str,
    /// Short names of the sources; the table explains them.
    pub(crate) source: &'static str,
    /// The demanded behaviour of our target, word for word.
    pub(crate) us: &'static str,
    /// The known behaviour of Debian's vblade.
    pub(crate) vblade: Peer,
    /// Asks the subject and puts what it did into words. It must not panic: words that differ are the failure.
    pub(crate) run: fn(&mut Bench) -> String,
}

/// The behaviour of vblade under a rule.
pub(crate) enum Peer {
    /// The same as ours.
    Same,
    /// Something else, and why.
    Differs(&'static str, &'static str),
}

/// A rule that no frame to a running target can show, and the test that does.
pub(crate) struct Elsewhere {
    /// The rule in a sentence.
    pub(crate) rule: &'static str,
    /// Short names of the sources.
    pub(crate) source: &'static str,
    /// A file of the repository.
    pub(crate) file: &'static str,
    /// A test in it: words that stand in the file.
    pub(crate) test: &'static str,
}

/// One section of the table.
pub(crate) struct Section {
    /// Its heading, and in lower case the beginning of its rows' ids.
    pub(crate) title: &'static str,
    /// Rules shown by frames.
    pub(crate) cases: &'static [Case],
    /// Rules shown by other tests.
    pub(crate) elsewhere: &'static [Elsewhere],
}
