//! One verdict on a target, with the reasons.

use serde::Serialize;

use crate::answers;
use crate::history::{History, grown};
use crate::snapshot::Snapshot;

/// Most exports that a reason names.
const NAMED_MAX: usize = 5;

/// Drops that are no initiator's or stranger's own doing, with what they mean.
const SERIOUS_DROPS: &[(&str, &str)] = &[
    ("ring_full", "the ring between two lcores was full"),
    ("deferred_full", "too many changes of initiator state were waiting"),
    ("not_stored", "changes of initiator state could not be written to disk"),
    ("order_full", "more requests were in flight than an lcore can keep in order"),
    ("no_mbuf", "no mbuf was free"),
    ("tx_link_down", "replies could not be sent: commonly a link was down"),
];

/// How bad it is, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// It serves, but not every request.
    Warning,
    /// The target does not answer, or an export is not served.
    Failure,
}

/// The verdict, and a sentence for each reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<String>,
}

impl Health {
    /// Of the last sample, and of what happened since the one before.
    pub(crate) fn of(history: &History) -> Self {
        let mut health = Self { verdict: Verdict::Ok, reasons: Vec::new() };
        if let Some((sentence, _)) = history.failure() {
            health.add(Verdict::Failure, sentence.to_owned());
            return health;
        }
        let Some(newest) = history.newest() else {
            health.add(Verdict::Warning, "kvblade-dpdk has not been asked yet".into());
            return health;
        };
        match &newest.health {
            Some(of_target) => health.adopt(of_target),
            None => health.states(newest),
        }
        if let Some((before, newest)) = history.pair() {
            health.faults(before, newest);
            if newest.health.is_none() {
                health.drops(before, newest);
            }
        }
        health
    }

    fn add(&mut self, verdict: Verdict, reason: String) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push(reason);
    }

    /// Takes over what the target finds itself. What is only worth knowing has no place here.
    fn adopt(&mut self, of_target: &answers::Health) {
        for reason in &of_target.reasons {
            let verdict = match reason.severity.as_str() {
                "failure" => Verdict::Failure,
                "warning" => Verdict::Warning,
                _ => continue,
            };
            self.add(verdict, format!("{}: {}", reason.subject, reason.text));
        }
    }

    fn states(&mut self, newest: &Snapshot) {
        let mut by_state: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
        for (id, export) in &newest.exports {
            // Both end by themselves.
            if !["online", "creating"].contains(&export.state.as_str()) {
                by_state.entry(&export.state).or_default().push(id.address());
            }
        }
        for (state, addresses) in by_state {
            // Its successor may serve the address.
            let verdict = if state == "quarantined" { Verdict::Warning } else { Verdict::Failure };
            self.add(verdict, format!("{}: {state}", some(&addresses)));
        }
    }

    fn faults(&mut self, before: &Snapshot, newest: &Snapshot) {
        let mut of = |field: &str, what: &str| {
            let affected = newest.exports.iter().filter(|(id, export)| {
                before
                    .exports
                    .get(id)
                    .is_some_and(|earlier| grown(&earlier.counts, &export.counts, field) > 0)
            });
            let addresses: Vec<String> = affected.map(|(id, _)| id.address()).collect();
            if !addresses.is_empty() {
                self.add(Verdict::Warning, format!("{}: {what}", some(&addresses)));
            }
        };
        of("timeouts", "its disk leaves requests without an answer");
        of("ata_errors", "requests fail");
        of("export_full", "requests are dropped, because too many are in flight");
    }

    fn drops(&mut self, before: &Snapshot, newest: &Snapshot) {
        for port in &newest.ports {
            let Some(earlier) = before.ports.iter().find(|earlier| earlier.name == port.name) else {
                continue;
            };
            for (reason, meaning) in SERIOUS_DROPS {
                let drops = grown(&earlier.drops, &port.drops, reason);
                if drops > 0 {
                    let name = port.netif.as_deref().unwrap_or(&port.name);
                    self.add(
                        Verdict::Warning,
                        format!("port {name} dropped {drops} frames ({reason}): {meaning}"),
                    );
                }
            }
        }
    }
}

/// The first addresses, and how many more there are.
fn some(addresses: &[String]) -> String {
    let named = addresses.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let noun = if addresses.len() == 1 { "export" } else { "exports" };
    match addresses.len().saturating_sub(NAMED_MAX) {
        0 => format!("{noun} {named}"),
        more => format!("{noun} {named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::snapshot::tests::example;

    fn health(samples: Vec<Result<Snapshot, &str>>) -> Health {
        let mut history = History::default();
        for sample in samples {
            history.push(sample.map(Arc::new).map_err(str::to_owned), SystemTime::UNIX_EPOCH);
        }
        Health::of(&history)
    }

    fn all_online() -> Snapshot {
        let mut snapshot = example(7);
        snapshot.exports.values_mut().for_each(|export| export.state = "online".into());
        snapshot
    }

    #[test]
    fn a_target_on_which_nothing_is_wrong_is_good() {
        let expected = Health { verdict: Verdict::Ok, reasons: Vec::new() };
        assert_eq!(health(vec![Ok(all_online()), Ok(all_online())]), expected);
    }

    #[test]
    fn each_trouble_has_its_reason() {
        assert_eq!(health(Vec::new()).verdict, Verdict::Warning);
        let down = health(vec![Ok(all_online()), Err("nobody is there")]);
        assert_eq!((down.verdict, down.reasons), (Verdict::Failure, vec!["nobody is there".to_owned()]));

        let mut worse = all_online();
        let export = worse.exports.values_mut().next().unwrap();
        export.counts.insert("timeouts".into(), 3);
        worse.ports[0].drops.insert("no_mbuf".into(), 9);
        worse.ports[0].drops.insert("not_aoe".into(), 99);
        let troubled = health(vec![Ok(all_online()), Ok(worse)]);
        assert_eq!(troubled.verdict, Verdict::Warning);
        assert_eq!(
            troubled.reasons,
            [
                "export 1.1: its disk leaves requests without an answer",
                "port eth1 dropped 9 frames (no_mbuf): no mbuf was free"
            ]
        );
    }

    #[test]
    fn the_targets_own_verdict_takes_the_place_of_a_look_at_states_and_drops() {
        let answer = serde_json::json!({"verdict": "warning", "reasons": [
            {"severity": "warning", "kind": "link_down", "subject": "eth1", "text": "the port has no link"},
            {"severity": "note", "kind": "one_path", "subject": "1.1", "text": "one path"},
        ]});
        let mut snapshot = example(7);
        snapshot.health = Some(serde_json::from_value(answer).unwrap());
        let expected =
            Health { verdict: Verdict::Warning, reasons: vec!["eth1: the port has no link".to_owned()] };
        assert_eq!(health(vec![Ok(snapshot.clone()), Ok(snapshot)]), expected);
    }

    #[test]
    fn exports_that_are_not_served_are_named() {
        for (state, verdict) in
            [("offline", Verdict::Failure), ("quarantined", Verdict::Warning), ("creating", Verdict::Ok)]
        {
            let mut snapshot = example(7);
            snapshot.exports.values_mut().for_each(|export| export.state = state.into());
            let expected =
                if verdict == Verdict::Ok { vec![] } else { vec![format!("exports 1.1, 1.2: {state}")] };
            assert_eq!(health(vec![Ok(snapshot)]), Health { verdict, reasons: expected });
        }
        let many: Vec<String> = (0..7).map(|slot| format!("1.{slot}")).collect();
        assert_eq!(some(&many), "exports 1.0, 1.1, 1.2, 1.3, 1.4 and 2 more");
    }
}
