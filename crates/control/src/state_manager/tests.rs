use aoe_target::{ExportId, Identity, MacAddr, Ports, ShelfSlot, StateReply};

use super::*;
use crate::error::ErrorCode;
use crate::request::StatePart;
use crate::state_change::StateChange;

const LCORES: usize = 2;
const OWNER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NAME: &str = "1.2";

type Manager = StateManager<Vec<u8>, &'static str>;
type Effects = Vec<StateEffect<Vec<u8>, &'static str>>;

fn key() -> ExportKey {
    ExportId(7).into()
}

fn export() -> Export {
    let address: ShelfSlot = NAME.parse().unwrap();
    Export::new(ExportId(7), address, Ports::All, 8, Identity::new(NAME, "test", "1").unwrap())
}

fn manager(saved: Option<SavedState>) -> Manager {
    let mut manager = Manager::new(LCORES, saved.into_iter().map(|saved| (NAME.into(), saved)).collect());
    manager.register(&mut export(), NAME.into());
    manager
}

/// A frame of this command.
fn frame(from: [u8; 6], command: u8, argument: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &from[..], &[0x88, 0xa2, 0x10, 0, 0, 1, 2, command, 0, 0, 0, 9], argument].concat()
}

fn force_config(from: [u8; 6], string: &[u8]) -> StateEvent<Vec<u8>, &'static str> {
    let length = u8::try_from(string.len()).unwrap();
    StateEvent::Deferred(frame(from, 1, &[&[0, 0, 0, 0, 0, 0x14, 0, length], string].concat()))
}

/// The sender reserves the export for itself.
fn reserve(from: [u8; 6]) -> StateEvent<Vec<u8>, &'static str> {
    StateEvent::Deferred(frame(from, 3, &[&[2, 1], &from[..]].concat()))
}

fn clear(part: StatePart, caller: &'static str) -> StateEvent<Vec<u8>, &'static str> {
    StateEvent::Set(StateChange::Clear(part), caller)
}

/// Effects in short: their kinds, with the senders of requests, the callers, and the first word of errors.
fn short(effects: &Effects) -> Vec<String> {
    let short = |effect: &StateEffect<Vec<u8>, &'static str>| match effect {
        StateEffect::Save { name, payload, .. } => {
            let unknown = if payload == crate::initiator_state::UNKNOWN { " as unknown" } else { "" };
            format!("save {name}{unknown}")
        }
        StateEffect::Fence(_) => "fence".into(),
        StateEffect::Publish(_) => "publish".into(),
        StateEffect::Reply(request, StateReply::Drop(reason)) => format!("drop {} {reason:?}", request[11]),
        StateEffect::Reply(request, _) => format!("reply {}", request[11]),
        StateEffect::Answer(caller, Ok(())) => format!("answer {caller}"),
        StateEffect::Answer(caller, Err(error)) => format!("refuse {caller} {:?}", error.code()),
        StateEffect::Advertise(_) => "advertise".into(),
        StateEffect::Note(StateNote::Changed(..)) => "changed".into(),
        StateEffect::Note(StateNote::NotSaved(_)) => "not saved".into(),
        StateEffect::Note(StateNote::Overdue(_)) => "overdue".into(),
        StateEffect::Note(StateNote::NoLongerOverdue(_)) => "no longer overdue".into(),
        StateEffect::Note(StateNote::Gone(..)) => "gone".into(),
        StateEffect::Note(StateNote::Stray(..)) => "stray".into(),
    };
    effects.iter().map(short).collect()
}

/// The number of the change that one of the effects belongs to.
fn number(effects: &Effects) -> u64 {
    let of = |effect: &StateEffect<Vec<u8>, &'static str>| match effect {
        StateEffect::Save { change, .. } => Some(*change),
        StateEffect::Fence(publication) | StateEffect::Publish(publication) => Some(publication.change),
        _ => None,
    };
    effects.iter().find_map(of).expect("an effect of a change")
}

trait After {
    /// Takes a step at this second, and returns its effects in short.
    fn after(&mut self, event: StateEvent<Vec<u8>, &'static str>, second: u64) -> Vec<String>;
}

impl After for Manager {
    fn after(&mut self, event: StateEvent<Vec<u8>, &'static str>, second: u64) -> Vec<String> {
        short(&self.step(key(), event, Duration::from_secs(second)))
    }
}

#[test]
fn a_request_is_answered_when_its_state_is_saved_and_on_every_lcore() {
    let mut manager = manager(None);
    let begun = manager.step(key(), force_config(OWNER, b"mine"), Duration::ZERO);
    assert_eq!(short(&begun), ["save 1.2"]);
    assert_eq!(manager.after(force_config(OTHER, b"no, mine"), 0), [""; 0], "it waits");
    let change = number(&begun);
    assert_eq!(manager.after(StateEvent::Saved(change, Ok(())), 0), ["publish"]);
    let mut late = export();
    assert!(manager.equip(&mut late));
    assert_eq!(late.initiator_state().config.as_bytes(), b"mine", "it was sent");
    assert!(manager.state_of(key()).unwrap().0.config.is_empty(), "not every lcore has it");
    assert_eq!(manager.after(StateEvent::Published(change), 0), [""; 0]);
    assert_eq!(manager.after(StateEvent::Published(change), 0), ["reply 1", "advertise", "save 1.2"]);
    assert_eq!(manager.state_of(key()).unwrap().0.config.as_bytes(), b"mine");
    assert!(manager.settled(key()).is_none() && !manager.is_idle());
}

#[test]
fn what_changes_nothing_is_answered_at_once_and_who_is_not_admitted_is_dropped() {
    let mut manager = manager(None);
    let read = StateEvent::Deferred(frame(OWNER, 1, &[0, 0, 0, 0, 0, 0x10, 0, 0]));
    assert_eq!(manager.after(read, 0), ["reply 1"]);
    let lists = (Arc::from([MacAddr(OWNER)]), Arc::from([]));
    let begun = manager.step(key(), StateEvent::Access(lists, "lists"), Duration::ZERO);
    assert_eq!(short(&begun), ["fence"], "the lists are not saved");
    let change = number(&begun);
    for event in [StateEvent::Fenced { change, reached: true }, StateEvent::Fenced { change, reached: true }]
    {
        manager.after(event, 0);
    }
    manager.after(StateEvent::Published(change), 0);
    assert_eq!(manager.after(StateEvent::Published(change), 0), ["answer lists"]);
    assert_eq!(manager.after(force_config(OTHER, b"x"), 0), ["drop 2 Denied"]);
}

#[test]
fn a_reservation_is_known_when_requests_from_before_have_ended() {
    let mut manager = manager(None);
    let change = number(&manager.step(key(), reserve(OWNER), Duration::ZERO));
    let fence = manager.step(key(), StateEvent::Saved(change, Ok(())), Duration::ZERO);
    let [StateEffect::Fence(publication)] = &fence[..] else { panic!("{fence:?}") };
    assert!(publication.acl.is_some() && !publication.state.reservation.is_held());
    assert_eq!(manager.next_limit(), Some(FENCE_LIMIT));
    let fenced = || StateEvent::Fenced { change, reached: true };
    assert_eq!(manager.after(fenced(), 1), [""; 0]);
    let publish = manager.step(key(), fenced(), Duration::from_secs(1));
    let [StateEffect::Publish(publication)] = &publish[..] else { panic!("{publish:?}") };
    assert!(publication.acl.is_some() && publication.state.reservation.is_held());
    assert_eq!(manager.next_limit(), None);
    manager.after(StateEvent::Published(change), 1);
    assert_eq!(manager.after(StateEvent::Published(change), 1), ["reply 1"]);
    assert!(manager.is_idle() && manager.settled(key()).is_some());
}

#[test]
fn nobody_is_kept_waiting_for_a_bdev_and_the_change_holds_later() {
    let mut manager = manager(None);
    let change = number(&manager.step(key(), reserve(OWNER), Duration::ZERO));
    manager.after(force_config(OTHER, b"x"), 1);
    manager.after(clear(StatePart::All, "clear"), 1);
    manager.after(StateEvent::Rename("1.2@p".into()), 1);
    assert_eq!(manager.after(StateEvent::Saved(change, Ok(())), 1), ["fence"]);
    let at = |second| Duration::from_secs(second);
    assert_eq!(short(&manager.tick(at(10))), [""; 0]);
    let expected = ["overdue", "drop 1 NotFenced", "drop 2 NotFenced", "refuse clear Busy"];
    assert_eq!(short(&manager.tick(at(11))), expected);
    assert_eq!(short(&manager.tick(at(99))), [""; 0], "once");
    assert_eq!(manager.after(reserve(OWNER), 99), ["drop 1 NotFenced"], "a retransmission");
    manager.after(StateEvent::Fenced { change, reached: true }, 99);
    let fenced = manager.after(StateEvent::Fenced { change, reached: true }, 99);
    assert_eq!(fenced, ["no longer overdue", "publish"]);
    manager.after(StateEvent::Published(change), 99);
    assert_eq!(manager.after(StateEvent::Published(change), 99), ["save 1.2@p"], "the new name was kept");
}

#[test]
fn an_lcore_that_is_not_reached_leaves_its_change_without_an_answer() {
    let mut manager = manager(None);
    let change = number(&manager.step(key(), reserve(OWNER), Duration::ZERO));
    manager.after(StateEvent::Saved(change, Ok(())), 0);
    assert_eq!(manager.after(StateEvent::Fenced { change, reached: false }, 0), ["drop 1 NotFenced"]);
    assert_eq!(
        manager.after(StateEvent::Fenced { change, reached: true }, 0),
        ["no longer overdue", "publish"]
    );
}

#[test]
fn a_change_that_can_not_be_saved_is_not_made() {
    let mut manager = manager(None);
    let first = number(&manager.step(key(), force_config(OWNER, b"a"), Duration::ZERO));
    manager.after(clear(StatePart::All, "clear"), 0);
    let failed = manager.step(key(), StateEvent::Saved(first, Err("it is full".into())), Duration::ZERO);
    assert_eq!(short(&failed), ["drop 1 NotStored", "not saved", "save 1.2"]);
    let failed = manager.step(key(), StateEvent::Saved(number(&failed), Err("full".into())), Duration::ZERO);
    assert_eq!(short(&failed), ["refuse clear Internal", "not saved"]);
    assert!(manager.is_idle() && manager.state_of(key()).unwrap().0.config.is_empty());
    // The next export at the address has the state before.
    assert_eq!(manager.after(StateEvent::Unregister, 0), [""; 0]);
    let mut next = export();
    assert_eq!(manager.register(&mut next, NAME.into()), None);
    assert!(next.initiator_state().config.is_empty());
}

#[test]
fn the_next_export_at_the_address_has_what_was_saved() {
    let mut manager = manager(None);
    let change = number(&manager.step(key(), reserve(OWNER), Duration::ZERO));
    manager.after(StateEvent::Saved(change, Ok(())), 0);
    assert_eq!(manager.after(StateEvent::Unregister, 0), ["drop 1 UnknownShelfSlot"]);
    assert_eq!(manager.after(StateEvent::Fenced { change, reached: true }, 0), ["gone"]);
    assert_eq!(manager.after(StateEvent::Unregister, 0), [""; 0]);
    assert!(!manager.equip(&mut export()) && manager.state_of(key()).is_none());
    let mut next = export();
    manager.register(&mut next, NAME.into());
    assert!(next.initiator_state().reservation.is_held());
}

#[test]
fn whoever_waits_for_an_export_that_goes_is_answered() {
    let mut manager = manager(None);
    manager.after(clear(StatePart::All, "first"), 0);
    manager.after(force_config(OWNER, b"x"), 0);
    manager.after(clear(StatePart::All, "third"), 0);
    manager.after(StateEvent::Access((Arc::from([]), Arc::from([])), "lists"), 0);
    let expected = ["refuse first Busy", "drop 1 UnknownShelfSlot", "refuse third Busy", "refuse lists Busy"];
    assert_eq!(manager.after(StateEvent::Unregister, 0), expected);
    for (event, effect) in [
        (force_config(OWNER, b"x"), "drop 1 UnknownShelfSlot"),
        (clear(StatePart::All, "late"), "refuse late Busy"),
        (StateEvent::Access((Arc::from([]), Arc::from([])), "lists"), "answer lists"),
    ] {
        assert_eq!(manager.after(event, 0), [effect]);
    }
    assert_eq!(manager.after(StateEvent::Rename("1.3".into()), 0), [""; 0]);
}

#[test]
fn unknown_state_stays_unknown_until_it_is_cleared_as_a_whole() {
    let mut manager = Manager::new(LCORES, [(NAME.to_owned(), Err("torn".to_owned()))].into());
    assert_eq!(manager.register(&mut export(), NAME.into()).as_deref(), Some("torn"));
    assert_eq!(manager.after(force_config(OWNER, b"x"), 0), ["drop 1 StateUnknown"]);
    assert_eq!(manager.after(clear(StatePart::Mask, "a part"), 0), ["refuse a part Unsuitable"]);
    let renamed = manager.step(key(), StateEvent::Rename("1.2@p".into()), Duration::ZERO);
    assert_eq!(short(&renamed), ["save 1.2@p as unknown"]);
    let change = number(&renamed);
    assert_eq!(manager.after(StateEvent::Saved(change, Ok(())), 0), ["publish"]);
    for _ in 0..LCORES {
        manager.after(StateEvent::Published(change), 0);
    }
    assert_eq!(manager.state_of(key()).unwrap().1.as_deref(), Some("torn"));
    let cleared = manager.step(key(), clear(StatePart::All, "all"), Duration::ZERO);
    assert_eq!(short(&cleared), ["save 1.2@p"]);
    let change = number(&cleared);
    assert_eq!(manager.after(StateEvent::Saved(change, Ok(())), 0), ["fence"]);
    for _ in 0..LCORES {
        manager.after(StateEvent::Fenced { change, reached: true }, 0);
    }
    manager.after(StateEvent::Published(change), 0);
    assert_eq!(manager.after(StateEvent::Published(change), 0), ["changed", "answer all", "advertise"]);
    assert_eq!(manager.state_of(key()).unwrap().1, None);
}

#[test]
fn calls_that_are_given_up_get_no_answer_and_requests_do() {
    let mut manager = manager(None);
    let begun = manager.step(key(), clear(StatePart::All, "first"), Duration::ZERO);
    manager.after(clear(StatePart::All, "second"), 0);
    manager.after(force_config(OWNER, b"x"), 0);
    manager.give_up_calls();
    let change = number(&begun);
    manager.after(StateEvent::Saved(change, Ok(())), 0);
    manager.after(StateEvent::Published(change), 0);
    assert_eq!(manager.after(StateEvent::Published(change), 0), ["save 1.2"], "that of the request");
}

#[test]
fn reports_that_nothing_waits_for_change_nothing() {
    let mut manager = manager(None);
    assert_eq!(manager.after(StateEvent::Published(3), 0), ["stray"]);
    let change = number(&manager.step(key(), reserve(OWNER), Duration::ZERO));
    assert_eq!(manager.after(StateEvent::Saved(change + 1, Ok(())), 0), ["stray"]);
    assert_eq!(manager.after(StateEvent::Saved(change, Ok(())), 0), ["fence"]);
    let other = manager.step(
        ExportKey { generation: 9, ..key() },
        StateEvent::Fenced { change, reached: true },
        Duration::ZERO,
    );
    assert_eq!(short(&other), ["gone"]);
}

#[test]
fn a_call_that_can_not_be_carried_out_is_answered_with_its_error() {
    let mut manager = manager(None);
    let too_many = (0..=255).map(|last| MacAddr([2, 0, 0, 0, 1, last])).collect();
    let event = StateEvent::Set(StateChange::Reservation(too_many), "too many");
    let effects = manager.step(key(), event, Duration::ZERO);
    let [StateEffect::Answer("too many", Err(error))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(error.code(), ErrorCode::InvalidParams);
}
