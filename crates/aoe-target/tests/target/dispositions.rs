//! The target against the model, for frames that somebody might send and frames that nobody would.

use aoe_target::{BdevOp, Disposition, Export, ExportState, PortLimits, Request};
use proptest::prelude::*;

use crate::frames::{self, PORT, SECTORS, with_config};
use crate::model::{Disk, Expected, reply};

/// The disk the model knows, for the export that is tested.
fn disk(export: &Export, limits: PortLimits) -> Disk {
    let mut page = [0; ata::IDENTIFY_BYTES];
    ata::write_identify(&mut page, export.sectors(), export.identity(), &export.features_on(limits));
    Disk {
        shelf: export.address().shelf.0,
        slot: export.address().slot.0,
        sectors: export.sectors(),
        read_only: export.is_read_only(),
        offline: export.state() == ExportState::Offline,
        buffers: export.buffer_count(),
        config: export.initiator_state().config.as_bytes().to_vec(),
        max_sectors: limits.max_sectors(),
        page: page.to_vec(),
    }
}

/// What the target makes of a frame, in the model's words. The reply is written over the frame, in a buffer
/// whose stale bytes are 0xa5, and every byte it has no business with is checked.
fn ours(frame: &[u8], export: &Export, limits: PortLimits) -> Expected {
    let request = match Request::parse(frame, frame.len()) {
        Ok(request) => request,
        Err(reason) => return Expected::Drop(reason.name()),
    };
    match export.admit(&request, frame, frame.len(), limits) {
        Disposition::Drop(reason) => Expected::Drop(reason.name()),
        Disposition::Defer => Expected::Defer,
        Disposition::Submit(io) => {
            let operation = match io.op {
                BdevOp::Read => 'r',
                BdevOp::Write => 'w',
                BdevOp::Flush => 'f',
                BdevOp::Trim => 't',
                BdevOp::SmartData | BdevOp::SmartThresholds | BdevOp::SmartStatus => 'h',
            };
            Expected::Submit(operation, io.lba.0, usize::from(io.sectors.0))
        }
        Disposition::Reply(reply) => {
            let mut buffer = frame.to_vec();
            buffer.resize(frame.len().max(2048), 0xa5);
            let before = buffer.clone();
            let length = reply.emit(&mut buffer, PORT, export, limits).unwrap();
            assert_eq!(length, reply.frame_len());
            assert_eq!(buffer[reply.emit_len()..], before[reply.emit_len()..], "bytes after the reply");
            buffer.truncate(length);
            Expected::Reply(buffer)
        }
    }
}

fn some_export() -> impl Strategy<Value = (Export, PortLimits)> {
    let sizes =
        prop_oneof![Just(SECTORS), Just(0), Just(1), Just(1 << 28), Just((1 << 48) - 1), any::<u64>()];
    let strings = prop_oneof![
        2 => Just(Vec::new()),
        4 => proptest::collection::vec(0..2u8, 1..6),
        1 => Just(vec![7; 1024]),
    ];
    let mtus = prop_oneof![Just(548u16), Just(1500), Just(4200), Just(9000)];
    (sizes, strings, mtus, any::<(bool, bool, u16)>()).prop_map(
        |(sectors, string, mtu, (ro, offline, buffers))| {
            let mut export = frames::export();
            export.resize(sectors);
            export.configure(|settings| settings.read_only = ro);
            export.set_state(if offline { ExportState::Offline } else { ExportState::Online });
            export.configure(|settings| settings.buffer_count = buffers);
            export = with_config(export, &string);
            (export, PortLimits::for_mtu(mtu).unwrap())
        },
    )
}

/// An ATA request near the limits: of the disk, of the frame, of the port.
fn some_ata() -> impl Strategy<Value = Vec<u8>> {
    let opcodes = prop_oneof![
        prop::sample::select(vec![
            0x20, 0x24, 0x30, 0x34, 0x25, 0x35, 0xc8, 0xca, 0xe0, 0xe5, 0xe7, 0xea, 0xec, 0xb0
        ]),
        any::<u8>()
    ];
    let counts = prop_oneof![0..19u8, any::<u8>()];
    let lbas = prop_oneof![
        0..20u64,
        SECTORS - 20..SECTORS + 20,
        (1 << 28) - 20..(1u64 << 28) + 20,
        (1 << 48) - 20..1u64 << 48,
        0..1u64 << 48,
    ];
    let extras = prop_oneof![Just(0i32), Just(-1), Just(1), Just(512), Just(-512)];
    (opcodes, counts, lbas, any::<(bool, u8, u8, u16)>(), extras).prop_map(
        |(opcode, count, lba, (data, flags, feature, reserved), extra)| {
            let mut frame = frames::ata(opcode, count, lba);
            frame[24] = flags;
            frame[25] = feature;
            frame[34..36].copy_from_slice(&reserved.to_be_bytes());
            let payload = if data { i32::from(count) * 512 + extra } else { extra };
            frame.resize(36 + usize::try_from(payload).unwrap_or(0), 0x5c);
            frame
        },
    )
}

fn some_config() -> impl Strategy<Value = Vec<u8>> {
    let strings = prop_oneof![
        2 => Just(Vec::new()),
        4 => proptest::collection::vec(0..2u8, 1..6),
        1 => proptest::collection::vec(Just(7u8), 1020..1030),
    ];
    let lies = prop_oneof![4 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (any::<u8>(), 0..4u8, strings, lies, 0..40usize).prop_map(|(high, command, string, lie, trailing)| {
        let mut frame = frames::config(command, &string);
        frame[29] = high & 0xf0 | if high & 0x0c == 0 { high & 0x0f } else { command };
        if let Some(length) = lie {
            frame[30..32].copy_from_slice(&length.to_be_bytes());
        }
        frame.extend(vec![0x77; trailing]);
        frame
    })
}

/// Any of the above, or bytes, sometimes damaged or cut.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        6 => some_ata(),
        4 => some_config(),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(command, argument)| frames::request(command, &argument)),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ];
    let damage = prop_oneof![
        3 => Just(Vec::new()),
        1 => proptest::collection::vec((0..24usize, any::<u8>()), 1..3),
    ];
    let cuts = prop_oneof![3 => Just(usize::MAX), 1 => 0..64usize];
    (whole, damage, cuts).prop_map(|(mut frame, damage, cut)| {
        for (at, byte) in damage {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(cut);
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_target_does_what_the_protocol_says(frame in some_frame(), (export, limits) in some_export()) {
        prop_assert_eq!(ours(&frame, &export, limits), reply(&frame, &disk(&export, limits)));
    }

    #[test]
    fn a_head_of_64_bytes_is_enough_but_for_config_strings(
        frame in some_frame(), (export, limits) in some_export(),
    ) {
        let head = &frame[..frame.len().min(64)];
        let whole = Request::parse(&frame, frame.len());
        prop_assert_eq!(Request::parse(head, frame.len()), whole);
        if let Ok(request) = whole {
            let needed = &frame[..request.contiguous_len(frame.len()).max(head.len())];
            prop_assert_eq!(
                export.admit(&request, needed, frame.len(), limits),
                export.admit(&request, &frame, frame.len(), limits)
            );
        }
    }

    #[test]
    fn bytes_behind_the_frame_play_no_part(frame in some_frame(), (export, limits) in some_export()) {
        // The head may reach beyond the frame into stale bytes of the buffer.
        let mut head = frame.clone();
        head.extend([0x5c; 64]);
        let seen = Request::parse(&head, frame.len());
        prop_assert_eq!(seen, Request::parse(&frame, frame.len()));
        if let Ok(request) = seen {
            prop_assert_eq!(
                export.admit(&request, &head, frame.len(), limits),
                export.admit(&request, &frame, frame.len(), limits)
            );
        }
    }
}

#[test]
fn golden_requests_get_the_verdict_of_the_protocol() {
    let (export, limits) = (frames::export(), frames::jumbo());
    let mut answered = 0;
    for vector in crate::vector_file::Vector::all() {
        let got = ours(&vector.frame, &export, limits);
        assert_eq!(got, reply(&vector.frame, &disk(&export, limits)), "{}", vector.name);
        answered += usize::from(!matches!(got, Expected::Drop(_)));
    }
    assert!(answered >= 12, "only {answered} golden requests were answered");
}
