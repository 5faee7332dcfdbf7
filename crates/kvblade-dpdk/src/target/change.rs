//! `aoe_update_export` and `aoe_replace_bdev`: an export goes on with other options, or with another bdev.
//!
//! Options that concern neither the bdev nor its sectors are given to the lcores as they are. All else is an exchange, whose
//! steps the lifecycle decides: the bdev is opened once more, or another one is.

use aoe_target::ExportKey;
use control::lifecycle::{Event, Refusal, Stage};
use control::{
    CreateExport, ErrorCode, ExportOptions, Record, ReplaceBdev, RpcError, UpdateExport, cannot_change,
};

use super::control_plane::{Target, with};
use super::create::export_of;
use super::gatherings::Reported;
use super::lcores::Unreached;
use super::resources::{CALL_PATIENCE, Resources};
use super::start_state::is_ready;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_update_export`.
    pub(super) fn update_export(&mut self, request: &UpdateExport, answer: Answer) {
        let found = self.registry.one(&request.export());
        let found = found.and_then(|record| Ok((record, request.apply(record.options())?)));
        let (record, options) = match found {
            Ok(found) => found,
            Err(error) => return answer.refuse(&error),
        };
        let (key, before) = (record.key(), record.options().clone());
        if let Err(message) = options.identity(record.address(), env!("CARGO_PKG_VERSION")) {
            return answer.refuse(&RpcError::new(ErrorCode::Internal, message));
        }
        match record.stage() {
            // They hold when it is served.
            Stage::Waiting | Stage::Offline => {
                self.registry.set_options(key, &options);
                self.change_access(key, &before, &options, answer);
            }
            _ if !record.life().may_change() => answer.refuse(&cannot_change(record)),
            _ if needs_exchange(&before, &options) => {
                let request = CreateExport { options, ..self.registry.request_of(record) };
                self.exchange(key, &request, answer);
            }
            _ => self.configure(key, &before, &options, answer),
        }
    }

    /// Carries out `aoe_replace_bdev`.
    pub(super) fn replace_bdev(&mut self, request: &ReplaceBdev, answer: Answer) {
        let record = match self.registry.one(&request.export) {
            Ok(record) => record,
            Err(error) => return answer.refuse(&error),
        };
        let (key, stage) = (record.key(), record.stage());
        match stage {
            Stage::Waiting | Stage::Offline => self.serve_by_other(key, stage, request, answer),
            _ if !record.life().may_change() => answer.refuse(&cannot_change(record)),
            _ => {
                let bdev_name = request.bdev_name.clone();
                let request = CreateExport { bdev_name, ..self.registry.request_of(record) };
                self.exchange(key, &request, answer);
            }
        }
    }

    /// Has an export that is not served be served by another bdev.
    fn serve_by_other(&mut self, key: ExportKey, stage: Stage, request: &ReplaceBdev, answer: Answer) {
        let Some(before) = self.registry.set_bdev_name(key, &request.bdev_name) else {
            return tracing::error!(export = key.id.0, "an export is replaced that is not in the registry");
        };
        let served = if stage == Stage::Waiting { self.resume(key, true) } else { self.reopen(key, true) };
        if let Err(error) = served {
            self.registry.set_bdev_name(key, &before);
            return answer.refuse(&error);
        }
        self.waiting.forget(key.id);
        // A resumed export has another key.
        match self.registry.one(&request.export) {
            Ok(record) => {
                tracing::info!(export = %record.place(), bdev = %record.bdev_name(), %before, "it has another bdev");
                answer.give(&self.shown(record));
            }
            Err(error) => answer.refuse(&error),
        }
    }

    /// Gives other options to the lcores, which concern neither the bdev nor its sectors.
    fn configure(&mut self, key: ExportKey, before: &ExportOptions, options: &ExportOptions, answer: Answer) {
        self.registry.set_options(key, options);
        let bdev = self.resources.get(&key).and_then(Resources::bdev);
        let made = self.registry.get(key).zip(bdev).map(|(record, bdev)| export_of(record, bdev.info()));
        let mut export = match made {
            Some(Ok(export)) => export,
            Some(Err(error)) => return answer.refuse(&error),
            None => return tracing::error!(export = key.id.0, "an export is changed that has no bdev"),
        };
        self.state_manager.equip(&mut export);
        let operation = self.operations.number();
        self.operations.configurings().start(operation, self.lcores.count(), answer);
        let (before, options) = (before.clone(), options.clone());
        self.lcores.run(
            // The export before is freed on the app's thread.
            move |lcore| lcore.configure(Box::new(export)),
            move |core, configured| {
                with(|target| {
                    target.configured(operation, core, configured.map(drop), key, &before, &options)
                });
            },
        );
    }

    fn configured(
        &mut self,
        operation: u64,
        core: u32,
        configured: Result<(), Unreached>,
        key: ExportKey,
        before: &ExportOptions,
        options: &ExportOptions,
    ) {
        let reported = self.operations.configurings().report(operation, |unreached| {
            if configured.is_err() {
                unreached.push(core);
            }
        });
        match reported {
            Reported::Nothing => self.nothing_waits("options", operation, core),
            Reported::Part => {}
            Reported::Whole(unreached, answer) if unreached.is_empty() => {
                self.change_access(key, before, options, answer);
            }
            Reported::Whole(unreached, answer) => answer.refuse(&RpcError::new(
                ErrorCode::NoMemory,
                format!("lcores {unreached:?} have not got the options ({Unreached}): repeat the call"),
            )),
        }
    }

    /// Has other lists of initiators hold, if they are other ones, and answers.
    fn change_access(
        &mut self,
        key: ExportKey,
        before: &ExportOptions,
        options: &ExportOptions,
        answer: Answer,
    ) {
        let operation = self.operations.number();
        self.operations.wait_for_access(operation, answer);
        if (&before.allow, &before.deny) == (&options.allow, &options.deny) {
            return self.access_holds(operation, key, Ok(()));
        }
        let app = self.lcores.app().clone();
        let holds = move |result| {
            app.send(move || {
                with(|target| target.access_holds(operation, key, result));
            });
        };
        let lists = (options.allow.clone().into(), options.deny.clone().into());
        self.state_manager.set_access(key, lists, Box::new(holds));
    }

    /// The last step of a change of options.
    fn access_holds(&mut self, operation: u64, key: ExportKey, result: Result<(), RpcError>) {
        let Some(answer) = self.operations.take_access(operation) else {
            return tracing::debug!(operation, "options hold that no call waits for");
        };
        match (result, self.registry.get(key)) {
            (Err(error), _) => answer.refuse(&error),
            (Ok(()), Some(record)) => {
                tracing::info!(export = %record.place(), "its options were changed");
                answer.give(&self.shown(record));
            }
            (Ok(()), None) => answer.refuse(&RpcError::new(
                ErrorCode::NoSuchExport,
                "the export was deleted while it was changed",
            )),
        }
    }

    /// Begins an exchange: opens the bdev that the export is to go on with.
    fn exchange(&mut self, key: ExportKey, request: &CreateExport, answer: Answer) {
        let opened = match self.open(request, true) {
            Ok(opened) => opened,
            Err(refusal) => return answer.refuse(&refusal.into()),
        };
        let (bdev, served) = opened.into_parts();
        let changed = self.registry.change(key, request, &served);
        let made = changed.and_then(|record| export_of(&record, bdev.info()));
        match made {
            Ok(mut export) => {
                self.state_manager.equip(&mut export);
                self.resources.entry(key).or_default().begin_change(export, bdev, answer);
                self.happens(key, Event::Change);
            }
            Err(error) => {
                self.registry.not_changed(key);
                drop(bdev);
                self.follow_read_claim(&served.name);
                answer.refuse(&error);
            }
        }
    }

    /// Every lcore serves the export by the other bdev, with the other options.
    pub(super) fn changed(&mut self, key: ExportKey) {
        let before = self.registry.changed(key);
        let answer = self.resources.get_mut(&key).and_then(Resources::go_on);
        let (Some(before), Some(record)) = (before, self.registry.get(key)) else {
            return self.holds_nothing(key);
        };
        let (own_name, options) = (record.bdev().name.clone(), record.options().clone());
        tracing::info!(
            export = %record.place(),
            bdev = %record.bdev_name(),
            before = %before.bdev_name(),
            sectors = record.sectors(),
            read_only = options.read_only,
            "served on by another descriptor"
        );
        if let Some(bdev) = self.resources.get(&key).and_then(Resources::bdev) {
            self.log_bdev(record, bdev.info());
        }
        // Initiators ask for the size and the names when they see the advertisement.
        if is_ready() {
            self.lcores.advertise(None, record.address());
        }
        self.bdev_resized(&own_name);
        self.follow_read_claims_later([before.bdev().name.clone(), own_name]);
        match answer {
            Some(answer) => self.change_access(key, before.options(), &options, answer),
            // While the target stops, calls have been given up.
            None if self.stopping.is_some() => {}
            None => self.holds_nothing(key),
        }
    }

    /// Descriptors that are closed now end their claims a moment later.
    fn follow_read_claims_later(&self, own_names: [String; 2]) {
        self.lcores.app().send(move || {
            with(|target| own_names.iter().for_each(|name| target.follow_read_claim(name)));
        });
    }

    pub(super) fn refuse_change(&mut self, key: ExportKey, why: Refusal) {
        let Some(resources) = self.resources.get_mut(&key) else { return self.holds_nothing(key) };
        let failure = resources.take_failure();
        let Some(answer) = resources.take_change() else { return };
        let Some(record) = self.registry.get(key) else { return self.holds_nothing(key) };
        answer.refuse(&not_changed(record, why, failure));
    }

    /// Closes what was opened for an exchange that is not made.
    pub(super) fn close_other(&mut self, key: ExportKey) {
        if let Some(resources) = self.resources.get_mut(&key) {
            resources.close_other();
        }
        if let (Some(other), Some(record)) = (self.registry.not_changed(key), self.registry.get(key)) {
            self.follow_read_claims_later([record.bdev().name.clone(), other]);
        }
    }
}

/// Whether other options take another descriptor or other sectors, or hold for requests in flight.
fn needs_exchange(before: &ExportOptions, after: &ExportOptions) -> bool {
    let of = |options: &ExportOptions| (options.read_only, options.offset, options.length, options.cache);
    of(before) != of(after)
}

fn not_changed(record: &Record, why: Refusal, failure: Option<String>) -> RpcError {
    let (place, bdev) = (record.place(), record.bdev_name());
    match (why, failure) {
        (Refusal::Late, _) => RpcError::new(
            ErrorCode::Busy,
            format!(
                "bdev '{bdev}' has not answered the requests in flight of {place} for {} s: the export is served as before",
                CALL_PATIENCE.as_secs()
            ),
        ),
        (Refusal::Forced, _) => {
            RpcError::new(ErrorCode::NoSuchExport, format!("{place} was deleted by force meanwhile"))
        }
        (Refusal::Busy, _) => cannot_change(record),
        (Refusal::Failed, Some(failure)) => RpcError::new(
            ErrorCode::NoMemory,
            format!("{place} can't be changed and is served as before: {failure}"),
        ),
        (Refusal::Failed, None) => RpcError::new(
            ErrorCode::NoDevice,
            format!("a bdev of {place} was removed while the export was changed"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use control::options::CacheMode;

    use super::*;

    #[test]
    fn what_concerns_the_bdev_or_its_sectors_takes_an_exchange() {
        let plain = ExportOptions::default;
        for (options, exchanges) in [
            (plain(), false),
            (ExportOptions { buffers: Some(8), io_timeout: Some(3), ..plain() }, false),
            (ExportOptions { serial: Some("s".into()), ..plain() }, false),
            (ExportOptions { read_only: true, ..plain() }, true),
            (ExportOptions { cache: CacheMode::WriteBack, ..plain() }, true),
            (ExportOptions { offset: 8, ..plain() }, true),
            (ExportOptions { length: Some(8), ..plain() }, true),
        ] {
            assert_eq!(needs_exchange(&plain(), &options), exchanges, "{options:?}");
        }
    }
}
