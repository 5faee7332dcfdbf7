//! `aoe_create_export`: opens a bdev and gives its export to every lcore.

use std::time::{Duration, Instant};

use aoe_target::{Export, ExportId, Features, PortId, Settings, VlanId};
use control::options::CacheMode;
use control::{CreateExport, ErrorCode, Record, RpcError, State, unknown_bdev};
use datapath::PAYLOAD_ALIGNMENT;
use spdk::{AppThread, Bdev, BdevInfo, Durability, FlushMethod, Poller};

use super::bdevs::{bdev_event, warn_of_writers};
use super::control_plane::{Target, with};
use super::operations::{Creating, Postponed};
use super::start_state::is_ready;
use super::suitable::{check, is_examined, open_failed, served};
use crate::answer::Answer;
use crate::ports::Started;

/// How long a creation waits for the modules of SPDK that examine new bdevs: they read some blocks.
const EXAMINE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a bdev that a module examines is tried again.
const EXAMINE_PERIOD: Duration = Duration::from_millis(10);

/// The reason why an export is not created.
enum Refusal {
    /// A module of SPDK examines its bdev.
    Examined(RpcError),
    /// The bdev does not exist, or not yet: volumes appear when their store has been read.
    Missing(RpcError),
    Final(RpcError),
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self::Final(error)
    }
}

impl Target {
    /// Carries out `aoe_create_export`.
    pub(super) fn create(&mut self, request: CreateExport, answer: Answer) {
        self.attempt(request, answer, Some(Instant::now()));
    }

    /// Creates the export, now or after another attempt.
    fn attempt(&mut self, request: CreateExport, answer: Answer, since: Option<Instant>) {
        let since = since.filter(|since| since.elapsed() < EXAMINE_PATIENCE);
        match (self.admit(&request, since.is_none(), None), since) {
            (Ok((mut export, bdev)), _) => {
                self.register(&mut export);
                self.add_everywhere(export, bdev, Some(answer));
            }
            (Err(Refusal::Examined(error)), Some(_)) => {
                self.postpone(request, answer, since, EXAMINE_PERIOD, &error);
            }
            (Err(Refusal::Missing(error)), Some(_)) => {
                let operation = self.postpone(request, answer, None, EXAMINE_PATIENCE, &error);
                let again = move || {
                    with(|target| target.again(operation));
                };
                // If SPDK has no memory for this, the poller still tries again.
                if let Err(error) =
                    AppThread::with(|app| spdk::after_examine(app, again)).and_then(|asked| asked)
                {
                    tracing::warn!(%error, "an export waits for its bdev longer than it need");
                }
            }
            (Err(Refusal::Examined(error) | Refusal::Missing(error) | Refusal::Final(error)), _) => {
                answer.refuse(&error);
            }
        }
    }

    /// Tries again after `period`.
    fn postpone(
        &mut self,
        request: CreateExport,
        answer: Answer,
        since: Option<Instant>,
        period: Duration,
        why: &RpcError,
    ) -> u64 {
        let operation = self.operations.number();
        let poller = Poller::register(period, move || {
            with(|target| target.again(operation));
            true
        });
        match poller {
            Ok(poller) => {
                let postponed = Postponed { request, answer, since, _poller: poller };
                self.operations.postponed.insert(operation, postponed);
            }
            Err(_) => answer.refuse(why),
        }
        operation
    }

    fn again(&mut self, operation: u64) {
        // Both the poller and the end of an examination call this; the first one takes the request.
        if let Some(Postponed { request, answer, since, .. }) = self.operations.postponed.remove(&operation) {
            self.attempt(request, answer, since);
        }
    }

    /// Creates an export that waits. `last`: no further attempt follows soon, so a bdev that is being examined is served.
    ///
    /// # Errors
    /// Why it can't be made now; it waits on.
    pub(super) fn resume(&mut self, id: ExportId, last: bool) -> Result<(), RpcError> {
        let request = self.registry.get(id).map(|record| self.registry.request_of(record));
        let Some(request) = request else {
            let why = format!("an export is gone that was to be made: its number is {}", id.0);
            return Err(RpcError::new(ErrorCode::Internal, why));
        };
        match self.admit(&request, last, Some(id)) {
            Ok((mut export, bdev)) => {
                self.register(&mut export);
                self.add_everywhere(export, bdev, None);
                Ok(())
            }
            Err(Refusal::Examined(error) | Refusal::Missing(error) | Refusal::Final(error)) => Err(error),
        }
    }

    /// Gives the export the initiator state that was saved for it.
    fn register(&mut self, export: &mut Export) {
        let Some(record) = self.registry.get(export.id()) else {
            tracing::error!(export = %export.address(), "an export is created that is not in the registry");
            return;
        };
        let name = self.file_name(record);
        self.state_manager.register(export, name);
    }

    /// Takes an export that is not made out of the registry, or puts it back among those that wait.
    fn let_go(&mut self, id: ExportId, waits: Option<ExportId>, why: &RpcError) {
        match waits {
            Some(id) => self.resumed_in_vain(id, why),
            None => self.registry.abandoned(id),
        }
    }

    /// Opens the bdev and takes the address.
    fn admit(
        &mut self,
        request: &CreateExport,
        last: bool,
        waits: Option<ExportId>,
    ) -> Result<(Export, Bdev), Refusal> {
        let name = request.bdev_name.as_str();
        let found =
            AppThread::with(|app| Bdev::own_name(app, name)).map_err(|error| open_failed(name, &error))?;
        let Some(own_name) = found else {
            let names = AppThread::with(Bdev::list).unwrap_or_default();
            return Err(Refusal::Missing(unknown_bdev(name, names.iter().map(String::as_str))));
        };
        if !request.options.read_only {
            self.read_claims.release(&own_name);
        }
        let admitted = self.open(request, &own_name, waits);
        match (admitted, self.settle_read_claim(&own_name)) {
            (Ok((export, _)), Err(error)) if !last && is_examined(&error) => {
                let refusal = open_failed(name, &error);
                self.let_go(export.id(), waits, &refusal);
                Err(Refusal::Examined(refusal))
            }
            (admitted, claimed) => {
                if let Err(error) = claimed {
                    warn_of_writers(&own_name, &error);
                }
                admitted
            }
        }
    }

    fn open(
        &mut self,
        request: &CreateExport,
        own_name: &str,
        waits: Option<ExportId>,
    ) -> Result<(Export, Bdev), Refusal> {
        let (app, watched) = (self.lcores.app().clone(), own_name.to_owned());
        let events = move |event| bdev_event(&app, &watched, event);
        let writes = !request.options.read_only;
        let opened =
            AppThread::with(|app| Bdev::open(app, own_name, writes, events)).and_then(|opened| opened);
        let bdev = opened.map_err(|error| {
            let refusal = open_failed(&request.bdev_name, &error);
            if is_examined(&error) { Refusal::Examined(refusal) } else { Refusal::Final(refusal) }
        })?;
        check(bdev.info(), request)?;
        let record = match waits {
            Some(id) => self.registry.resume(id, &served(&bdev)?)?,
            None => self.registry.create(request, &served(&bdev)?)?,
        };
        match export_of(record, bdev.info()) {
            Ok(export) => Ok((export, bdev)),
            Err(error) => {
                let id = record.id;
                self.let_go(id, waits, &error);
                Err(error.into())
            }
        }
    }

    /// Gives the export to every lcore.
    fn add_everywhere(&mut self, export: Export, bdev: Bdev, answer: Option<Answer>) {
        let operation = self.operations.number();
        let creating = Creating {
            id: export.id(),
            bdev: bdev.clone(),
            waiting: self.lcores.count(),
            failed: None,
            answer,
        };
        self.operations.creating.insert(operation, creating);
        self.lcores.run(
            move |lcore| {
                let result = lcore.add(Box::new(export), &bdev);
                (result, bdev)
            },
            move |core, result| {
                let failed = match result {
                    Ok((Ok(()), _)) => None,
                    Ok((Err(error), _)) => Some(error.to_string()),
                    Err(unreached) => Some(unreached.to_string()),
                };
                // With the result the bdev is dropped: its descriptor is closed on the app's thread, also by the last handle.
                with(|target| target.added(operation, core, failed));
            },
        );
    }

    /// An lcore has the export, or failed to take it.
    fn added(&mut self, operation: u64, core: u32, failed: Option<String>) {
        let Some(mut creating) = self.operations.creating.remove(&operation) else {
            return self.nothing_waits("a creation", operation, core);
        };
        if let Some(sentence) = failed {
            creating.failed.get_or_insert(format!("lcore {core}: {sentence}"));
        }
        creating.waiting = creating.waiting.saturating_sub(1);
        if creating.waiting > 0 {
            self.operations.creating.insert(operation, creating);
            return;
        }
        match creating.failed.take() {
            Some(sentence) => self.take_back(creating, sentence),
            None => self.created(creating),
        }
    }

    /// Takes an export back that not every lcore could take.
    fn take_back(&mut self, creating: Creating, sentence: String) {
        let Creating { id, bdev, answer, .. } = creating;
        self.lcores.post("to remove an export", move |lcore| lcore.remove(id, || ()));
        self.state_manager.unregister(id);
        let error = RpcError::new(ErrorCode::NoMemory, sentence);
        let waits = answer.is_none().then_some(id);
        self.abandon(id, waits, &error, bdev);
        if let Some(answer) = answer {
            answer.refuse(&error);
        }
    }

    /// Every lcore serves the export.
    fn created(&mut self, creating: Creating) {
        let Creating { id, bdev, answer, .. } = creating;
        self.registry.created(id);
        let own_name = bdev.info().name.clone();
        let Some(record) = self.registry.get(id) else {
            tracing::error!(
                export = id.0,
                bdev = own_name,
                "an export was created that is not in the registry"
            );
            return;
        };
        if record.state == State::Online {
            log_durability(bdev.info(), record.options.read_only, record.options.cache);
            self.log_bounces(record, bdev.info());
            self.bdevs.insert(id, bdev);
        } else {
            // The bdev was removed meanwhile: SPDK waits for this handle to close.
            drop(bdev);
        }
        let ports: Vec<&str> = self.registry.ports_of(record).iter().map(|port| port.name.as_str()).collect();
        tracing::info!(
            export = %record.address,
            bdev = %record.bdev_name,
            sectors = record.sectors,
            read_only = record.options.read_only,
            vlan = record.options.vlan.map(VlanId::get),
            ports = ?ports,
            "serving"
        );
        if record.address.is_refused_by_linux() {
            tracing::warn!(export = %record.address, "Linux initiators ignore shelf 4095: only others can use this export");
        }
        // At the start all exports are advertised together, when every one of them is there.
        if is_ready() {
            self.lcores.advertise(None, record.address);
        }
        if let Some(answer) = answer {
            answer.give(&self.shown(record));
        }
        // The bdev may have changed its size before it was in `bdevs`.
        self.bdev_resized(&own_name);
    }

    /// Logs on which ports SPDK copies the data of this export because of its alignment.
    fn log_bounces(&self, record: &Record, info: &BdevInfo) {
        let (bdev, wants) = (info.name.as_str(), info.alignment);
        let serves = |port: &&Started| record.ports.contains(PortId(port.number));
        let ports = self.ports.iter().filter(serves).map(|port| (port.name.as_str(), port.alignment));
        for (port, has) in bouncing(wants, ports) {
            tracing::info!(
                bdev,
                port,
                "frames of this port carry data at multiples of {has}, and the bdev wants {wants}: SPDK copies each of \
                 its reads and writes through a bounce buffer; see --payload-alignment"
            );
        }
        if record.options.vlan.is_some() && wants > PAYLOAD_ALIGNMENT {
            tracing::info!(
                bdev,
                "where a port leaves the VLAN tag in the frame, data lies 4 bytes further: SPDK copies it then"
            );
        }
    }

    /// Gives up an export that no lcore serves.
    fn abandon(&mut self, id: ExportId, waits: Option<ExportId>, why: &RpcError, bdev: Bdev) {
        let own_name = bdev.info().name.clone();
        self.let_go(id, waits, why);
        drop(bdev);
        self.follow_read_claim(&own_name);
    }
}

/// The export as lcores serve it.
fn export_of(record: &Record, info: &BdevInfo) -> Result<Export, RpcError> {
    let identity = record.identity().map_err(|message| RpcError::new(ErrorCode::Internal, message))?;
    let options = &record.options;
    let mut export =
        Export::new(record.id, record.address, record.ports, record.sectors, identity).in_vlan(options.vlan);
    export.configure(|settings| {
        *settings = Settings {
            first_sector: options.offset,
            read_only: options.read_only,
            write_through: options.cache == CacheMode::WriteThrough,
            buffer_count: options.buffers.unwrap_or(Export::DEFAULT_BUFFER_COUNT),
            features: features_of(info, options.offset),
            allow: options.allow.clone().into(),
            deny: options.deny.clone().into(),
        };
    });
    Ok(export)
}

/// The features that the IDENTIFY page may report for this bdev.
fn features_of(info: &BdevInfo, first_sector: u64) -> Features {
    let sectors_per_block = info.sectors_per_block().max(1);
    let into_block = first_sector % u64::from(sectors_per_block);
    Features {
        // Initiator state turns the cache on and off, so off must be possible.
        write_cache: (info.write_cache && info.flush != FlushMethod::Impossible).then_some(true),
        smart: info.health.then_some(true),
        trim_blocks: u8::from(info.unmaps),
        // NVMe media do not rotate. The media behind other bdevs are unknown.
        solid_state: info.health,
        physical_exponent: u8::try_from(sectors_per_block.ilog2()).unwrap_or(0),
        // Below 8: blocks have 4096 bytes at most.
        first_in_physical: u16::try_from(into_block).unwrap_or(0),
    }
}

/// Logs how durable the data on this bdev is, for the operator.
fn log_durability(info: &BdevInfo, read_only: bool, cache: CacheMode) {
    let bdev = info.name.as_str();
    match (&info.durability, cache) {
        _ if read_only => {}
        (Durability::Stable, _) => tracing::info!(bdev, "a write is on stable media when it is answered"),
        (Durability::Memory, _) => {
            tracing::info!(bdev, "in memory: what is written is gone when this program ends");
        }
        (Durability::Cached, CacheMode::WriteThrough) => {
            let (method, fua) = (info.flush, info.fua);
            tracing::info!(
                bdev,
                ?method,
                fua,
                "write-through: a write is on stable media when it is answered"
            );
        }
        (Durability::Cached, CacheMode::WriteBack) => tracing::warn!(
            bdev,
            "write-back: a power failure may lose writes that were answered and not flushed by FLUSH CACHE"
        ),
        (Durability::Unknown(why), _) => tracing::warn!(
            bdev,
            %why,
            flushes = info.flush != FlushMethod::Impossible,
            "write-back: a power failure may lose writes that were answered; without flushes FLUSH CACHE is aborted"
        ),
    }
}

/// The ports whose frames this bdev can't use without a copy, each with its alignment.
fn bouncing<'a>(wanted: usize, ports: impl Iterator<Item = (&'a str, usize)>) -> Vec<(&'a str, usize)> {
    ports.filter(|(_, alignment)| *alignment < wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::suitable::tests::info;

    #[test]
    fn identify_claims_what_the_bdev_has() {
        assert_eq!(features_of(&info(512, 0), 5), Features::default());
        let large = features_of(&info(4096, 0), 9);
        assert_eq!((large.physical_exponent, large.first_in_physical), (3, 1));
        let all = BdevInfo { write_cache: true, unmaps: true, health: true, ..info(512, 0) };
        let features = features_of(&all, 0);
        assert_eq!((features.write_cache, features.smart, features.trim_blocks), (Some(true), Some(true), 1));
    }

    #[test]
    fn a_cache_that_can_not_be_turned_off_is_not_announced() {
        let stuck = BdevInfo { write_cache: true, flush: FlushMethod::Impossible, ..info(512, 0) };
        assert_eq!(features_of(&stuck, 0).write_cache, None);
    }

    #[test]
    fn a_bdev_is_said_to_bounce_on_ports_that_give_less_than_it_wants() {
        let ports = [("a", 4), ("b", 512), ("c", 4096)];
        assert_eq!(bouncing(1, ports.into_iter()), []);
        assert_eq!(bouncing(512, ports.into_iter()), [("a", 4)]);
        assert_eq!(bouncing(4096, ports.into_iter()), [("a", 4), ("b", 512)]);
    }
}
