//! `aoe_create_export`: a bdev opened, its export given to every lcore.

use std::time::{Duration, Instant};

use aoe_target::{Export, ExportId, Features, Guard, PortId, VlanId};
use control::options::CacheMode;
use control::{CreateExport, ErrorCode, Record, RpcError, State, unknown_bdev};
use datapath::{AddError, PAYLOAD_ALIGNMENT};
use spdk::{Bdev, BdevEvent, BdevInfo, Durability, FlushMethod, Poller};

use super::suitable::{check, is_examined, open_failed, served};
use super::{Target, announce, read_claims, with};
use crate::ports::Started;
use crate::rpc::Answer;

/// An export on its way to the lcores.
pub(super) struct Creating {
    id: ExportId,
    bdev: Bdev,
    waiting: usize,
    failed: Option<String>,
    /// `None` for an export that waited: nobody asks any more.
    answer: Option<Answer>,
}

/// A request that is tried again.
pub(super) struct Postponed {
    request: CreateExport,
    answer: Answer,
    /// When it was first tried; `None` if the next attempt is the last one.
    since: Option<Instant>,
    /// Tries again.
    _poller: Poller,
}

/// How long a request waits for modules of SPDK that look at new bdevs: they read some blocks.
const EXAMINE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a bdev that they have open is tried again.
const EXAMINE_PERIOD: Duration = Duration::from_millis(10);

/// Why an export is not made.
enum Refusal {
    /// A module of SPDK looks at its bdev.
    Examined(RpcError),
    /// There is no such bdev, or not yet: volumes come when their store has been read.
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

    /// Makes the export, now or after another attempt.
    fn attempt(&mut self, request: CreateExport, answer: Answer, since: Option<Instant>) {
        let since = since.filter(|since| since.elapsed() < EXAMINE_PATIENCE);
        match (self.admit(&request, since.is_none(), None), since) {
            (Ok((mut export, bdev)), _) => {
                let name = self.file_name(export.id());
                self.keeper.hold(&mut export, name);
                self.spread(export, bdev, Some(answer));
            }
            (Err(Refusal::Examined(error)), Some(_)) => {
                self.postpone(request, answer, since, EXAMINE_PERIOD, &error);
            }
            (Err(Refusal::Missing(error)), Some(_)) => {
                let operation = self.postpone(request, answer, None, EXAMINE_PATIENCE, &error);
                let again = move || {
                    with(|target| target.again(operation));
                };
                // Without memory for that, the poller is left.
                if let Err(error) = spdk::after_examine(again) {
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
        // The poller and the end of an examination may both come here.
        if let Some(Postponed { request, answer, since, .. }) = self.operations.postponed.remove(&operation) {
            self.attempt(request, answer, since);
        }
    }

    /// Makes an export that waits. `last` as for one that is asked for: modules that look at its bdev are through.
    ///
    /// # Errors
    /// Why it can't be made now; it waits on.
    pub(super) fn resume(&mut self, id: ExportId, last: bool) -> Result<(), RpcError> {
        let request = self.registry.get(id).map(|record| self.registry.request_of(record));
        let Some(request) = request else { return Ok(()) };
        match self.admit(&request, last, Some(id)) {
            Ok((mut export, bdev)) => {
                let name = self.file_name(id);
                self.keeper.hold(&mut export, name);
                self.spread(export, bdev, None);
                Ok(())
            }
            Err(Refusal::Examined(error) | Refusal::Missing(error) | Refusal::Final(error)) => Err(error),
        }
    }

    /// Takes back what the registry knows of an export that is not made: all of it, or that it waited no more.
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
        let Some(own_name) = Bdev::own_name(name) else {
            let names = Bdev::list();
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
                    read_claims::warn(&own_name, &error);
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
        let watched = own_name.to_owned();
        let bdev = Bdev::open(own_name, !request.options.read_only, move |event| bdev_event(&watched, event))
            .map_err(|error| {
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
    fn spread(&mut self, export: Export, bdev: Bdev, answer: Option<Answer>) {
        let operation = self.operations.number();
        let creating = Creating {
            id: export.id(),
            bdev: bdev.clone(),
            waiting: self.lcores.len(),
            failed: None,
            answer,
        };
        self.operations.creating.insert(operation, creating);
        for lcore in &self.lcores {
            let (export, bdev, app) = (Box::new(export.clone()), bdev.clone(), self.app.clone());
            let core = lcore.core();
            let sent = lcore.send(move |lcore| {
                let result = lcore.add(export, &bdev);
                // The descriptor is closed on the app's thread, also by the last of its handles.
                let _ = app.send(move || {
                    drop(bdev);
                    created(operation, core, result);
                });
            });
            if let Err(error) = sent {
                let app = self.app.clone();
                let _ = app.send(move || created(operation, core, Err(AddError::Channel(error))));
            }
        }
    }

    fn created(&mut self, operation: u64, core: u32, result: Result<(), AddError>) {
        let Some(creating) = self.operations.creating.get_mut(&operation) else { return };
        creating.waiting -= 1;
        if let Err(error) = result {
            creating.failed.get_or_insert(format!("lcore {core}: {error}"));
        }
        if creating.waiting > 0 {
            return;
        }
        let Some(Creating { id, bdev, failed, answer, .. }) = self.operations.creating.remove(&operation)
        else {
            return;
        };
        if let Some(sentence) = failed {
            for lcore in &self.lcores {
                let _ = lcore.send(move |lcore| lcore.remove(id, || ()));
            }
            self.keeper.release(id);
            let error = RpcError::new(ErrorCode::NoMemory, sentence);
            let waits = answer.is_none().then_some(id);
            self.abandon(id, waits, &error, bdev);
            if let Some(answer) = answer {
                answer.refuse(&error);
            }
            return;
        }
        self.registry.created(id);
        let own_name = bdev.info().name.clone();
        let Some(record) = self.registry.get(id) else { return };
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
        // At the start all are announced together, when every one of them is there.
        if super::is_ready() {
            announce::send(&self.lcores, None, record.address);
        }
        if let Some(answer) = answer {
            answer.give(&self.shown(record));
        }
        // What happened before the bdev was among those that are looked at.
        self.bdev_resized(&own_name);
    }

    /// Says on which ports SPDK copies what this export's bdev reads and writes.
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

    /// Forgets an export that no lcore serves.
    fn abandon(&mut self, id: ExportId, waits: Option<ExportId>, why: &RpcError, bdev: Bdev) {
        let own_name = bdev.info().name.clone();
        self.let_go(id, waits, why);
        drop(bdev);
        self.follow_read_claim(&own_name);
    }

    fn bdev_gone(&mut self, own_name: &str) {
        // SPDK lets the bdev go when its handles and the lcores' channels are closed.
        self.read_claims.release(own_name);
        for id in self.registry.bdev_removed(own_name) {
            tracing::warn!(bdev = %own_name, export = id.0, "the bdev was removed: its export answers with a device fault");
            for lcore in &self.lcores {
                let _ = lcore.send(move |lcore| lcore.take_offline(id));
            }
            self.bdevs.remove(&id);
        }
    }

    fn bdev_resized(&mut self, own_name: &str) {
        let Some(sectors) = self.bdevs.values().find(|bdev| bdev.info().name == own_name).map(Bdev::sectors)
        else {
            return;
        };
        for id in self.registry.bdev_resized(own_name, sectors) {
            let Some(sectors) = self.registry.get(id).map(|record| record.sectors) else { continue };
            tracing::info!(bdev = %own_name, export = id.0, sectors, "the bdev has a new size");
            for lcore in &self.lcores {
                let _ = lcore.send(move |lcore| lcore.resize(id, sectors));
            }
        }
    }
}

fn created(operation: u64, core: u32, result: Result<(), AddError>) {
    with(|target| target.created(operation, core, result));
}

/// Hears of an exported bdev, on the app's thread.
pub(super) fn bdev_event(own_name: &str, event: BdevEvent) {
    // SPDK may call while the target is being worked on (a close can bring a removal to its end), so the event
    // is taken up afterwards.
    let Some(app) = spdk::Thread::current() else { return };
    let own_name = own_name.to_owned();
    let _ = app.send(move || {
        with(|target| match event {
            BdevEvent::Removed => target.bdev_gone(&own_name),
            BdevEvent::Resized => target.bdev_resized(&own_name),
        });
    });
}

/// The export as lcores serve it.
fn export_of(record: &Record, info: &BdevInfo) -> Result<Export, RpcError> {
    let identity = record.identity().map_err(|message| RpcError::new(ErrorCode::Internal, message))?;
    let options = &record.options;
    let mut export =
        Export::new(record.id, record.address, record.ports, record.sectors, identity).in_vlan(options.vlan);
    export.first_sector = options.offset;
    export.read_only = options.read_only;
    export.write_through = options.cache == CacheMode::WriteThrough;
    export.buffer_count = options.buffers.unwrap_or(Export::DEFAULT_BUFFER_COUNT);
    export.features = features_of(info, options.offset);
    export.allow = options.allow.clone().into();
    export.deny = options.deny.clone().into();
    export.guard = Guard::build(&export.allow, &export.deny, &export.claims, false);
    Ok(export)
}

/// What the IDENTIFY page may claim for this bdev.
fn features_of(info: &BdevInfo, first_sector: u64) -> Features {
    let sectors_per_block = info.sectors_per_block().max(1);
    let into_block = first_sector % u64::from(sectors_per_block);
    Features {
        // On or off is for the claims to say, and off must be possible.
        write_cache: (info.write_cache && info.flush != FlushMethod::Impossible).then_some(true),
        smart: info.health.then_some(true),
        trim_blocks: u8::from(info.unmaps),
        // NVMe is for media that do not rotate; what is behind another bdev is not known.
        solid_state: info.health,
        physical_exponent: u8::try_from(sectors_per_block.ilog2()).unwrap_or(0),
        // Below 8: blocks have 4096 bytes at most.
        first_in_physical: u16::try_from(into_block).unwrap_or(0),
    }
}

/// Says what an operator should know of how this bdev keeps and takes data.
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

/// The alignments of those among an export's ports whose frames this bdev can't use as they are, with their names.
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
