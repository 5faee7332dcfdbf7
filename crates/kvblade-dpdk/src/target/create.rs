//! `aoe_create_export`: opens a bdev and gives its export to every lcore.

use std::time::{Duration, Instant};

use aoe_target::{Export, ExportKey, Features, PortId, Settings};
use control::lifecycle::Event;
use control::options::CacheMode;
use control::{CreateExport, ErrorCode, Record, RpcError, ServedBdev, unknown_bdev};
use datapath::PAYLOAD_ALIGNMENT;
use spdk::{AppThread, Bdev, BdevInfo, Durability, FileBeneath, FlushMethod, Poller};

use super::bdevs::{bdev_event, warn_of_writers};
use super::control_plane::{Target, with};
use super::disk_interrupts;
use super::operations::Postponed;
use super::resources::Resources;
use super::suitable::{check, check_free, is_examined, open_failed, served};
use crate::answer::Answer;
use crate::ports::Started;

/// How long a creation waits for the modules of SPDK that examine new bdevs: they read some blocks.
const EXAMINE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a bdev that a module examines is tried again.
const EXAMINE_PERIOD: Duration = Duration::from_millis(10);

/// The reason why an export is not created.
pub(super) enum Refusal {
    /// A module of SPDK examines its bdev.
    Examined(RpcError),
    /// The bdev does not exist, or not yet: volumes appear when their store has been read.
    Missing(RpcError),
    Final(RpcError),
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Examined(error) | Refusal::Missing(error) | Refusal::Final(error) => error,
        }
    }
}

/// A bdev that is open for an export, and its description for the registry.
pub(super) struct Opened {
    bdev: Bdev,
    served: ServedBdev,
}

impl Opened {
    pub(super) fn into_parts(self) -> (Bdev, ServedBdev) {
        (self.bdev, self.served)
    }
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
        match (self.admit(&request, since.is_none()), since) {
            (Ok((export, bdev)), _) => self.begin(export, bdev, Some(answer)),
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
                self.operations.postpone(operation, Postponed::new(request, answer, since, poller));
            }
            Err(_) => answer.refuse(why),
        }
        operation
    }

    fn again(&mut self, operation: u64) {
        // Both the poller and the end of an examination call this; the first one takes the request.
        if let Some(postponed) = self.operations.take_postponed(operation) {
            let (request, answer, since) = postponed.into_parts();
            self.attempt(request, answer, since);
        }
    }

    /// Creates an export that waits. `last`: no further attempt follows soon, so a bdev that is being examined is served.
    ///
    /// # Errors
    /// Why it can't be made now; it waits on.
    pub(super) fn resume(&mut self, key: ExportKey, last: bool) -> Result<(), RpcError> {
        let request = self.request_of(key)?;
        let opened = self.open(&request, last)?;
        let own_name = opened.served.name.clone();
        let resumed = self.registry.resume(key, &opened.served);
        let resumed = resumed.and_then(|record| export_of(record, opened.bdev.info()));
        match resumed {
            Ok(export) => {
                self.begin(export, opened.bdev, None);
                Ok(())
            }
            Err(error) => {
                drop(opened);
                self.follow_read_claim(&own_name);
                Err(error)
            }
        }
    }

    /// Serves an offline export again, whose bdev has come back.
    ///
    /// # Errors
    /// Why it can't be served now; it stays offline.
    pub(super) fn reopen(&mut self, key: ExportKey, last: bool) -> Result<(), RpcError> {
        let request = self.request_of(key)?;
        let opened = self.open(&request, last)?;
        let own_name = opened.served.name.clone();
        let back = self.registry.bdev_back(key, &opened.served);
        let back = back.and_then(|record| export_of(record, opened.bdev.info()));
        match back {
            Ok(mut export) => {
                self.state_manager.equip(&mut export);
                self.resources.entry(key).or_default().reopen(export, opened.bdev);
                self.happens(key, Event::BdevBack);
                Ok(())
            }
            Err(error) => {
                drop(opened);
                self.follow_read_claim(&own_name);
                Err(error)
            }
        }
    }

    fn request_of(&self, key: ExportKey) -> Result<CreateExport, RpcError> {
        let request = self.registry.get(key).map(|record| self.registry.request_of(record));
        request.ok_or_else(|| {
            let why = format!("an export is gone that was to be served: its number is {}", key.id.0);
            RpcError::new(ErrorCode::Internal, why)
        })
    }

    /// Opens the bdev and takes the address.
    fn admit(&mut self, request: &CreateExport, last: bool) -> Result<(Export, Bdev), Refusal> {
        let opened = self.open(request, last)?;
        let own_name = opened.served.name.clone();
        let identity = request.options.identity(request.address, env!("CARGO_PKG_VERSION"));
        let admitted = match identity {
            Ok(_) => self.registry.create(request, &opened.served),
            Err(message) => Err(RpcError::new(ErrorCode::Internal, message)),
        };
        match admitted.and_then(|record| export_of(record, opened.bdev.info())) {
            Ok(export) => Ok((export, opened.bdev)),
            Err(error) => {
                drop(opened);
                self.follow_read_claim(&own_name);
                Err(error.into())
            }
        }
    }

    /// Opens the bdev of an export that is about to be served, and checks it.
    pub(super) fn open(&mut self, request: &CreateExport, last: bool) -> Result<Opened, Refusal> {
        let name = request.bdev_name.as_str();
        let found =
            AppThread::with(|app| Bdev::own_name(app, name)).map_err(|error| open_failed(name, &error))?;
        let Some(own_name) = found else {
            let names = AppThread::with(Bdev::list).unwrap_or_default();
            return Err(Refusal::Missing(unknown_bdev(name, names.iter().map(String::as_str))));
        };
        let writes = !request.options.read_only;
        if writes {
            self.read_claims.release(&own_name);
        }
        let opened = self.open_alone(request, &own_name);
        let added = opened.is_ok().then_some(!writes);
        match (opened, self.settle_read_claim(&own_name, added)) {
            (Ok(_), Err(error)) if !last && is_examined(&error) => {
                Err(Refusal::Examined(open_failed(name, &error)))
            }
            (opened, claimed) => {
                if let Err(error) = claimed {
                    warn_of_writers(&own_name, &error);
                }
                opened
            }
        }
    }

    fn open_alone(&self, request: &CreateExport, own_name: &str) -> Result<Opened, Refusal> {
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
        let served = served(&bdev)?;
        check_free(bdev.info(), request.options.read_only)?;
        Ok(Opened { bdev, served })
    }

    /// Begins the life of an export on the lcores.
    fn begin(&mut self, mut export: Export, bdev: Bdev, answer: Option<Answer>) {
        let key = export.key();
        let Some(record) = self.registry.get(key) else {
            tracing::error!(export = %export.address(), "an export is created that is not in the registry");
            return;
        };
        let name = self.file_name(record);
        self.state_manager.register(&mut export, name);
        self.resources.insert(key, Resources::of_creation(export, bdev, answer));
        self.happens(key, Event::Create);
    }

    /// Logs how durable the data of an export is, and where SPDK copies it.
    pub(super) fn log_bdev(&self, record: &Record, info: &BdevInfo) {
        info.files.iter().for_each(log_file);
        log_durability(info, record.options().read_only, record.options().cache);
        self.log_bounces(record, info);
        disk_interrupts::warn(info, &spdk::app::cores());
    }

    /// Logs on which ports SPDK copies the data of this export because of its alignment.
    fn log_bounces(&self, record: &Record, info: &BdevInfo) {
        let (bdev, wants) = (info.name.as_str(), info.alignment);
        let serves = |port: &&Started| record.ports().contains(PortId(port.number()));
        let ports = self.ports.iter().filter(serves).map(|port| (port.name(), port.alignment()));
        for (port, has) in bouncing(wants, ports) {
            tracing::info!(
                bdev,
                port,
                "frames of this port carry data at multiples of {has}, and the bdev wants {wants}: SPDK copies each of \
                 its reads and writes through a bounce buffer; see --payload-alignment"
            );
        }
        if record.options().vlan.is_some() && wants > PAYLOAD_ALIGNMENT {
            tracing::info!(
                bdev,
                "where a port leaves the VLAN tag in the frame, data lies 4 bytes further: SPDK copies it then"
            );
        }
    }
}

/// The export as lcores serve it.
pub(super) fn export_of(record: &Record, info: &BdevInfo) -> Result<Export, RpcError> {
    let identity = record.identity().map_err(|message| RpcError::new(ErrorCode::Internal, message))?;
    let (key, options) = (record.key(), record.options());
    let mut export = Export::new(key.id, record.address(), record.ports(), record.sectors(), identity)
        .in_vlan(options.vlan)
        .in_generation(key.generation);
    export.configure(|settings| {
        *settings = Settings {
            first_sector: options.offset,
            read_only: options.read_only,
            write_through: options.cache == CacheMode::WriteThrough,
            buffer_count: options.buffers.unwrap_or(Export::DEFAULT_BUFFER_COUNT),
            io_timeout: options.io_timeout(),
            limits: options.limits.limits(),
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

/// Logs how a file is served.
fn log_file(file: &FileBeneath) {
    let (bdev, path) = (file.bdev.as_str(), file.path.as_str());
    match &file.access {
        Some(access) => {
            let io = if access.buffered { "buffered" } else { "direct" };
            tracing::info!(bdev, path, io, sync = access.sync, "a file or block device by io_uring");
        }
        None => tracing::info!(
            bdev,
            path,
            "a file or block device by SPDK's own bdev, which fdatasync makes durable"
        ),
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
