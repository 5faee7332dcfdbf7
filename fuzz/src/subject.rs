//! The target as its caller runs it: the table, the exports, and a bdev in memory for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use aoe_target::{
    Acl, BdevIo, BdevOp, ConfigString, Cursor, Disposition, Export, ExportId, ExportState, Identity,
    InitiatorState, IoOutcome, MacAddr, PAYLOAD_OFFSET, PortId, PortLimits, Ports, Reply, Request, Route,
    Shelf, ShelfSlot, Slot, Table, Vlans,
};

use crate::model::{Disk, Fate, PORT};

/// The target on one port.
#[derive(Debug)]
pub struct Subject {
    /// Its exports.
    pub table: Table,
    /// The port's limits.
    pub limits: PortLimits,
    disks: Vec<BTreeMap<u64, Vec<u8>>>,
}

impl Subject {
    /// A target with these disks, all empty.
    pub fn new(disks: &[Disk], limits: PortLimits) -> Self {
        let mut table = Table::new();
        for (id, disk) in (0u32..).zip(disks) {
            let [serial, model, firmware] = disk.names;
            let identity = Identity::new(serial, model, firmware).expect("names that fit");
            let address = ShelfSlot::new(Shelf(disk.shelf), Slot(disk.slot));
            let mut export = Export::new(ExportId(id), address, Ports::All, disk.size, identity);
            export.configure(|settings| {
                settings.read_only = disk.read_only;
                settings.buffer_count = disk.buffers;
                settings.features.trim_blocks = u8::from(disk.rich);
                settings.features.smart = disk.rich.then_some(true);
                settings.features.write_cache = disk.rich.then_some(true);
            });
            let config = ConfigString::new(&disk.state.config).expect("at most 1024 bytes");
            let state = InitiatorState { config, ..InitiatorState::default() };
            table.insert(export.with_initiator_state(Arc::new(state))).expect("addresses of their own");
        }
        Self { table, limits, disks: vec![BTreeMap::new(); disks.len()] }
    }

    /// Carries over what the operator or the bdev changed.
    pub fn follow(&mut self, id: u32, disk: &Disk) {
        let export = self.table.get_mut(ExportId(id)).expect("never removed");
        export.resize(disk.size);
        export.set_state(if disk.offline { ExportState::Offline } else { ExportState::Online });
        let list = |macs: &[[u8; 6]]| macs.iter().copied().map(MacAddr).collect();
        export.configure(|settings| {
            settings.read_only = disk.read_only;
            settings.buffer_count = disk.buffers;
            (settings.allow, settings.deny) = (list(&disk.allow), list(&disk.deny));
        });
    }

    /// The replies to a frame, in the order of the exports.
    pub fn replies(&mut self, frame: &[u8], fate: Fate) -> Vec<Vec<u8>> {
        let Ok(request) = Request::parse(frame, frame.len()) else { return Vec::new() };
        if !request.is_for(MacAddr(PORT)) {
            return Vec::new();
        }
        let mut meant = Vec::new();
        match self.table.route(PortId(0), None, request.address) {
            Route::None => {}
            Route::One(id) => meant.push(id),
            Route::Many(pattern) => {
                let mut cursor = Cursor::default();
                while let Some(id) = self.table.next_match(&mut cursor, PortId(0), Vlans::One(None), pattern)
                {
                    meant.push(id);
                }
            }
        }
        meant.into_iter().filter_map(|id| self.reply(id, &request, frame, fate)).collect()
    }

    fn reply(&mut self, id: ExportId, request: &Request, frame: &[u8], fate: Fate) -> Option<Vec<u8>> {
        let export = self.table.get_mut(id).expect("just found");
        // What is behind the frame is stale.
        let mut buffer = frame.to_vec();
        buffer.resize(frame.len().max(10_000), 0xa5);
        let reply = match export.admit(request, frame, frame.len(), self.limits) {
            Disposition::Drop(_) => return None,
            Disposition::Reply(reply) => reply,
            Disposition::Submit(io) => {
                let outcome =
                    carry_out(&mut self.disks[id.0 as usize], &io, export.sectors(), &mut buffer, fate);
                Reply::completed(&io, outcome)
            }
            Disposition::Defer => {
                let mut state = InitiatorState::clone(export.initiator_state());
                let applied = state.apply(frame);
                assert_eq!(applied.changed, state != **export.initiator_state(), "{applied:?}");
                if applied.changed {
                    let acl = Acl::build(export.allow(), export.deny(), &state, false);
                    drop(export.publish(Arc::new(state), acl));
                }
                Reply::state(export, applied.reply, self.limits).ok()?
            }
        };
        let (declared, before) = (reply.emit_len(), buffer.clone());
        let length = reply.emit(&mut buffer, MacAddr(PORT), export, self.limits).expect("room for any reply");
        assert_eq!(length, reply.frame_len());
        assert_eq!(buffer[declared..], before[declared..], "bytes behind the reply");
        buffer.truncate(length);
        Some(buffer)
    }
}

/// The bdev: does the I/O on the frame's own bytes, unless it is to fail.
fn carry_out(
    disk: &mut BTreeMap<u64, Vec<u8>>,
    io: &BdevIo,
    size: u64,
    frame: &mut [u8],
    fate: Fate,
) -> IoOutcome {
    match fate {
        Fate::Works => {}
        Fate::BadMedium => return IoOutcome::MediaError,
        Fate::Fails => return IoOutcome::DeviceFault,
        Fate::Shrunk => return IoOutcome::OutOfRange,
        Fate::Refuses => return IoOutcome::Aborted,
    }
    let (first, end) = (io.lba.0, io.lba.end(io.sectors).0);
    assert!(first <= end, "an I/O that ends");
    let payload = &mut frame[PAYLOAD_OFFSET..];
    match io.op {
        BdevOp::Trim => {
            for entry in payload[..io.data_len()].chunks_exact(8) {
                let entry = u64::from_le_bytes(entry.try_into().expect("eight bytes"));
                let first = entry & ((1 << 48) - 1);
                let end = first + (entry >> 48);
                assert!(first == end || end <= size, "a trim up to {end} of {size} sectors");
                disk.retain(|sector, _| !(first..end).contains(sector));
            }
            return IoOutcome::Ok;
        }
        // The pages are the bdev's; these tell them apart.
        BdevOp::SmartData => payload[..512].fill(0xd0),
        BdevOp::SmartThresholds => payload[..512].fill(0xd1),
        _ => {}
    }
    if io.op.is_smart() {
        return IoOutcome::Ok;
    }
    assert!(end <= size, "{io:?} on {size} sectors");
    for (sector, bytes) in (first..end).zip(payload.chunks_exact_mut(512)) {
        match io.op {
            BdevOp::Read => bytes.copy_from_slice(disk.get(&sector).map_or(&[0; 512][..], Vec::as_slice)),
            BdevOp::Write => {
                disk.insert(sector, bytes.to_vec());
            }
            _ => panic!("no sectors: {io:?}"),
        }
    }
    IoOutcome::Ok
}
