//! `aoe_create_export`: a bdev opened, its export given to every lcore.

use aoe_target::{Export, ExportId, Features, Guard, PortId, VlanId};
use control::options::CacheMode;
use control::{CreateExport, ErrorCode, Record, RpcError, State, unknown_bdev};
use datapath::{AddError, PAYLOAD_ALIGNMENT};
use spdk::{Bdev, BdevEvent, BdevInfo, Durability, FlushMethod};

use super::{Target, announce, with};
use crate::ports::Started;
use crate::rpc::Answer;

/// The bdev block sizes that are exported, in bytes: AoE's sector, and blocks that hold 2, 4 or 8 of them.
const BLOCK_SIZES: [u32; 4] = [512, 1024, 2048, 4096];

/// An export on its way to the lcores.
pub(super) struct Creating {
    id: ExportId,
    bdev: Bdev,
    waiting: usize,
    failed: Option<String>,
    /// `None` for an export that waited: nobody asks any more.
    answer: Option<Answer>,
}

impl Target {
    /// Carries out `aoe_create_export`.
    pub(super) fn create(&mut self, request: CreateExport, answer: Answer) {
        match self.admit(&request) {
            Ok((mut export, bdev)) => {
                let name = self.file_name(export.id());
                self.keeper.hold(&mut export, name);
                self.spread(export, bdev, Some(answer));
            }
            Err(error) => answer.refuse(&error),
        }
    }

    /// Makes an export that waits.
    ///
    /// # Errors
    /// Why it can't be made now; it waits on.
    pub(super) fn resume(&mut self, id: ExportId) -> Result<(), RpcError> {
        let request = self.registry.get(id).map(|record| self.registry.request_of(record));
        let Some(request) = request else { return Ok(()) };
        let bdev = open(&request)?;
        let record = self.registry.resume(id, bdev.sectors())?;
        let mut export = export_of(record, bdev.info())?;
        let name = self.file_name(id);
        self.keeper.hold(&mut export, name);
        self.spread(export, bdev, None);
        Ok(())
    }

    /// Opens the bdev and takes the address.
    fn admit(&mut self, request: &CreateExport) -> Result<(Export, Bdev), RpcError> {
        let bdev = open(request)?;
        let record = self.registry.create(request, bdev.sectors())?;
        match export_of(record, bdev.info()) {
            Ok(export) => Ok((export, bdev)),
            Err(error) => {
                let id = record.id;
                self.registry.abandoned(id);
                Err(error)
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
            match answer {
                Some(answer) => {
                    self.registry.abandoned(id);
                    answer.refuse(&error);
                }
                None => self.resumed_in_vain(id, &error),
            }
            return;
        }
        self.registry.created(id);
        let Some(record) = self.registry.get(id) else { return };
        if record.state == State::Online {
            log_durability(bdev.info(), record.read_only, record.options.cache);
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
            read_only = record.read_only,
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

    fn bdev_gone(&mut self, name: &str) {
        for id in self.registry.bdev_removed(name) {
            tracing::warn!(bdev = %name, export = id.0, "the bdev was removed: its export answers with a device fault");
            for lcore in &self.lcores {
                let _ = lcore.send(move |lcore| lcore.take_offline(id));
            }
            // SPDK lets the bdev go when this handle and the lcores' channels are closed.
            self.bdevs.remove(&id);
        }
    }

    fn bdev_resized(&mut self, name: &str) {
        let Some(sectors) = self.bdevs.values().find(|bdev| bdev.info().name == name).map(Bdev::sectors)
        else {
            return;
        };
        for id in self.registry.bdev_resized(name, sectors) {
            let Some(sectors) = self.registry.get(id).map(|record| record.sectors) else { continue };
            tracing::info!(bdev = %name, export = id.0, sectors, "the bdev has a new size");
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
fn bdev_event(name: &str, event: BdevEvent) {
    // SPDK may call while the target is being worked on (a close can bring a removal to its end), so the event
    // is taken up afterwards.
    let Some(app) = spdk::Thread::current() else { return };
    let name = name.to_owned();
    let _ = app.send(move || {
        with(|target| match event {
            BdevEvent::Removed => target.bdev_gone(&name),
            BdevEvent::Resized => target.bdev_resized(&name),
        });
    });
}

/// Opens the bdev that an export is to serve, if it suits.
fn open(request: &CreateExport) -> Result<Bdev, RpcError> {
    let name = request.bdev_name.as_str();
    let names = Bdev::list();
    if !names.iter().any(|known| known == name) {
        return Err(unknown_bdev(name, names.iter().map(String::as_str)));
    }
    let watched = name.to_owned();
    let bdev = Bdev::open(name, !request.read_only, move |event| bdev_event(&watched, event))
        .map_err(|error| open_failed(name, &error))?;
    check_suitable(bdev.info())?;
    check_durable(bdev.info(), request.read_only, request.options.cache)?;
    Ok(bdev)
}

fn open_failed(name: &str, error: &spdk::Error) -> RpcError {
    const EPERM: i32 = 1;
    let why = match (error.call, error.errno) {
        ("spdk_bdev_open_ext", EPERM) => {
            "it is claimed by another bdev or subsystem: export that one, or export this read-only".to_owned()
        }
        _ => error.to_string(),
    };
    RpcError::new(ErrorCode::Unsuitable, format!("bdev {name} can't be opened: {why}"))
}

fn check_suitable(info: &BdevInfo) -> Result<(), RpcError> {
    if !BLOCK_SIZES.contains(&info.block_size) || info.metadata_size != 0 {
        return Err(RpcError::new(
            ErrorCode::Unsuitable,
            format!(
                "bdev {} has blocks of {} bytes with {} bytes of metadata: only blocks of 512, 1024, 2048 or 4096 bytes \
                 without metadata can be exported",
                info.name, info.block_size, info.metadata_size
            ),
        ));
    }
    Ok(())
}

/// Refuses a bdev that may lose acknowledged writes in a power failure, unless the operator has said that it may, or
/// nothing is written. Memory loses all of them, as its name says, and no flush would help.
fn check_durable(info: &BdevInfo, read_only: bool, cache: CacheMode) -> Result<(), RpcError> {
    match (&info.durability, cache) {
        (Durability::Unknown(why), CacheMode::WriteThrough) if !read_only => Err(RpcError::new(
            ErrorCode::Unsuitable,
            format!(
                "bdev {}: {why}; a power failure might lose acknowledged writes: add cache=write-back if it may, or \
                 export it read-only",
                info.name
            ),
        )),
        _ => Ok(()),
    }
}

/// The export as lcores serve it.
fn export_of(record: &Record, info: &BdevInfo) -> Result<Export, RpcError> {
    let identity = record.identity().map_err(|message| RpcError::new(ErrorCode::Internal, message))?;
    let options = &record.options;
    let mut export =
        Export::new(record.id, record.address, record.ports, record.sectors, identity).in_vlan(options.vlan);
    export.first_sector = options.offset;
    export.read_only = record.read_only;
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

    fn info(block_size: u32, metadata_size: u32) -> BdevInfo {
        BdevInfo {
            name: "b0".into(),
            product: "test".into(),
            block_size,
            metadata_size,
            blocks: 8,
            alignment: 4,
            durability: Durability::Stable,
            write_cache: false,
            files: Vec::new(),
            flush: FlushMethod::Nothing,
            fua: false,
            unmaps: false,
            health: false,
            in_memory: false,
        }
    }

    #[test]
    fn only_blocks_of_whole_sectors_without_metadata_are_exported() {
        for block_size in [512, 1024, 2048, 4096] {
            assert_eq!(check_suitable(&info(block_size, 0)), Ok(()));
        }
        for (block_size, metadata_size) in
            [(520, 0), (4160, 0), (512, 8), (4096, 64), (8192, 0), (1536, 0), (0, 0)]
        {
            let error = check_suitable(&info(block_size, metadata_size)).expect_err("refused");
            assert_eq!(error.code(), ErrorCode::Unsuitable);
            let message = error.message();
            assert!(message.contains("b0") && message.contains(&block_size.to_string()), "{message}");
            assert!(message.contains("only blocks of 512, 1024, 2048 or 4096 bytes"), "{message}");
        }
    }

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
    fn only_the_operators_word_exports_what_may_lose_acknowledged_writes() {
        let of = |durability| BdevInfo { durability, ..info(512, 0) };
        let unknown = of(Durability::Unknown("it stands on sand".into()));
        for (info, read_only, cache, refused) in [
            (&of(Durability::Stable), false, CacheMode::WriteThrough, false),
            (&of(Durability::Cached), false, CacheMode::WriteThrough, false),
            (&of(Durability::Memory), false, CacheMode::WriteThrough, false),
            (&of(Durability::Cached), false, CacheMode::WriteBack, false),
            (&unknown, false, CacheMode::WriteThrough, true),
            (&unknown, false, CacheMode::WriteBack, false),
            (&unknown, true, CacheMode::WriteThrough, false),
        ] {
            let result = check_durable(info, read_only, cache);
            assert_eq!(result.is_err(), refused, "{:?} {read_only} {cache:?}", info.durability);
            if let Err(error) = result {
                assert_eq!(error.code(), ErrorCode::Unsuitable);
                let message = error.message();
                assert!(message.starts_with("bdev b0: it stands on sand; "), "{message}");
                assert!(message.contains("add cache=write-back"), "{message}");
            }
        }
    }

    #[test]
    fn a_bdev_is_said_to_bounce_on_ports_that_give_less_than_it_wants() {
        let ports = [("a", 4), ("b", 512), ("c", 4096)];
        assert_eq!(bouncing(1, ports.into_iter()), []);
        assert_eq!(bouncing(512, ports.into_iter()), [("a", 4)]);
        assert_eq!(bouncing(4096, ports.into_iter()), [("a", 4), ("b", 512)]);
    }

    #[test]
    fn a_claimed_bdev_is_refused_in_words() {
        let error = open_failed("m0", &spdk::Error { call: "spdk_bdev_open_ext", errno: 1 });
        assert!(error.message().starts_with("bdev m0 can't be opened: it is claimed"), "{}", error.message());
        let error = open_failed("f0", &spdk::Error { call: "open", errno: 13 });
        assert!(error.message().contains("Permission denied"), "{}", error.message());
    }
}
