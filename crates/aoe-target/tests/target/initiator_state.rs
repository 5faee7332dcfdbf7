//! Requests about claims as an export meets them: told at once, or brought to who keeps the claims, and the
//! answers written over them.

use std::sync::Arc;

use aoe_target::{
    Acl, BdevIo, BdevOp, Disposition, DropReason, Export, InitiatorState, IoOutcome, MacAddr, PortLimits,
    Reply, Request, StateReply,
};
use ata::{AddressWidth, Lba, SectorCount};
use proptest::prelude::*;

use crate::frames::{INITIATOR, PORT, ata, ata_write, config, export, jumbo, request};

/// A 2-byte fixed part or a 4-byte one, and a list.
fn with_list(command: u8, fixed: &[u8], entry: usize, entries: u8) -> Vec<u8> {
    let mut argument = fixed.to_vec();
    for last in 0..entries {
        let mut mac = vec![0, 1, 2, 0, 0, 0, 0, last];
        argument.append(&mut mac.split_off(8 - entry));
    }
    request(command, &argument)
}

fn mask_edit(entries: u8) -> Vec<u8> {
    with_list(2, &[0, 1, 0, entries], 8, entries)
}

fn reserve(command: u8, entries: u8) -> Vec<u8> {
    with_list(3, &[command, entries], 6, entries)
}

fn keyed(argument: [u8; 4], key: u8) -> Vec<u8> {
    let mut bytes = argument.to_vec();
    bytes.extend([key; 8]);
    bytes.extend(INITIATOR);
    request(4, &bytes)
}

fn admit(export: &Export, frame: &[u8], limits: PortLimits) -> Disposition {
    let request = Request::parse(frame, frame.len()).unwrap();
    let head = &frame[..request.contiguous_len(frame.len()).max(frame.len().min(64))];
    export.admit(&request, head, frame.len(), limits)
}

/// Does what the keeper of the claims does.
fn consulted(export: &mut Export, frame: &[u8]) -> StateReply {
    assert_eq!(admit(export, frame, jumbo()), Disposition::Defer);
    let mut state = InitiatorState::clone(export.initiator_state());
    let applied = state.apply(frame);
    let acl = Acl::build(export.allow(), export.deny(), &state, false);
    let old = export.publish(Arc::new(state), acl);
    assert_eq!(applied.changed, old.0 != *export.initiator_state());
    applied.reply
}

fn emitted(export: &Export, reply: Reply, frame: &[u8], limits: PortLimits) -> Vec<u8> {
    let mut buffer = frame.to_vec();
    buffer.resize(frame.len().max(reply.frame_len()) + 8, 0xa5);
    let before = buffer.clone();
    assert_eq!(reply.emit(&mut buffer, PORT, export, limits), Some(reply.frame_len()));
    assert_eq!(buffer[reply.frame_len()..], before[reply.frame_len()..], "bytes after the reply");
    assert_eq!(reply.emit(&mut buffer[..reply.frame_len() - 1].to_vec(), PORT, export, limits), None);
    buffer.truncate(reply.frame_len());
    buffer
}

fn answer(export: &Export, reply: StateReply, frame: &[u8], limits: PortLimits) -> Vec<u8> {
    emitted(export, Reply::state(export, reply, limits).unwrap(), frame, limits)
}

fn told(export: &Export, frame: &[u8], limits: PortLimits) -> Vec<u8> {
    match admit(export, frame, limits) {
        Disposition::Reply(reply) => emitted(export, reply, frame, limits),
        other => panic!("{other:?}"),
    }
}

#[test]
fn config_set_answers_the_string_and_error_4_too() {
    let mut export = export();
    let frame = config(3, b"mine");
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!((&bytes[14..16], bytes[29], &bytes[30..36]), (&[0x18, 0][..], 0x13, &b"\0\x04mine"[..]));
    let frame = config(3, b"yours");
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!((&bytes[14..16], bytes[28], &bytes[30..36]), (&[0x1c, 4][..], 16, &b"\0\x04mine"[..]));
}

#[test]
fn mask_answers_tell_the_whole_list_and_what_fits_the_port() {
    let mut export = export();
    let mut frame = mask_edit(255);
    frame[28 + 7] = INITIATOR[5];
    frame[28 + 2..28 + 8].copy_from_slice(&INITIATOR);
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!((bytes.len(), &bytes[24..28]), (28 + 8 * 255, &[0, 1, 0, 255][..]));
    assert_eq!(bytes[28..36], [0, 0, 0x52, 0x54, 0, 0, 0, 1], "DCmd 0");
    let read = request(2, &[0, 0, 0, 0]);
    let ethernet = PortLimits::for_mtu(1500).unwrap();
    let bytes = told(&export, &read, ethernet);
    assert_eq!((bytes.len(), &bytes[24..28]), (28 + 8 * 185, &[0, 0, 0, 185][..]), "as many as fit 1514");
}

#[test]
fn mask_edit_that_stops_tells_error_and_count_without_flag_e() {
    let mut export = export();
    let mut frame = mask_edit(3);
    frame[28 + 16 + 1] = 9;
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!((bytes.len(), &bytes[14..16], &bytes[24..28]), (60, &[0x18, 0][..], &[0, 1, 2, 2][..]));
    assert_eq!(bytes[28..], [0; 32]);
}

#[test]
fn reserve_refusal_is_error_6_with_the_list() {
    let mut export = export();
    let frame = reserve(1, 2);
    let reply = consulted(&mut export, &frame);
    let list = [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1];
    assert_eq!(answer(&export, reply, &frame, jumbo())[24..38], [&[1, 2][..], &list].concat());
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!((&bytes[14..16], &bytes[24..38]), (&[0x1c, 6][..], &[&[1, 2][..], &list].concat()[..]));
    assert_eq!(told(&export, &request(3, &[0, 0]), jumbo())[24..38], [&[0, 2][..], &list].concat());
}

#[test]
fn reserved_disks_answer_ata_with_error_6_but_identify() {
    let mut export = export();
    let reply = consulted(&mut export, &reserve(1, 1));
    assert!(matches!(reply, StateReply::Reserve(_, None)));
    for frame in
        [ata(0x24, 1, 0), ata_write(0x34, 1, 0, 1), ata(0xe7, 0, 0), ata(0xe5, 0, 0), ata(0xb0, 1, 0)]
    {
        let bytes = told(&export, &frame, jumbo());
        assert_eq!((bytes.len(), &bytes[14..16]), (60, &[0x1c, 6][..]), "opcode {:#04x}", frame[27]);
    }
    assert_eq!(told(&export, &ata(0xec, 1, 0), jumbo())[27], 0x40);
    assert_eq!(told(&export, &config(0, b""), jumbo())[14], 0x18, "config keeps working");
    assert_eq!(told(&export, &request(2, &[0, 0, 0, 0]), jumbo())[14], 0x18, "the mask too");
    consulted(&mut export, &reserve(2, 0));
    assert!(export.acl().is_none());
    assert!(matches!(admit(&export, &ata(0x24, 1, 0), jumbo()), Disposition::Submit(_)));
}

#[test]
fn masked_and_denied_senders_meet_silence_for_every_command() {
    let mut masked = export();
    consulted(&mut masked, &mask_edit(1));
    let mut denied = export();
    denied.configure(|settings| settings.deny = [MacAddr(INITIATOR)].into());
    let mut closed = export();
    let state = Arc::clone(closed.initiator_state());
    let acl = Acl::build(&[], &[], &state, true);
    drop(closed.publish(state, acl));
    let commands = [
        ata(0xec, 1, 0),
        ata(0x24, 1, 0),
        config(0, b""),
        config(4, b"x"),
        request(2, &[0, 0, 0, 0]),
        reserve(2, 1),
        request(4, &[0, 0]),
        request(9, &[]),
    ];
    for frame in commands {
        assert_eq!(admit(&masked, &frame, jumbo()), Disposition::Drop(DropReason::Masked));
        assert_eq!(admit(&denied, &frame, jumbo()), Disposition::Drop(DropReason::Denied));
        assert_eq!(admit(&closed, &frame, jumbo()), Disposition::Drop(DropReason::StateUnknown));
    }
}

#[test]
fn keyed_answers_tell_type_generation_owner_and_keys() {
    let mut export = export();
    consulted(&mut export, &keyed([1, 1, 0, 0], 7));
    consulted(&mut export, &keyed([1, 1, 0, 0], 8));
    let frame = keyed([2, 5, 0, 0], 7);
    let reply = consulted(&mut export, &frame);
    let bytes = answer(&export, reply, &frame, jumbo());
    assert_eq!(bytes[24..36], [2, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(bytes[36..60], [[7; 8], [7; 8], [8; 8]].concat());
    assert_eq!(told(&export, &request(4, &[0, 0]), jumbo())[25..60], bytes[25..60]);
}

#[test]
fn unknown_commands_of_a_list_are_bad_arguments() {
    for frame in [request(2, &[0, 2, 0, 0]), request(3, &[3, 0]), request(4, &[5, 0])] {
        let bytes = told(&export(), &frame, jumbo());
        assert_eq!((&bytes[14..16], &bytes[24..]), (&[0x1c, 2][..], &[0; 36][..]));
    }
    let reserved = admit(&export(), &request(2, &[1, 1, 0, 0]), jumbo());
    assert_eq!(reserved, Disposition::Drop(DropReason::MaskReserved));
}

#[test]
fn lists_that_are_split_are_not_consulted_about() {
    let frame = mask_edit(20);
    let parsed = Request::parse(&frame, frame.len()).unwrap();
    assert_eq!(parsed.contiguous_len(frame.len()), frame.len());
    let split = export().admit(&parsed, &frame[..64], frame.len(), jumbo());
    assert_eq!(split, Disposition::Drop(DropReason::ConfigSplit));
}

#[test]
fn advertisements_go_to_everybody_or_to_the_listed() {
    let mut export = export();
    assert_eq!(export.advertisement_destinations().collect::<Vec<_>>(), [MacAddr::BROADCAST]);
    consulted(&mut export, &mask_edit(2));
    let listed = [MacAddr([2, 0, 0, 0, 0, 0]), MacAddr([2, 0, 0, 0, 0, 1])];
    assert_eq!(export.advertisement_destinations().collect::<Vec<_>>(), listed);
    let mut frame = [0xa5; 60];
    aoe_target::emit_advertisement(&mut frame, PORT, listed[1], &export, jumbo()).unwrap();
    assert_eq!(frame[..12], [listed[1].0, PORT.0].concat());
}

proptest! {
    #[test]
    fn every_claims_answer_touches_only_its_own_bytes(
        setup in proptest::collection::vec((0..4usize, 0..3u8), 0..4),
        asked in (2..5u8, proptest::collection::vec(0..5u8, 4..60)),
        mtu in 548..9000u16,
        shorter in any::<bool>(),
    ) {
        let mut export = export();
        for (which, n) in setup {
            let frame = match which {
                0 => mask_edit(n * 80),
                1 => reserve(2, n * 80),
                2 => keyed([1, 1, 0, 0], n + 1),
                _ => keyed([2, n, 0, 0], n + 1),
            };
            let mut state = InitiatorState::clone(export.initiator_state());
            state.apply(&frame);
            export = export.with_initiator_state(Arc::new(state));
        }
        let limits = PortLimits::for_mtu(mtu).unwrap();
        let frame = request(asked.0, &asked.1);
        let mut state = InitiatorState::clone(export.initiator_state());
        let Ok(reply) = Reply::state(&export, state.apply(&frame).reply, limits) else { return Ok(()) };
        prop_assert!(reply.frame_len() <= limits.max_frame());
        if shorter {
            // Between the reply's making and its writing the lists went away.
            export = export.with_initiator_state(Arc::default());
        }
        let bytes = emitted(&export, reply, &frame, limits);
        prop_assert_eq!(&bytes[..12], &[INITIATOR, PORT.0].concat()[..]);
        prop_assert_eq!(&bytes[19..24], &frame[19..24]);
        prop_assert!(!bytes[24..].contains(&0xa5), "no stale byte goes out");
    }
}

#[test]
fn a_request_that_waited_is_held_against_the_acl_of_the_moment_it_starts() {
    let other = MacAddr([2, 0, 0, 0, 0, 9]);
    let holder = MacAddr(INITIATOR);
    let io = |op| BdevIo { op, lba: Lba(0), sectors: SectorCount(1), width: AddressWidth::Lba48 };
    let outcomes = |export: &Export, source| {
        [BdevOp::Read, BdevOp::Flush, BdevOp::Write, BdevOp::Trim]
            .map(|op| export.recheck(&io(op), source).err())
    };
    let mut export = export();
    assert_eq!(outcomes(&export, other), [None; 4]);
    // The initiator reserves the disk for itself.
    let mut frame = reserve(1, 1);
    frame[26..32].copy_from_slice(&INITIATOR);
    consulted(&mut export, &frame);
    assert_eq!(outcomes(&export, holder), [None; 4]);
    assert_eq!(outcomes(&export, other), [Some(IoOutcome::Aborted); 4]);
    // Nor does one that a mask keeps off start.
    let mut masked = self::export();
    let mut frame = mask_edit(1);
    frame[30..36].copy_from_slice(&INITIATOR);
    consulted(&mut masked, &frame);
    assert_eq!(outcomes(&masked, holder), [None; 4]);
    assert_eq!(outcomes(&masked, other), [Some(IoOutcome::Aborted); 4]);
}
