//! The order of the configuration's entries and the meaning of refusals, without I/O.
//!
//! SPDK's own loader ends the program at the first refusal and does not name the entry. This loader names every entry that is
//! refused. A mistake in the configuration ends the start. A fault that can pass while the program runs, such as a missing disk,
//! affects only the entries that depend on it; with `--strict` it ends the start too.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;

use control::error::{Quoted, nearest};
use rpc_client::json_rpc::Refusal;
use spdk::rpc::Phases;

use crate::launch_config::Entry;

/// JSON-RPC's codes for a request that can't be understood (spdk/jsonrpc.h), and errnos of what is there already.
mod code {
    pub(super) const PARSE_ERROR: i64 = -32700;
    pub(super) const INVALID_REQUEST: i64 = -32600;
    pub(super) const METHOD_NOT_FOUND: i64 = -32601;
    pub(super) const INVALID_PARAMS: i64 = -32602;
    pub(super) const EEXIST: i64 = -17;
    pub(super) const EALREADY: i64 = -114;
}

/// SPDK's message for parameters that do not decode. It names none of them.
const UNDECODED: &str = "spdk_json_decode_object failed";

/// The part of the start an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Options of subsystems, before these start.
    Startup,
    /// Everything else.
    Runtime,
}

/// An entry that was refused and is tried again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Awaited {
    /// The entry.
    pub(crate) entry: Entry,
    /// Why it was refused the last time.
    pub(crate) reason: String,
    /// What SPDK logged then.
    pub(crate) said: BTreeSet<String>,
}

/// What becomes of an entry that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The start ends, once the other entries have been tried.
    Ends,
    /// It is tried again later.
    Awaits,
}

/// The entries still to be carried out, and those that failed.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    strict: bool,
    startup: VecDeque<Entry>,
    runtime: VecDeque<Entry>,
    /// Of methods that there are not.
    unknown: Vec<Entry>,
    /// Why the start ends, a sentence each.
    failures: Vec<String>,
}

impl Loader {
    /// Sorts entries by the phase that SPDK takes their methods in; one that it takes in both belongs to the first.
    /// Returns with it the entries that are passed over, as SPDK does: their methods are of subsystems that this program
    /// does not have.
    pub(crate) fn new(
        entries: Vec<Entry>,
        strict: bool,
        phases: impl Fn(&str) -> Option<Phases>,
        is_linked: impl Fn(&str) -> bool,
    ) -> (Self, Vec<Entry>) {
        let mut loader = Self { strict, ..Self::default() };
        let mut passed_over = Vec::new();
        for entry in entries {
            match phases(&entry.method) {
                Some(Phases { startup: true, .. }) => loader.startup.push_back(entry),
                Some(_) => loader.runtime.push_back(entry),
                None if is_linked(&entry.subsystem) => loader.unknown.push(entry),
                None => passed_over.push(entry),
            }
        }
        (loader, passed_over)
    }

    /// Whether entries call methods that there are not: nothing is to be carried out then.
    pub(crate) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Names the entries of unknown methods, each with the method whose name is nearest.
    pub(crate) fn refuse_unknown(&mut self, methods: &[String]) {
        for entry in self.unknown.drain(..) {
            let mut sentence = format!("{entry}: there is no method {}", Quoted(&entry.method));
            if let Some(nearest) = nearest(&entry.method, methods.iter().map(String::as_str)) {
                write!(sentence, "; the nearest is {}", Quoted(nearest)).expect("a String takes any text");
            }
            self.failures.push(sentence);
        }
    }

    /// The next entry of this phase.
    pub(crate) fn next(&mut self, phase: Phase) -> Option<Entry> {
        match phase {
            Phase::Startup => self.startup.pop_front(),
            Phase::Runtime => self.runtime.pop_front(),
        }
    }

    /// Leaves out what is still to come: the program is to end.
    pub(crate) fn give_up(&mut self) {
        self.startup.clear();
        self.runtime.clear();
        self.failures.clear();
    }

    /// Judges the refusal of an entry, and notes it if it ends the start.
    pub(crate) fn refused(&mut self, phase: Phase, entry: &Entry, refusal: &Refusal) -> Fate {
        if self.strict || phase == Phase::Startup || is_mistake(entry, refusal) {
            self.fail(entry, &reason(entry, refusal));
            return Fate::Ends;
        }
        Fate::Awaits
    }

    /// The start ends because of this entry.
    pub(crate) fn fail(&mut self, entry: &Entry, why: &str) {
        self.failures.push(format!("{entry}: {why}"));
    }

    /// Why the start ends, if it does.
    pub(crate) fn failure(&self) -> Option<String> {
        match self.failures.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            all => Some(format!("{} entries were refused:\n  {}", all.len(), all.join("\n  "))),
        }
    }
}

/// Whether the entry has to be changed, rather than something outside of it.
fn is_mistake(entry: &Entry, refusal: &Refusal) -> bool {
    match refusal.code {
        code::PARSE_ERROR | code::INVALID_REQUEST | code::METHOD_NOT_FOUND => true,
        code::EEXIST | code::EALREADY => true,
        // SPDK's bdev modules answer so to names of bdevs that are missing, too.
        code::INVALID_PARAMS if entry.method.starts_with("aoe_") => true,
        _ => refusal.message.contains(UNDECODED) || refusal.message == "Invalid parameters",
    }
}

/// Whether a retry was refused because what it makes is there already.
pub(crate) fn is_there(refusal: &Refusal) -> bool {
    matches!(refusal.code, code::EEXIST | code::EALREADY)
}

/// The refusal in words.
pub(crate) fn reason(entry: &Entry, refusal: &Refusal) -> String {
    if refusal.message.trim().is_empty() {
        return format!("it was refused with code {} and no message", refusal.code);
    }
    if !refusal.message.contains(UNDECODED) {
        return refusal.message.clone();
    }
    let given = entry.params.as_ref().and_then(serde_json::Value::as_object);
    let given: Vec<&str> = given.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let given = if given.is_empty() { "none".to_owned() } else { given.join(", ") };
    format!(
        "{}: a parameter is missing, has the wrong type or is not known to the method; given are {given}",
        refusal.message
    )
}

#[cfg(test)]
mod tests;
