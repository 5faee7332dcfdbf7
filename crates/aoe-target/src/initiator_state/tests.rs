use aoe_initiator::wire::{Envelope, Mac};
use proptest::prelude::*;

use super::*;
use crate::acl::Acl;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// A request from [`mac`]`(from)`.
fn frame(from: u8, command: u8, argument: &[u8]) -> Vec<u8> {
    let address = aoe_initiator::ShelfSlot::new(1, 2);
    Envelope { dst: Mac::BROADCAST, src: Mac(mac(from).0), address, tag: 0x0909_0909 }
        .frame(command, argument)
}

fn config(command: u8, string: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(string.len()).unwrap().to_be_bytes();
    let mut argument = vec![0, 0, 0, 0, 0, 0x10 | command, high, low];
    argument.extend(string);
    frame(1, 1, &argument)
}

/// Test-and-replace.
fn replace_config(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut frame = config(5, old);
    frame.extend(u16::try_from(new.len()).unwrap().to_be_bytes());
    frame.extend(new);
    frame
}

fn edit(directives: &[(u8, u8)]) -> Vec<u8> {
    let mut argument = vec![0, 1, 0, u8::try_from(directives.len()).unwrap()];
    for (command, last) in directives {
        argument.extend([0, *command]);
        argument.extend(mac(*last).0);
    }
    frame(1, 2, &argument)
}

fn macs(list: &[u8]) -> Vec<MacAddr> {
    list.iter().map(|last| mac(*last)).collect()
}

fn reserve(from: u8, command: u8, list: &[u8]) -> Vec<u8> {
    let mut argument = vec![command, u8::try_from(list.len()).unwrap()];
    argument.extend(macs(list).iter().flat_map(|mac| mac.0));
    frame(from, 3, &argument)
}

fn register(from: u8, key: u8, list: &[u8]) -> Vec<u8> {
    let mut argument = vec![1, u8::try_from(list.len()).unwrap(), 0, 0];
    argument.extend([key; 8]);
    argument.extend(macs(list).iter().flat_map(|mac| mac.0));
    frame(from, 4, &argument)
}

fn set(from: u8, kind: u8, key: u8) -> Vec<u8> {
    let mut argument = vec![2, kind, 0, 0];
    argument.extend([key; 8]);
    frame(from, 4, &argument)
}

fn replace(from: u8, kind: u8, flags: u8, target: u8, new: u8) -> Vec<u8> {
    let mut argument = vec![3, kind, flags, 0];
    argument.extend([target; 8]);
    argument.extend([new; 8]);
    frame(from, 4, &argument)
}

const PRESENT: Option<AoeError> = Some(AoeError::ConfigStringPresent);
const RESERVED: Option<AoeError> = Some(AoeError::TargetReserved);
const BAD: StateReply = StateReply::Refused(AoeError::BadArgument);

fn applied(reply: StateReply, changed: bool) -> Applied {
    Applied { reply, changed }
}

/// The error of the verdict, or nothing, and whether anything changed.
fn outcome(state: &mut InitiatorState, frame: &[u8]) -> (Option<AoeError>, bool) {
    let before = state.clone();
    let Applied { reply, changed } = state.apply(frame);
    assert_eq!(*state != before, changed, "{reply:?}");
    match reply {
        StateReply::Config(_, error) | StateReply::Reserve(_, error) | StateReply::Keyed(_, error) => {
            (error, changed)
        }
        StateReply::Refused(error) => (Some(error), changed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn config_set_stores_only_over_nothing_or_the_same() {
    let mut state = InitiatorState::default();
    assert_eq!(outcome(&mut state, &config(3, b"mine")), (None, true));
    assert_eq!(outcome(&mut state, &config(3, b"mine")), (None, false));
    assert_eq!(outcome(&mut state, &config(3, b"yours")), (PRESENT, false));
    assert_eq!(outcome(&mut state, &config(3, b"")), (PRESENT, false));
    assert_eq!(state.config.as_bytes(), b"mine");
}

#[test]
fn config_force_set_stores_whatever_was_there_and_clears() {
    let mut state = InitiatorState::default();
    assert_eq!(outcome(&mut state, &config(4, &[7; 1024])), (None, true));
    assert_eq!(outcome(&mut state, &config(4, b"")), (None, true));
    assert!(state.config.is_empty());
    let too_long = StateReply::Drop(DropReason::ConfigTooLong);
    assert_eq!(state.apply(&config(4, &[7; 1025])), applied(too_long, false));
    let mut cut = config(4, b"abc");
    cut.pop();
    assert_eq!(state.apply(&cut), applied(too_long, false));
}

#[test]
fn config_test_and_replace_stores_only_over_the_string_it_names() {
    let mut state = InitiatorState::default();
    assert_eq!(outcome(&mut state, &replace_config(b"", b"first")), (None, true));
    assert_eq!(outcome(&mut state, &replace_config(b"other", b"x")), (PRESENT, false));
    assert_eq!(outcome(&mut state, &replace_config(b"fir", b"x")), (PRESENT, false), "no prefix");
    assert_eq!(outcome(&mut state, &replace_config(b"first", b"second")), (None, true));
    assert_eq!(state.config.as_bytes(), b"second");
    let too_long = applied(StateReply::Drop(DropReason::ConfigTooLong), false);
    assert_eq!(state.apply(&replace_config(b"second", &[7; 1025])), too_long);
    assert_eq!(state.apply(&config(5, b"second")), too_long, "no second length");
    assert_eq!(outcome(&mut state, &replace_config(b"second", b"")), (None, true));
}

#[test]
fn config_commands_above_5_are_bad_arguments() {
    for command in 6..=15 {
        let refusal = (Some(AoeError::BadArgument), false);
        assert_eq!(outcome(&mut InitiatorState::default(), &config(command, b"x")), refusal);
    }
}

#[test]
fn mask_directives_run_in_order() {
    let mut state = InitiatorState::default();
    let done = |count| StateReply::Mask(MaskCommand::Edit, MaskError::None, count);
    assert_eq!(state.apply(&edit(&[(1, 3), (0, 9), (1, 1), (1, 2), (2, 1)])), applied(done(5), true));
    assert_eq!(state.mask.as_slice(), macs(&[3, 2]));
    assert_eq!(state.apply(&edit(&[(1, 3), (2, 77)])), applied(done(2), false), "present, absent");
    assert_eq!(state.apply(&edit(&[(2, 3), (1, 3)])), applied(done(2), true), "the order is kept state");
    assert_eq!(state.mask.as_slice(), macs(&[2, 3]));
    assert_eq!(state.apply(&edit(&[])), applied(done(0), false));
}

#[test]
fn mask_edit_stops_at_a_bad_directive_and_tells_how_many_are_done() {
    let mut state = InitiatorState::default();
    let stopped = StateReply::Mask(MaskCommand::Edit, MaskError::BadDirective, 2);
    assert_eq!(state.apply(&edit(&[(1, 1), (1, 2), (3, 3), (1, 4)])), applied(stopped, true));
    assert_eq!(state.mask.as_slice(), macs(&[1, 2]));
}

#[test]
fn mask_list_holds_255_and_is_full_then() {
    let mut state = InitiatorState::default();
    let all: Vec<(u8, u8)> = (0..255).map(|last| (1, last)).collect();
    state.apply(&edit(&all));
    assert_eq!(state.mask.as_slice().len(), 255);
    let full = StateReply::Mask(MaskCommand::Edit, MaskError::ListFull, 1);
    assert_eq!(state.apply(&edit(&[(1, 7), (1, 255)])), applied(full, false), "a present one still succeeds");
    state.apply(&edit(&[(2, 0), (1, 255)]));
    assert_eq!(state.mask.as_slice().last(), Some(&mac(255)));
    assert_eq!(MaskList::new(macs(&[1, 1])), Err(InitiatorStateError::DuplicateAddress(mac(1))));
    assert_eq!(MaskList::new(vec![mac(1); 256]), Err(InitiatorStateError::TooManyAddresses(256)));
}

#[test]
fn mask_messages_that_are_wrong_change_nothing() {
    let mut state = InitiatorState::default();
    let mut cut = edit(&[(1, 1), (1, 2)]);
    cut.pop();
    assert_eq!(state.apply(&cut), applied(BAD, false));
    let mut unknown = edit(&[(1, 1)]);
    unknown[25] = 2;
    assert_eq!(state.apply(&unknown), applied(BAD, false));
    let mut reserved = edit(&[(1, 1)]);
    reserved[24] = 1;
    assert_eq!(state.apply(&reserved), applied(StateReply::Drop(DropReason::MaskReserved), false));
    assert_eq!(state, InitiatorState::default());
}

#[test]
fn reserve_set_works_if_nobody_or_the_sender_holds_it() {
    let mut state = InitiatorState::default();
    assert_eq!(outcome(&mut state, &reserve(1, 1, &[1, 2])), (None, true));
    assert_eq!(outcome(&mut state, &reserve(3, 1, &[3])), (RESERVED, false));
    assert_eq!(outcome(&mut state, &reserve(2, 1, &[2, 3])), (None, true), "a listed sender may");
    assert_eq!(outcome(&mut state, &reserve(1, 1, &[])), (RESERVED, false));
    assert_eq!(outcome(&mut state, &reserve(3, 1, &[])), (None, true), "no address releases");
    assert!(!state.reservation.is_held());
}

#[test]
fn reserve_force_set_always_works() {
    let mut state = InitiatorState::default();
    state.apply(&reserve(1, 1, &[1]));
    assert_eq!(outcome(&mut state, &reserve(9, 2, &[9])), (None, true));
    assert_eq!(state.reservation.macs(), macs(&[9]));
    assert_eq!(outcome(&mut state, &reserve(1, 2, &[])), (None, true));
    state.apply(&register(1, 1, &[1]));
    assert_eq!(outcome(&mut state, &reserve(9, 2, &[9])), (None, true), "over keys too");
    assert!(state.reservation.registrations().is_empty());
}

#[test]
fn reserve_lists_that_are_cut_and_unknown_commands_are_bad_arguments() {
    let mut state = InitiatorState::default();
    let mut cut = reserve(1, 1, &[1, 2]);
    cut.pop();
    assert_eq!(state.apply(&cut), applied(BAD, false));
    assert_eq!(state.apply(&reserve(1, 3, &[1])), applied(BAD, false));
    let mut cut = register(1, 1, &[1]);
    cut.pop();
    assert_eq!(state.apply(&cut), applied(BAD, false));
    assert_eq!(state.apply(&set(1, 0, 1)[..35]), applied(BAD, false));
    assert_eq!(state.apply(&replace(1, 0, 0, 1, 2)[..43]), applied(BAD, false));
    assert_eq!(state.apply(&frame(1, 4, &[5, 0])), applied(BAD, false));
}

#[test]
fn keyed_register_belongs_to_who_has_the_key() {
    let mut state = InitiatorState::default();
    assert_eq!(outcome(&mut state, &register(1, 1, &[1, 2])), (None, true));
    assert_eq!(outcome(&mut state, &register(3, 1, &[3])), (RESERVED, false));
    assert_eq!(outcome(&mut state, &register(2, 1, &[2])), (None, true));
    assert_eq!(outcome(&mut state, &register(2, 1, &[2])), (None, false));
    assert_eq!(state.reservation.generation(), 2);
    assert_eq!(outcome(&mut state, &register(1, 0, &[1])), (Some(AoeError::BadArgument), false));
    assert_eq!(outcome(&mut state, &register(1, 0xff, &[1])), (Some(AoeError::BadArgument), false));
    assert_eq!(outcome(&mut state, &register(2, 1, &[])), (None, true));
    assert!(state.reservation.registrations().is_empty());
}

#[test]
fn keyed_set_needs_a_registered_sender_and_no_other_owner() {
    let mut state = InitiatorState::default();
    state.apply(&register(1, 1, &[1]));
    state.apply(&register(2, 2, &[2]));
    assert_eq!(outcome(&mut state, &set(3, 0, 1)), (RESERVED, false));
    assert_eq!(outcome(&mut state, &set(1, 6, 1)), (Some(AoeError::BadArgument), false));
    assert_eq!(outcome(&mut state, &set(1, 0, 1)), (None, true));
    assert_eq!(outcome(&mut state, &set(2, 0, 2)), (RESERVED, false));
    assert_eq!(outcome(&mut state, &set(1, 1, 1)), (None, true), "its own type");
    assert_eq!(state.reservation.kind(), ReservationType::OwnerWrite);
}

#[test]
fn keyed_replace_takes_the_target_away_unless_told_not_to() {
    for (flags, left) in [(0, 1), (1, 2)] {
        let mut state = InitiatorState::default();
        state.apply(&register(1, 1, &[1]));
        state.apply(&register(2, 2, &[2]));
        state.apply(&set(1, 0, 1));
        assert_eq!(outcome(&mut state, &replace(1, 0, flags, 1, 2)), (RESERVED, false), "not its key");
        assert_eq!(outcome(&mut state, &replace(2, 0, flags, 2, 2)), (RESERVED, false), "not the holder");
        assert_eq!(outcome(&mut state, &replace(2, 4, flags, 1, 2)), (None, true));
        assert_eq!(state.reservation.owner(), Some(Key([2; 8])));
        assert_eq!(state.reservation.registrations().len(), left);
    }
}

#[test]
fn keyed_reset_forgets_everything_but_the_generation() {
    let mut state = InitiatorState::default();
    state.apply(&register(1, 1, &[1]));
    state.apply(&set(1, 0, 1));
    assert_eq!(outcome(&mut state, &frame(2, 4, &[4, 0])), (RESERVED, false));
    assert_eq!(outcome(&mut state, &frame(1, 4, &[4, 0])), (None, true));
    assert!(!state.reservation.is_held() && state.reservation.registrations().is_empty());
    assert_eq!(state.reservation.generation(), 2);
}

#[test]
fn plain_and_keyed_reservations_do_not_mix() {
    let mut state = InitiatorState::default();
    state.apply(&reserve(1, 1, &[1]));
    for request in [register(1, 1, &[1]), set(1, 0, 1), replace(1, 0, 0, 1, 2), frame(1, 4, &[4, 0])] {
        assert_eq!(outcome(&mut state, &request), (RESERVED, false));
    }
    assert_eq!(state.reservation.shown_owner(), Key::PLAIN, "what a status tells");
    assert_eq!(state.reservation.shown_keys().collect::<Vec<_>>(), [Key::PLAIN]);
    state.apply(&reserve(1, 1, &[]));
    state.apply(&register(1, 1, &[1]));
    assert_eq!(outcome(&mut state, &reserve(1, 1, &[1])), (RESERVED, false));
}

#[test]
fn reservation_types_say_who_writes_and_who_reads() {
    // Owner 1, registrant 2, stranger 3: who writes, and whether the others read.
    let rules = [([true, false], false), ([true, false], true), ([true, true], false), ([true, true], true)];
    for kind in 0..6u8 {
        let (writers, others_read) = rules[usize::from(if kind > 3 { kind - 2 } else { kind })];
        let mut state = InitiatorState::default();
        state.apply(&register(1, 1, &[1]));
        state.apply(&register(2, 2, &[2]));
        state.apply(&set(1, kind, 1));
        let guard = Acl::build(&[], &[], &state, false).unwrap();
        let width = ata::AddressWidth::Lba48;
        let read = ata::AtaCommand::Read { lba: ata::Lba(0), sectors: ata::SectorCount(1), width };
        let write = ata::AtaCommand::Write { lba: ata::Lba(0), sectors: ata::SectorCount(1), width };
        for (last, writes) in [(1, writers[0]), (2, writers[1]), (3, false)] {
            assert_eq!(guard.allows(mac(last), write), writes, "type {kind}, write by {last}");
            assert_eq!(guard.allows(mac(last), read), writes || others_read, "type {kind}, read by {last}");
            assert!(guard.allows(mac(last), ata::AtaCommand::Identify));
        }
        // The owner goes: types 4 and 5 stay with the other.
        state.apply(&register(1, 1, &[]));
        assert_eq!(state.reservation.owner(), (kind >= 4).then_some(Key([2; 8])), "type {kind}");
    }
}

#[test]
fn set_features_switches_the_write_cache() {
    let mut state = InitiatorState::default();
    let features = |feature| frame(1, 0, &[0, feature, 0, 0xef, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(state.write_cache, "as a drive comes up");
    assert_eq!(state.apply(&features(0x82)), applied(StateReply::Done, true));
    assert!(!state.write_cache);
    assert_eq!(state.apply(&features(0x82)), applied(StateReply::Done, false));
    assert_eq!(state.apply(&features(0x02)), applied(StateReply::Done, true));
    assert_eq!(state.apply(&features(0x03)), applied(StateReply::Aborted, false));
}

#[test]
fn smart_is_switched() {
    let mut state = InitiatorState::default();
    let smart = |feature| frame(1, 0, &[0, feature, 0, 0xb0, 0, 0x4f, 0xc2, 0, 0, 0, 0, 0]);
    assert!(state.smart, "as a drive comes up");
    assert_eq!(state.apply(&smart(0xd9)), applied(StateReply::Done, true));
    assert!(!state.smart && state.write_cache);
    assert_eq!(state.apply(&smart(0xd9)), applied(StateReply::Done, false));
    assert_eq!(state.apply(&smart(0xd8)), applied(StateReply::Done, true));
    assert_eq!(state.apply(&smart(0xda)), applied(StateReply::Aborted, false));
}

#[test]
fn stored_reservations_are_judged() {
    let one = |key: u8| Registration { key: Key([key; 8]), macs: macs(&[1]) };
    let kind = ReservationType::OwnerExclusive;
    let make = |macs, keys, owner| Reservation::from_parts(macs, keys, kind, 7, owner);
    assert!(make(vec![], vec![one(1)], Some(Key([1; 8]))).unwrap().is_held());
    assert_eq!(make(vec![], vec![], Some(Key([1; 8]))), Err(InitiatorStateError::UnknownOwner(Key([1; 8]))));
    assert_eq!(
        make(vec![], vec![one(1), one(1)], None),
        Err(InitiatorStateError::BadRegistration(Key([1; 8])))
    );
    assert_eq!(make(vec![], vec![one(0)], None), Err(InitiatorStateError::BadRegistration(Key::NONE)));
    assert_eq!(make(macs(&[1]), vec![one(1)], None), Err(InitiatorStateError::Mixed));
    assert_eq!(make(vec![mac(1); 256], vec![], None), Err(InitiatorStateError::TooManyAddresses(256)));
    assert_eq!(ReservationType::try_from(6), Err(InitiatorStateError::BadType(6)));
    assert_eq!(InitiatorStateError::BadType(6).to_string(), "reservation type 6: expected 0 to 5");
}

#[test]
fn guard_is_none_unless_somebody_is_kept_off() {
    let mut state = InitiatorState::default();
    state.apply(&config(4, b"name"));
    state.apply(&register(1, 1, &[1]));
    assert_eq!(Acl::build(&[], &[], &state, false), None, "a registration keeps nobody off");
    let closed = Acl::build(&[], &[], &state, true).unwrap();
    assert_eq!(closed.check_sender(mac(1)), Err(DropReason::StateUnknown));
}

#[test]
fn guard_lets_deny_win_and_masks_what_is_not_listed() {
    let mut state = InitiatorState::default();
    let guard = Acl::build(&macs(&[3, 1, 2]), &macs(&[2]), &state, false).unwrap();
    assert_eq!(guard.check_sender(mac(1)), Ok(()));
    assert_eq!(guard.check_sender(mac(2)), Err(DropReason::Denied));
    assert_eq!(guard.check_sender(mac(4)), Err(DropReason::Denied));
    state.apply(&edit(&[(1, 3), (1, 1)]));
    let guard = Acl::build(&[], &macs(&[3]), &state, false).unwrap();
    assert_eq!(guard.check_sender(mac(1)), Ok(()));
    assert_eq!(guard.check_sender(mac(2)), Err(DropReason::Masked));
    assert_eq!(guard.check_sender(mac(3)), Err(DropReason::Denied));
}

proptest! {
    #[test]
    fn mask_lists_follow_a_model(edits in proptest::collection::vec(
        proptest::collection::vec((0..4u8, 0..6u8), 0..8), 0..12,
    )) {
        let (mut state, mut model) = (InitiatorState::default(), Vec::new());
        for directives in edits {
            let before = model.clone();
            let (mut done, mut error) = (0, MaskError::None);
            for (command, last) in &directives {
                match command {
                    1 if !model.contains(&mac(*last)) => model.push(mac(*last)),
                    2 => model.retain(|listed| *listed != mac(*last)),
                    3 => { error = MaskError::BadDirective; break; }
                    _ => {}
                }
                done += 1;
            }
            let reply = StateReply::Mask(MaskCommand::Edit, error, done);
            prop_assert_eq!(state.apply(&edit(&directives)), applied(reply, model != before));
            prop_assert_eq!(state.mask.as_slice(), &model[..]);
        }
    }

    #[test]
    fn plain_reservations_follow_a_model(
        requests in proptest::collection::vec((0..4u8, 0..3u8, proptest::collection::vec(0..4u8, 0..3)), 0..20),
    ) {
        let (mut state, mut model) = (InitiatorState::default(), Vec::<u8>::new());
        for (from, command, list) in requests {
            let allowed = command != 1 || model.is_empty() || model.contains(&from);
            let (error, _) = outcome(&mut state, &reserve(from, command, &list));
            prop_assert_eq!(error, if allowed { None } else { RESERVED });
            if allowed && command != 0 {
                model = list;
            }
            prop_assert_eq!(state.reservation.macs(), macs(&model));
        }
    }

    #[test]
    fn claims_stay_storable_whatever_is_asked(requests in proptest::collection::vec(
        (0..3u8, 3..5u8, 0..5u8, 0..7u8, proptest::collection::vec(0..3u8, 0..40)), 0..40,
    )) {
        let mut state = InitiatorState::default();
        for (from, command, code, second, tail) in requests {
            let mut argument = vec![code, second, 0, 0];
            // Keys and addresses of one repeated byte, so that they meet again.
            argument.extend(tail.iter().flat_map(|byte| [*byte; 8]));
            state.apply(&frame(from, command, &argument));
            let held = &state.reservation;
            let again = Reservation::from_parts(
                held.macs().to_vec(), held.registrations().to_vec(), held.kind(), held.generation(), held.owner(),
            );
            prop_assert_eq!(again.as_ref(), Ok(held));
        }
    }

    #[test]
    fn any_bytes_are_applied_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), command in 0..6u8) {
        let mut bytes = bytes;
        if let Some(at) = bytes.get_mut(19) {
            *at = command;
        }
        let mut state = InitiatorState::default();
        let changed = state.apply(&bytes).changed;
        prop_assert_eq!(changed, state != InitiatorState::default());
    }
}
