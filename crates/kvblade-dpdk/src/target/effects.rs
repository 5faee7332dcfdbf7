//! Executes the effects of exports' lives, and reports events to them. What is to happen is decided in
//! [`control::lifecycle`] alone.

use aoe_target::{ExportKey, VlanId};
use control::lifecycle::{Effect, Event, Refusal, Round, Task};
use control::{ErrorCode, Record, RpcError};

use super::bdevs::warn_of_writers;
use super::control_plane::{Target, with};
use super::lcores::Unreached;
use super::resources::{CALL_PATIENCE, Resources};
use super::start_state::is_ready;

/// The result of a task on an lcore: why it failed, in words.
type Outcome = Result<(), String>;

impl Target {
    /// Something happens to an export: carries out all that follows.
    pub(super) fn happens(&mut self, key: ExportKey, event: Event) {
        for effect in self.registry.step(key, event) {
            self.execute(key, effect);
        }
        let waits = self.registry.get(key).is_some_and(|record| record.life().has_caller());
        if waits {
            self.with_calls.insert(key);
        } else {
            self.with_calls.remove(&key);
        }
        if let Some(resources) = self.resources.get_mut(&key) {
            resources.set_deadline(waits);
        }
    }

    /// Answers calls that have waited too long.
    pub(super) fn look_for_late_calls(&mut self) {
        let is_late = |key: &&ExportKey| self.resources.get(key).is_some_and(Resources::is_late);
        for key in self.with_calls.iter().filter(is_late).copied().collect::<Vec<_>>() {
            self.happens(key, Event::Late);
            self.resources.entry(key).and_modify(|resources| resources.set_deadline(false));
        }
    }

    fn execute(&mut self, key: ExportKey, effect: Effect) {
        match effect {
            Effect::Run(task, round) => self.run(key, task, round),
            Effect::Created => self.created(key),
            Effect::RefuseCreate(why) => self.refuse_creation(key, why),
            Effect::ServedAgain => self.served_again(key),
            Effect::NotAttached => self.not_attached(key),
            Effect::Changed => self.changed(key),
            Effect::RefuseChange(why) => self.refuse_change(key, why),
            Effect::CloseOther => self.close_other(key),
            Effect::LeftPorts => {
                self.left_ports(key);
                self.deletion_done(key);
            }
            Effect::Deleted => {
                self.note_quarantine(key);
                self.deletion_done(key);
            }
            Effect::RefuseDelete(why) => self.refuse_deletion(key, why),
            Effect::CloseBdev => {
                // Dropped here: SPDK may wait for this handle.
                self.resources.get_mut(&key).and_then(Resources::take_bdev);
            }
            Effect::Wait => self.waits_again(key),
            Effect::Free => self.freed(key),
        }
    }

    /// Has every lcore carry out a task.
    fn run(&mut self, key: ExportKey, task: Task, round: Round) {
        let lcores = self.lcores.clone();
        let report = move |core: u32, outcome: Result<Outcome, Unreached>| {
            with(|target| target.reported(key, task, round, core, outcome));
        };
        match task {
            Task::Prepare | Task::Attach => {
                let taken = self.resources.get_mut(&key).and_then(Resources::take_export);
                lcores.run(
                    move |lcore| {
                        let Some((export, bdev)) = taken else {
                            return (Err("its bdev is gone".into()), None);
                        };
                        let export = Box::new(export);
                        let result = match task {
                            Task::Attach => lcore.attach(export, &bdev),
                            _ => lcore.prepare(export, &bdev),
                        };
                        (result.map_err(|error| error.to_string()), Some(bdev))
                    },
                    // With the result the bdev is dropped: its descriptor is closed on the app's thread, also by the last
                    // handle.
                    move |core, result| report(core, result.map(|(outcome, _bdev)| outcome)),
                );
            }
            Task::OpenOther => {
                let taken = self.resources.get_mut(&key).and_then(Resources::take_other);
                lcores.run(
                    move |lcore| {
                        let Some((export, bdev)) = taken else {
                            return (Err("its bdev is gone".into()), None);
                        };
                        let result = lcore.open_other(Box::new(export), &bdev);
                        (result.map_err(|error| error.to_string()), Some(bdev))
                    },
                    move |core, result| report(core, result.map(|(outcome, _bdev)| outcome)),
                );
            }
            Task::Hold => {
                lcores.start(move |lcore, report| lcore.hold(key, move || report.give(Ok(()))), report);
            }
            Task::FlushBdev => lcores.start(
                move |lcore, report| {
                    let failure = "its bdev has not brought to stable media what it has in its cache";
                    lcore.flush_bdev(key, move |done| {
                        report.give(if done { Ok(()) } else { Err(failure.to_owned()) });
                    });
                },
                report,
            ),
            // The export before, or the one that is not needed, is freed on the app's thread.
            Task::Exchange => lcores.run(
                move |lcore| lcore.exchange(key),
                move |core, result| report(core, result.map(drop).map(Ok)),
            ),
            Task::Release => lcores.run(
                move |lcore| lcore.release(key),
                move |core, result| report(core, result.map(drop).map(Ok)),
            ),
            Task::Serve | Task::Resume => lcores.run(
                // The export before is freed on the app's thread.
                move |lcore| lcore.serve(key),
                move |core, result| {
                    report(core, result.map(|served| served.map(drop).map_err(|error| error.to_string())));
                },
            ),
            Task::TakeOffline => lcores
                .start(move |lcore, report| lcore.take_offline(key, move || report.give(Ok(()))), report),
            Task::Drain => {
                lcores.start(move |lcore, report| lcore.remove(key, move || report.give(Ok(()))), report);
            }
            Task::Confirm => lcores.run(|_| Ok(()), report),
            Task::LeavePorts => {
                let ports = self.registry.get(key).map(Record::ports);
                lcores.run(
                    move |lcore| match ports {
                        Some(ports) if lcore.rebind(key, ports) => Ok(()),
                        _ => Err("it does not have the export".into()),
                    },
                    report,
                );
            }
        }
    }

    /// An lcore has carried out a task, or could not.
    fn reported(
        &mut self,
        key: ExportKey,
        task: Task,
        round: Round,
        core: u32,
        outcome: Result<Outcome, Unreached>,
    ) {
        let sentence = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(sentence)) => Some(sentence),
            Err(unreached) => Some(unreached.to_string()),
        };
        let done = sentence.is_none();
        if let Some(sentence) = sentence {
            tracing::debug!(export = key.id.0, lcore = core, ?task, %sentence, "a task has failed");
            if let Some(resources) = self.resources.get_mut(&key) {
                resources.note_failure(format!("lcore {core}: {sentence}"));
            }
        }
        self.happens(key, Event::Reported { round, done });
    }

    /// Every lcore serves the export.
    fn created(&mut self, key: ExportKey) {
        let Some(resources) = self.resources.get_mut(&key) else {
            tracing::error!(export = key.id.0, "an export was created that holds nothing");
            return;
        };
        let (bdev, creation) = (resources.bdev().cloned(), resources.take_creation());
        let (Some(record), Some(bdev)) = (self.registry.get(key), bdev) else {
            tracing::error!(export = key.id.0, "an export was created that has no record or no bdev");
            return;
        };
        self.log_bdev(record, bdev.info());
        let ports: Vec<&str> = self.registry.ports_of(record).iter().map(|port| port.name.as_str()).collect();
        tracing::info!(
            export = %record.address(),
            bdev = %record.bdev_name(),
            sectors = record.sectors(),
            read_only = record.options().read_only,
            vlan = record.options().vlan.map(VlanId::get),
            ports = ?ports,
            "serving"
        );
        if record.address().is_refused_by_linux() {
            tracing::warn!(
                export = %record.address(),
                "Linux initiators ignore shelf 4095: only others can use this export"
            );
        }
        // At the start all exports are advertised together, when every one of them is there.
        if is_ready() {
            self.lcores.advertise(None, record.address());
        }
        if let Some(answer) = creation {
            answer.give(&self.shown(record));
        }
        // The bdev may have changed its size meanwhile.
        self.bdev_resized(&bdev.info().name);
    }

    fn refuse_creation(&mut self, key: ExportKey, why: Refusal) {
        let Some(resources) = self.resources.get_mut(&key) else { return self.holds_nothing(key) };
        let failure = resources.failure().map(str::to_owned);
        let Some(answer) = resources.take_creation() else { return self.holds_nothing(key) };
        let bdev = self.registry.get(key).map(Record::bdev_name).unwrap_or_default();
        let error = match (why, failure) {
            (Refusal::Late, failure) => RpcError::new(
                ErrorCode::Busy,
                format!(
                    "{}; it is taken back, and bdev '{bdev}' has not answered requests in flight for {} s",
                    failure.unwrap_or_else(|| "the export could not be created".into()),
                    CALL_PATIENCE.as_secs()
                ),
            ),
            (_, Some(failure)) => RpcError::new(ErrorCode::NoMemory, failure),
            (_, None) => RpcError::new(
                ErrorCode::NoDevice,
                format!("bdev '{bdev}' was removed while its export was being created"),
            ),
        };
        answer.refuse(&error);
    }

    fn refuse_deletion(&mut self, key: ExportKey, why: Refusal) {
        let Some(call) = self.resources.get_mut(&key).and_then(Resources::take_deletion) else {
            return self.holds_nothing(key);
        };
        let Some(record) = self.registry.get(key) else { return self.holds_nothing(key) };
        let (place, bdev) = (record.place(), record.bdev_name());
        let sentence = match why {
            Refusal::Late => format!(
                "{place} takes no new requests, but bdev '{bdev}' has not answered those in flight for {} s: the deletion \
                 goes on, and force frees the address now",
                CALL_PATIENCE.as_secs()
            ),
            Refusal::Forced => format!(
                "{place} was deleted by force meanwhile: bdev '{bdev}' has not answered its requests in flight yet"
            ),
            Refusal::Busy | Refusal::Failed => {
                format!("{place} is being changed: wait until that request is answered")
            }
        };
        if why == Refusal::Late {
            tracing::warn!(export = place, bdev, "a deletion waits for requests in flight");
        }
        call.refuse(&RpcError::new(ErrorCode::Busy, sentence));
    }

    fn deletion_done(&mut self, key: ExportKey) {
        match self.resources.get_mut(&key).and_then(Resources::take_deletion) {
            Some(call) => call.done(),
            // While the target stops, calls have been given up.
            None if self.stopping.is_some() => {}
            None => self.holds_nothing(key),
        }
    }

    fn note_quarantine(&mut self, key: ExportKey) {
        if let Some(record) = self.registry.get(key).filter(|record| !record.life().holds_address()) {
            let (place, bdev) = (record.place(), record.bdev_name());
            tracing::warn!(
                export = place,
                bdev,
                "deleted by force: requests that the bdev has not answered are quarantined until it has"
            );
            // The state saved for the address is the next export's from now on. A change of this one, which may have waited for its
            // bdev, would take its place.
            self.state_manager.unregister(key);
        }
    }

    fn left_ports(&mut self, key: ExportKey) {
        let Some(record) = self.registry.get(key) else { return self.holds_nothing(key) };
        tracing::info!(export = %record.place(), ports = %record.ports(), "served on fewer ports");
        let name = self.file_name(record);
        self.state_manager.rename(key, name);
    }

    fn served_again(&mut self, key: ExportKey) {
        let Some(record) = self.registry.get(key) else { return self.holds_nothing(key) };
        tracing::warn!(
            export = %record.place(),
            bdev = %record.bdev_name(),
            sectors = record.sectors(),
            "the bdev is back: its export is served again"
        );
        let (address, own_name) = (record.address(), record.bdev().name.clone());
        if is_ready() {
            self.lcores.advertise(None, address);
        }
        self.bdev_resized(&own_name);
    }

    fn not_attached(&mut self, key: ExportKey) {
        let failure = self.resources.get(&key).and_then(Resources::failure).map(str::to_owned);
        self.stays_offline(key, &failure.unwrap_or_else(|| "the bdev was removed again".into()));
    }

    /// A creation for an export of the configuration has failed, and no lcore has a trace of it.
    fn waits_again(&mut self, key: ExportKey) {
        let failure = self.resources.remove(&key).and_then(|held| held.failure().map(str::to_owned));
        let own_name = self.registry.get(key).map(|record| record.bdev().name.clone()).unwrap_or_default();
        self.state_manager.unregister(key);
        let failure = failure.unwrap_or_else(|| "the bdev was removed while the export was created".into());
        self.resumed_in_vain(key, &failure);
        self.follow_read_claim(&own_name);
    }

    /// No lcore has the export any more.
    fn freed(&mut self, key: ExportKey) {
        let failed = self.resources.remove(&key).is_some_and(|held| held.failure().is_some());
        self.state_manager.unregister(key);
        self.time_no_longer(key);
        let Some(record) = self.registry.free(key) else { return self.holds_nothing(key) };
        if !failed {
            tracing::info!(export = %record.place(), bdev = %record.bdev_name(), "no longer served");
        }
        self.waits_no_more(key.id, record.bdev_name());
        if let Err(error) = self.settle_read_claim(&record.bdev().name, None) {
            warn_of_writers(&record.bdev().name, &error);
        }
    }

    /// An effect for an export that lacks what the effect is about, which is a mistake of this file.
    pub(super) fn holds_nothing(&self, key: ExportKey) {
        tracing::error!(
            export = key.id.0,
            generation = key.generation,
            "an effect finds nothing of its export"
        );
    }
}
