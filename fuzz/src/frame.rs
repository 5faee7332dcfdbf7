//! Any bytes as one frame: whatever arrives, nothing panics, and a reply touches the bytes it declares and no others.

use std::sync::Arc;

use aoe_target::{
    BdevOp, ConfigString, Disposition, Export, ExportId, Identity, InitiatorState, IoOutcome, MacAddr,
    PAYLOAD_OFFSET, PortLimits, Ports, Reply, Request, Shelf, ShelfSlot, Slot,
};

const PORT: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 2]);

/// Bytes of a buffer that no frame fills, as an mbuf has them.
const STALE: u8 = 0xa5;

/// What comes of the input as a frame. Its first byte chooses the export and the port.
pub fn check(input: &[u8]) {
    let Some((&choice, frame)) = input.split_first() else { return };
    let limits =
        PortLimits::for_mtu([9000, 1500, 548, 65535][usize::from(choice & 3)]).expect("room for a sector");
    let identity = Identity::new("serial", "model", "fw").expect("printable");
    let address = ShelfSlot::new(Shelf(1), Slot(2));
    let mut export = Export::new(ExportId(0), address, Ports::All, 1000, identity);
    export.configure(|settings| settings.read_only = choice & 4 != 0);
    export.resize([1000, 0, 1 << 28, u64::MAX][usize::from(choice >> 3 & 3)]);
    let config =
        ConfigString::new(&[choice; 1024][..[0, 3, 64, 1024][usize::from(choice >> 5 & 3)]]).expect("fits");
    let state = InitiatorState { config, ..InitiatorState::default() };
    let mut export = export.with_initiator_state(Arc::new(state));

    let first = Request::parse(frame, frame.len());
    let head = &frame[..frame.len().min(64)];
    export.configure(|settings| {
        settings.features.trim_blocks = choice & 4;
        settings.features.smart = (choice & 8 != 0).then_some(true);
        settings.features.write_cache = (choice & 16 != 0).then_some(true);
    });
    assert_eq!(Request::parse(head, frame.len()), first, "64 bytes are enough to parse");
    let Ok(request) = first else { return };
    let disposition = export.admit(&request, frame, frame.len(), limits);
    let needed = &frame[..request.contiguous_len(frame.len()).max(head.len())];
    assert_eq!(export.admit(&request, needed, frame.len(), limits), disposition, "a second look agrees");
    match disposition {
        Disposition::Defer => {
            let before = InitiatorState::clone(export.initiator_state());
            let (mut whole, mut part) = (before.clone(), before.clone());
            let applied = whole.apply(frame);
            assert_eq!(part.apply(needed), applied, "what was asked for in one piece is enough");
            assert_eq!((part == whole, applied.changed), (true, whole != before));
            let export = export.with_initiator_state(Arc::new(whole));
            if let Ok(reply) = Reply::state(&export, applied.reply, limits) {
                emits_what_it_declares(&reply, frame, &export, limits);
            }
        }
        Disposition::Drop(_) => {}
        Disposition::Reply(reply) => emits_what_it_declares(&reply, frame, &export, limits),
        Disposition::Submit(io) => {
            let moves = matches!(io.op, BdevOp::Read | BdevOp::Write);
            assert!(
                !moves || io.lba.fits(io.sectors, export.sectors()) && io.sectors <= limits.max_transfer(),
                "{io:?}"
            );
            if io.op == BdevOp::Write {
                assert!(frame.len() >= PAYLOAD_OFFSET + io.data_len() && !export.is_read_only(), "{io:?}");
            }
            for outcome in OUTCOMES {
                emits_what_it_declares(&Reply::completed(&io, outcome), frame, &export, limits);
            }
        }
    }
}

/// Every end an I/O can come to.
pub const OUTCOMES: [IoOutcome; 5] =
    [IoOutcome::Ok, IoOutcome::MediaError, IoOutcome::DeviceFault, IoOutcome::OutOfRange, IoOutcome::Aborted];

/// Writes the reply over the frame in a larger buffer, and into one that is a byte too short.
fn emits_what_it_declares(reply: &Reply, frame: &[u8], export: &Export, limits: PortLimits) {
    let (declared, length) = (reply.emit_len(), reply.frame_len());
    assert!(declared <= length && length >= 60, "{declared} of {length} bytes");
    let mut buffer = frame.to_vec();
    buffer.resize(frame.len().max(length) + 64, STALE);
    let before = buffer.clone();
    assert_eq!(reply.emit(&mut buffer, PORT, export, limits), Some(length));
    assert_eq!(buffer[declared..], before[declared..], "bytes behind the reply");
    assert_eq!(buffer[..6], before[6..12], "goes to the sender");
    assert_eq!(buffer[19..24], before[19..24], "same command and tag");
    assert_eq!(buffer[14] & 0xfb, 0x18, "a response of version 1");

    let mut short = before[..declared - 1].to_vec();
    assert_eq!(reply.emit(&mut short, PORT, export, limits), None, "no room");
    assert_eq!(short, before[..declared - 1], "nothing is written where there is no room");

    let again = Request::parse(&buffer, length);
    assert!(again.is_err(), "a reply is no request: {again:?}");
}
