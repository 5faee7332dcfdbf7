//! What `aoe-target` does with one request, from parse to emit, over and over: what callgrind counts.
//!
//! A request goes the whole way on one thread, with a bdev that has always just finished: [`Request::parse`],
//! [`Table::route`], [`Export::admit`], the counters, [`Reply::completed`], [`Reply::emit`]. Included is what it
//! takes to put the request's 36 bytes of headers back over the last reply, which a NIC would do.

use std::hint::black_box;

use aoe_target::{
    Disposition, Export, ExportCounters, ExportId, Identity, IoOutcome, MacAddr, PAYLOAD_OFFSET, PortId,
    PortLimits, Ports, Reply, Request, Route, Shelf, ShelfSlot, Slot, Table,
};

/// The target's port.
const PORT: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// Exports in the table: enough that routing is not a special case.
const EXPORTS: u8 = 16;

/// A kind of request: its name, opcode (READ or WRITE EXT) and sectors.
pub(crate) const KINDS: [(&str, u8, u8); 3] =
    [("read-4k", 0x24, 8), ("write-4k", 0x34, 8), ("read-512", 0x24, 1)];

/// The request: shelf 1, slot 7, tag 1.
fn request(opcode: u8, sectors: u8) -> Vec<u8> {
    let mut frame = PORT.0.to_vec();
    frame.extend([2, 0, 0, 0, 0, 2, 0x88, 0xa2, 0x10, 0, 0, 1, 7, 0, 0, 0, 0, 1]);
    frame.extend([0x40 | u8::from(opcode == 0x34), 0, sectors, opcode, 8, 0, 0, 0, 0, 0, 0, 0]);
    if opcode == 0x34 {
        frame.resize(PAYLOAD_OFFSET + usize::from(sectors) * 512, 0x5a);
    }
    frame
}

/// Serves one request over and over.
pub(crate) fn serve(kind: usize, requests: u64) -> Result<(), String> {
    let (_, opcode, sectors) = KINDS[kind];
    let mut table = Table::new();
    for slot in 0..EXPORTS {
        let address = ShelfSlot::new(Shelf(1), Slot(slot));
        let identity = Identity::new("1", "bench", "1").map_err(|error| error.to_string())?;
        let export = Export::new(ExportId(slot.into()), address, Ports::All, 1 << 20, identity);
        table.insert(export).map_err(|error| error.to_string())?;
    }
    let limits = PortLimits::for_mtu(9000).ok_or("an MTU of 9000 is too small")?;
    let (frame, mut counters) = (request(opcode, sectors), ExportCounters::default());
    let mut buffer = vec![0; 9216];
    buffer[..frame.len()].copy_from_slice(&frame);
    for _ in 0..requests {
        buffer[..PAYLOAD_OFFSET].copy_from_slice(&frame[..PAYLOAD_OFFSET]);
        let length = respond(&table, limits, &mut counters, black_box(&mut buffer), frame.len());
        if length.is_none() {
            return Err("the request was not answered from the bdev".to_owned());
        }
    }
    black_box(&counters);
    Ok(())
}

/// One request; the length of its reply, if it went by the bdev.
#[inline(never)]
fn respond(
    table: &Table,
    limits: PortLimits,
    counters: &mut ExportCounters,
    buffer: &mut [u8],
    frame_len: usize,
) -> Option<usize> {
    let request = Request::parse(buffer, frame_len).ok()?;
    if !request.is_for(PORT) {
        return None;
    }
    let Route::One(id) = table.route(PortId(0), None, request.address) else { return None };
    let export = table.get(id)?;
    let disposition = export.admit(&request, buffer, frame_len, limits);
    counters.admitted(&request, &disposition);
    let Disposition::Submit(io) = black_box(disposition) else { return None };
    counters.completed(&io, IoOutcome::Ok);
    Reply::completed(&io, IoOutcome::Ok).emit(buffer, PORT, export, limits)
}
