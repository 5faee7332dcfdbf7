//! `aoe_enable_histogram` and `aoe_get_histogram`: each lcore times its own requests, into memory that is made and freed here.

use aoe_target::{ExportKey, Histograms};
use control::histogram_report::histogram_report;
use control::{EnableHistogram, ErrorCode, GetHistogram, RpcError};
use dpdk::tsc;
use serde_json::Value;

use super::control_plane::{Target, with};
use super::gatherings::Reported;
use super::lcores::Unreached;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_enable_histogram`.
    pub(super) fn enable_histogram(&mut self, request: &EnableHistogram, answer: Answer) {
        let record = match self.registry.one(&request.export) {
            Ok(record) if record.life().serves() => record,
            Ok(record) => {
                let why = format!("{} is {} and serves no requests", record.place(), record.life().name());
                return answer.refuse(&RpcError::new(ErrorCode::Busy, why));
            }
            Err(error) => return answer.refuse(&error),
        };
        let (key, enable) = (record.key(), request.enable);
        if enable {
            self.timed.insert(key);
        } else {
            self.timed.remove(&key);
        }
        let operation = self.operations.number();
        self.operations.timings().start(operation, self.lcores.count(), answer);
        let histograms = enable.then(Box::<Histograms>::default);
        self.lcores.run(
            // Those before are freed on the app's thread.
            move |lcore| lcore.time(key, histograms),
            move |core, timed| {
                with(|target| target.timed_on(operation, core, timed.map(drop)));
            },
        );
    }

    fn timed_on(&mut self, operation: u64, core: u32, timed: Result<(), Unreached>) {
        let reported = self.operations.timings().report(operation, |unreached| {
            if timed.is_err() {
                unreached.push(core);
            }
        });
        match reported {
            Reported::Nothing => self.nothing_waits("histograms", operation, core),
            Reported::Part => {}
            Reported::Whole(unreached, answer) if unreached.is_empty() => answer.give(&Value::Bool(true)),
            Reported::Whole(unreached, answer) => answer.refuse(&RpcError::new(
                ErrorCode::NoMemory,
                format!("lcores {unreached:?} do not time the export ({Unreached}): repeat the call"),
            )),
        }
    }

    /// An export is gone: its histograms are freed.
    pub(super) fn time_no_longer(&mut self, key: ExportKey) {
        if self.timed.remove(&key) {
            self.lcores.run(
                move |lcore| lcore.time_no_longer(key),
                |core, freed| {
                    if let Err(Unreached) = freed {
                        tracing::debug!(lcore = core, "the histograms of an export stay: {Unreached}");
                    }
                },
            );
        }
    }

    /// Carries out `aoe_get_histogram`.
    pub(super) fn get_histogram(&mut self, request: &GetHistogram, answer: Answer) {
        let record = match self.registry.one(&request.export) {
            Ok(record) => record,
            Err(error) => return answer.refuse(&error),
        };
        let key = record.key();
        if !self.timed.contains(&key) {
            let why = format!("{} is not timed: call aoe_enable_histogram first", record.place());
            return answer.refuse(&RpcError::new(ErrorCode::Unsuitable, why));
        }
        let operation = self.operations.number();
        self.operations.histograms().start(operation, self.lcores.count(), answer);
        let empty = Box::<Histograms>::default();
        self.lcores.run(
            move |lcore| {
                let mut copied = empty;
                lcore.copy_histograms(key, &mut copied);
                copied
            },
            move |core, copied| {
                with(|target| target.histograms_copied(operation, core, key, copied));
            },
        );
    }

    /// An lcore that can't be reached has timed nothing.
    fn histograms_copied(
        &mut self,
        operation: u64,
        core: u32,
        key: ExportKey,
        copied: Result<Box<Histograms>, Unreached>,
    ) {
        let reported = self.operations.histograms().report(operation, |sum| match &copied {
            Ok(copied) => sum.merge(copied),
            Err(Unreached) => tracing::error!(lcore = core, "an lcore has no histograms: {Unreached}"),
        });
        match (reported, self.registry.get(key)) {
            (Reported::Nothing, _) => self.nothing_waits("histograms", operation, core),
            (Reported::Part, _) => {}
            (Reported::Whole(sum, answer), Some(record)) => {
                answer.give(&histogram_report(record, &sum, tsc::hz()));
            }
            (Reported::Whole(_, answer), None) => answer.refuse(&RpcError::new(
                ErrorCode::NoSuchExport,
                "the export was deleted while its histograms were read",
            )),
        }
    }
}
