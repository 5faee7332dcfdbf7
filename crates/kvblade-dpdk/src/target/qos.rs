//! `aoe_set_qos` and `aoe_get_initiators`: limits on rates, and the drops of each initiator.

use aoe_target::{DropsOfInitiator, InitiatorDropEntry};
use control::{ErrorCode, InitiatorStats, RpcError, Seen, SetQos};
use datapath::SeenInitiator;
use serde_json::Value;

use super::control_plane::{Target, with};
use super::gatherings::Reported;
use super::lcores::Unreached;
use crate::answer::Answer;

/// What an lcore knows of initiators.
type Listed = ((Vec<InitiatorDropEntry>, DropsOfInitiator), Vec<SeenInitiator>);

/// Adds the initiators that an lcore has seen.
pub(super) fn add_seen(stats: &mut InitiatorStats, all: &[SeenInitiator]) {
    for SeenInitiator { activity, first_seen, last_seen } in all {
        let seen = Seen::of(activity, *first_seen, *last_seen);
        stats.add_seen(activity.export, activity.initiator, &seen);
    }
}

impl Target {
    /// Carries out `aoe_set_qos`: lcores change the limits between two turns.
    pub(super) fn set_qos(&mut self, request: &SetQos, answer: Answer) {
        let changed = self.registry.one(&request.export).map(|record| (record.key(), record.place()));
        let (key, place) = match changed {
            Ok(changed) => changed,
            Err(error) => return answer.refuse(&error),
        };
        self.registry.set_limits(key, request.limits);
        tracing::info!(export = place, limits = ?request.limits, "limits on rates were changed");
        let limits = request.limits.limits();
        let operation = self.operations.number();
        self.operations.limitings().start(operation, self.lcores.count(), answer);
        self.lcores.run(
            move |lcore| lcore.limit(key, limits),
            move |core, limited| {
                with(|target| target.limited(operation, core, limited));
            },
        );
    }

    fn limited(&mut self, operation: u64, core: u32, limited: Result<(), Unreached>) {
        let reported = self.operations.limitings().report(operation, |unreached| {
            if limited.is_err() {
                unreached.push(core);
            }
        });
        match reported {
            Reported::Nothing => self.nothing_waits("limits on rates", operation, core),
            Reported::Part => {}
            Reported::Whole(unreached, answer) if unreached.is_empty() => answer.give(&Value::Bool(true)),
            Reported::Whole(unreached, answer) => answer.refuse(&RpcError::new(
                ErrorCode::NoMemory,
                format!(
                    "lcores {unreached:?} have not got the limits ({Unreached}): repeat the call, which the others do not mind"
                ),
            )),
        }
    }

    /// Carries out `aoe_get_initiators`: each lcore copies its own table.
    pub(super) fn list_initiators(&mut self, answer: Answer) {
        let operation = self.operations.number();
        self.operations.initiators().start(operation, self.lcores.count(), answer);
        self.lcores.run(
            |lcore| (lcore.initiator_drops(), lcore.initiators()),
            move |core, listed| {
                with(|target| target.initiators_listed(operation, core, listed));
            },
        );
    }

    /// An lcore that can't be reached has dropped and seen nothing.
    fn initiators_listed(&mut self, operation: u64, core: u32, listed: Result<Listed, Unreached>) {
        if let Err(Unreached) = listed {
            tracing::error!(lcore = core, "an lcore has no list of initiators: {Unreached}");
        }
        let ((entries, others), seen) = listed.unwrap_or_default();
        let reported = self.operations.initiators().report(operation, |stats| {
            stats.add(&entries, &others);
            add_seen(stats, &seen);
        });
        match reported {
            Reported::Nothing => self.nothing_waits("drops of initiators", operation, core),
            Reported::Part => {}
            Reported::Whole(stats, answer) => answer.give(&self.registry.initiators_report(&stats)),
        }
    }

    /// A report came that no call waits for. While the target stops, calls have ended before their reports.
    pub(super) fn nothing_waits(&self, what: &'static str, operation: u64, core: u32) {
        if self.stopping.is_none() {
            tracing::error!(what, operation, lcore = core, "an lcore reports on a call that there is not");
        }
    }
}
