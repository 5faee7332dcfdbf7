//! Makes a failing seed smaller: leaves out parts of the simulation, then requests, as long as it fails.

use crate::{options::Options, plan::Part};

/// Runs that shrinking takes at most.
const MOST_RUNS: u32 = 400;

/// A seed that broke a rule.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) broken: String,
}

/// The options with which the seed still fails, with few parts and few requests, and the rule that it breaks then.
/// `fails` runs the seed, and returns that rule.
pub(crate) fn shrink(
    options: &Options,
    failure: &Failure,
    fails: impl Fn(&Options) -> Option<String>,
) -> (Options, String) {
    let mut runs = 0;
    let mut fails = |candidate: &Options| {
        runs += 1;
        if runs > MOST_RUNS { None } else { fails(candidate) }
    };
    let mut smallest = Options { trace: false, ..options.clone() };
    let mut broken = failure.broken.clone();
    smallest.keep = smallest.plan(failure.seed).ops.iter().map(|op| op.id).collect();
    for part in Part::ALL {
        let mut candidate = smallest.clone();
        if !candidate.left_out().contains(&part) {
            candidate.without.push(part);
            if let Some(text) = fails(&candidate) {
                (smallest, broken) = (candidate, text);
            }
        }
    }
    // Half of the requests, then smaller pieces: Zeller's delta debugging, the part that removes.
    let mut piece = smallest.keep.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < smallest.keep.len() {
            let mut candidate = smallest.clone();
            candidate.keep.drain(at..(at + piece).min(smallest.keep.len()));
            let text = if candidate.keep.is_empty() { None } else { fails(&candidate) };
            match text {
                Some(text) => (smallest, broken) = (candidate, text),
                None => at += piece,
            }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    (smallest, broken)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let options = Options::parse_from(["simulate"]);
        let failure = Failure { seed: 3, broken: "at first".into() };
        let fails = |candidate: &Options| {
            let needed = [7, 31].iter().all(|op| candidate.keep.contains(op));
            let stalls = !candidate.without.contains(&Part::Stall);
            (needed && stalls).then(|| "still".to_owned())
        };
        let (smaller, broken) = shrink(&options, &failure, fails);
        assert_eq!(smaller.keep, [7, 31]);
        assert_eq!(smaller.left_out().len(), Part::ALL.len() - 1);
        assert!(!smaller.without.contains(&Part::Stall));
        assert_eq!(broken, "still");
    }
}
