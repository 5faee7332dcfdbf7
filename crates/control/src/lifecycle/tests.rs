//! Random lives: events in any order, reports of lcores in any order, late and twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What happens next. Reports are drawn from the messages that are on their way.
#[derive(Debug, Clone, Copy)]
enum Move {
    Event(Event),
    /// The report at this place among those on their way, and whether the lcore succeeded.
    Report(prop::sample::Index, bool),
    /// A report that came before comes again.
    Repeat(prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), prop::bool::weighted(0.85)).prop_map(|(at, done)| Move::Report(at, done)),
        1 => any::<prop::sample::Index>().prop_map(Move::Repeat),
        4 => prop_oneof![
            Just(Event::Create),
            Just(Event::BdevRemoved),
            Just(Event::BdevBack),
            Just(Event::Degraded),
            Just(Event::Recovered),
            Just(Event::LeavePorts),
            Just(Event::Change),
            Just(Event::OtherBdevRemoved),
            Just(Event::Delete { force: false }),
            Just(Event::Delete { force: true }),
            Just(Event::Late),
        ].prop_map(Move::Event),
    ]
}

/// The glue, without a target: it keeps what was asked and answered.
struct Glue {
    life: Lifecycle,
    lcores: u32,
    /// Messages that lcores have not reported on, once for each lcore.
    on_their_way: Vec<Round>,
    reported: Vec<Round>,
    ran: BTreeMap<Round, Task>,
    creates: u32,
    create_answers: u32,
    deletes: u32,
    delete_answers: u32,
    leaves: u32,
    changes: u32,
    change_answers: u32,
    others_opened: u32,
    others_closed: u32,
    bdev_opened: u32,
    bdev_closed: u32,
    freed: u32,
    waited: u32,
}

impl Glue {
    fn new(lcores: u32, waits: bool) -> Self {
        let life = if waits { Lifecycle::waiting(lcores) } else { Lifecycle::new(lcores) };
        Self {
            life,
            lcores,
            on_their_way: Vec::new(),
            reported: Vec::new(),
            ran: BTreeMap::new(),
            creates: u32::from(!waits),
            create_answers: 0,
            deletes: 0,
            delete_answers: 0,
            leaves: 0,
            changes: 0,
            change_answers: 0,
            others_opened: 0,
            others_closed: 0,
            bdev_opened: u32::from(!waits),
            bdev_closed: 0,
            freed: 0,
            waited: 0,
        }
    }

    fn event(&mut self, event: Event) {
        let before = self.life.clone();
        match event {
            Event::Create if before.stage() == Stage::Waiting => self.bdev_opened += 1,
            Event::BdevBack if before.may_rebind() => self.bdev_opened += 1,
            Event::Delete { .. } => self.deletes += 1,
            Event::LeavePorts => self.leaves += 1,
            Event::Change => {
                self.changes += 1;
                self.others_opened += 1;
            }
            _ => {}
        }
        let effects = self.life.step(event);
        if before.stage() == Stage::Ended {
            let refused = [
                vec![Effect::RefuseDelete(Refusal::Busy)],
                vec![Effect::RefuseChange(Refusal::Busy), Effect::CloseOther],
            ];
            assert!(effects.is_empty() || refused.contains(&effects), "{event:?} after the end: {effects:?}");
        }
        for effect in effects {
            self.execute(effect);
        }
        self.check();
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Run(task, round) => {
                assert_eq!(self.ran.insert(round, task), None, "a round is run once");
                self.on_their_way.extend((0..self.lcores).map(|_| round));
            }
            Effect::Created | Effect::RefuseCreate(_) => {
                self.create_answers += u32::from(!self.life.waits);
            }
            Effect::Deleted | Effect::RefuseDelete(_) => self.delete_answers += 1,
            Effect::LeftPorts => self.leaves -= 1,
            Effect::CloseBdev => self.bdev_closed += 1,
            Effect::Changed => {
                self.change_answers += 1;
                // The other bdev is the export's now.
                self.others_closed += 1;
                self.bdev_closed += 1;
                self.bdev_opened += 1;
            }
            Effect::RefuseChange(_) => self.change_answers += 1,
            Effect::CloseOther => self.others_closed += 1,
            Effect::Free => self.freed += 1,
            Effect::Wait => self.waited += 1,
            Effect::ServedAgain | Effect::NotAttached => {}
        }
    }

    fn check(&self) {
        assert!(self.freed <= 1, "an id is freed once");
        assert!(self.change_answers <= self.changes && self.others_closed <= self.others_opened);
        assert!(self.others_opened <= self.others_closed + 1, "one change at a time");
        assert!(self.create_answers <= self.creates && self.delete_answers <= self.deletes + self.leaves);
        assert!(self.bdev_closed <= self.bdev_opened && self.bdev_opened <= self.bdev_closed + 1);
        assert_eq!(self.freed == 1, self.life.stage() == Stage::Ended);
        if self.freed == 1 {
            assert!(self.on_their_way.is_empty(), "an lcore may still have it");
            assert_eq!((self.bdev_opened, self.create_answers), (self.bdev_closed, self.creates));
        }
    }

    fn report(&mut self, at: prop::sample::Index, done: bool) {
        if !self.on_their_way.is_empty() {
            let round = self.on_their_way.remove(at.index(self.on_their_way.len()));
            self.reported.push(round);
            self.event(Event::Reported { round, done });
        }
    }

    /// Every message is reported on, and what is left is deleted.
    fn end(&mut self) {
        for _ in 0..1000 {
            while let Some(round) = self.on_their_way.pop() {
                self.event(Event::Reported { round, done: true });
            }
            if self.life.stage() == Stage::Ended {
                return;
            }
            if self.ran.is_empty() {
                self.event(Event::Create);
            } else {
                self.event(Event::Delete { force: false });
            }
        }
        panic!("it does not end: {:?}", self.life);
    }
}

proptest! {
    /// Whatever happens in whatever order: a life ends once its lcores report, each call is answered once, each bdev that was
    /// opened is closed once, no round is run or freed twice, and nothing happens after the end.
    #[test]
    fn every_life_ends_and_every_call_is_answered_once(
        lcores in 1u32..4,
        waits: bool,
        moves in prop::collection::vec(moves(), 0..120),
    ) {
        let mut glue = Glue::new(lcores, waits);
        for step in moves {
            match step {
                Move::Event(event) => glue.event(event),
                Move::Report(at, done) => glue.report(at, done),
                Move::Repeat(at) => {
                    // Once all lcores have reported on a round, a further report is no report on another.
                    let closed: Vec<Round> = glue.reported.iter().copied().filter(|round| !glue.on_their_way.contains(round)).collect();
                    if !closed.is_empty() {
                        let before = glue.life.clone();
                        glue.event(Event::Reported { round: closed[at.index(closed.len())], done: true });
                        prop_assert_eq!(&before, &glue.life);
                    }
                }
            }
        }
        glue.end();
        prop_assert_eq!(glue.create_answers, glue.creates);
        prop_assert_eq!(glue.delete_answers, glue.deletes + glue.leaves);
        prop_assert_eq!(glue.bdev_opened, glue.bdev_closed);
        prop_assert_eq!((glue.change_answers, glue.others_closed), (glue.changes, glue.others_opened));
        prop_assert_eq!(glue.freed, 1);
    }
}

fn report_all(life: &mut Lifecycle, effects: &[Effect], done: bool) -> Vec<Effect> {
    let mut next = Vec::new();
    for effect in effects {
        if let Effect::Run(_, round) = *effect {
            for _ in 0..life.lcores {
                next.extend(life.step(Event::Reported { round, done }));
            }
        }
    }
    next
}

fn tasks(effects: &[Effect]) -> Vec<Task> {
    let task = |effect: &Effect| if let Effect::Run(task, _) = effect { Some(*task) } else { None };
    effects.iter().filter_map(task).collect()
}

fn served() -> Lifecycle {
    let mut life = Lifecycle::new(2);
    let prepared = life.step(Event::Create);
    let serves = report_all(&mut life, &prepared, true);
    assert_eq!(report_all(&mut life, &serves, true), [Effect::Created]);
    life
}

#[test]
fn no_lcore_serves_an_export_before_all_have_prepared_it() {
    let mut life = Lifecycle::new(2);
    let effects = life.step(Event::Create);
    assert_eq!(tasks(&effects), [Task::Prepare]);
    let Effect::Run(_, round) = effects[0] else { panic!() };
    assert_eq!(life.step(Event::Reported { round, done: true }), []);
    let serves = life.step(Event::Reported { round, done: true });
    assert_eq!(tasks(&serves), [Task::Serve]);
    assert_eq!(life.stage(), Stage::Preparing);
    assert_eq!(report_all(&mut life, &serves, true), [Effect::Created]);
    assert_eq!(life.stage(), Stage::Serving);
}

#[test]
fn a_failure_on_one_lcore_is_rolled_back_on_all_before_the_id_is_free() {
    let mut life = Lifecycle::new(3);
    let effects = life.step(Event::Create);
    let Effect::Run(_, round) = effects[0] else { panic!() };
    assert_eq!(life.step(Event::Reported { round, done: true }), []);
    assert_eq!(life.step(Event::Reported { round, done: false }), []);
    let drains = life.step(Event::Reported { round, done: true });
    assert_eq!((tasks(&drains), life.stage()), (vec![Task::Drain], Stage::RollingBack));
    let Effect::Run(_, round) = drains[0] else { panic!() };
    for _ in 0..2 {
        assert_eq!(life.step(Event::Reported { round, done: true }), []);
        assert!(life.holds_address() && life.busy(true).is_some());
    }
    assert_eq!(
        life.step(Event::Reported { round, done: true }),
        [Effect::CloseBdev, Effect::RefuseCreate(Refusal::Failed), Effect::Free]
    );
}

#[test]
fn force_frees_the_address_at_once_and_the_id_when_nothing_is_in_flight() {
    let mut life = served();
    let drains = life.step(Event::Delete { force: false });
    assert_eq!(life.step(Event::Late), [Effect::RefuseDelete(Refusal::Late)]);
    assert!(life.holds_address());
    let confirms = life.step(Event::Delete { force: true });
    assert_eq!(tasks(&confirms), [Task::Confirm], "it drains already");
    assert_eq!(life.step(Event::Late), [], "force waits for lcores only");
    assert_eq!(report_all(&mut life, &confirms, true), [Effect::Deleted]);
    assert_eq!((life.holds_address(), life.name()), (false, "quarantined"));
    assert_eq!(life.step(Event::Delete { force: true }), [Effect::RefuseDelete(Refusal::Busy)]);
    assert_eq!(report_all(&mut life, &drains, true), [Effect::CloseBdev, Effect::Free]);
}

#[test]
fn a_call_that_waits_for_a_deletion_is_answered_when_another_forces_it() {
    let mut life = served();
    assert_eq!(tasks(&life.step(Event::Delete { force: false })), [Task::Drain]);
    let effects = life.step(Event::Delete { force: true });
    assert_eq!(effects[0], Effect::RefuseDelete(Refusal::Forced));
}

#[test]
fn a_bdev_that_comes_back_is_served_once_every_lcore_has_closed_its_channel_and_opened_another() {
    let mut life = served();
    let effects = life.step(Event::BdevRemoved);
    assert_eq!((effects[0], tasks(&effects)), (Effect::CloseBdev, vec![Task::TakeOffline]));
    assert!(!life.may_rebind());
    assert_eq!(life.step(Event::BdevBack), []);
    assert_eq!(report_all(&mut life, &effects, true), []);
    let attaches = life.step(Event::BdevBack);
    assert_eq!((tasks(&attaches), life.stage()), (vec![Task::Attach], Stage::Rebinding));
    let fails = report_all(&mut life, &attaches, false);
    assert_eq!(fails[..2], [Effect::NotAttached, Effect::CloseBdev]);
    assert_eq!((tasks(&fails), life.stage()), (vec![Task::TakeOffline], Stage::Offline));
    report_all(&mut life, &fails, true);
    let attaches = life.step(Event::BdevBack);
    let resumes = report_all(&mut life, &attaches, true);
    assert_eq!(tasks(&resumes), [Task::Resume]);
    assert_eq!(report_all(&mut life, &resumes, true), [Effect::ServedAgain]);
    assert_eq!(life.stage(), Stage::Serving);
}

#[test]
fn a_bdev_that_is_removed_while_its_export_is_created_rolls_the_creation_back() {
    for published in [false, true] {
        let mut life = Lifecycle::new(1);
        let mut effects = life.step(Event::Create);
        if published {
            effects = report_all(&mut life, &effects, true);
        }
        assert_eq!(life.step(Event::BdevRemoved), [Effect::CloseBdev]);
        let drains = report_all(&mut life, &effects, true);
        assert_eq!(tasks(&drains), [Task::Drain]);
        let end = report_all(&mut life, &drains, true);
        assert_eq!(end, [Effect::RefuseCreate(Refusal::Failed), Effect::Free]);
    }
}

#[test]
fn an_export_of_the_configuration_waits_again_after_a_creation_that_failed() {
    let mut life = Lifecycle::waiting(1);
    let effects = life.step(Event::Create);
    let drains = report_all(&mut life, &effects, false);
    assert_eq!(report_all(&mut life, &drains, true), [Effect::CloseBdev, Effect::Wait]);
    assert_eq!(life.stage(), Stage::Waiting);
    assert_eq!(life.step(Event::Delete { force: false }), [Effect::Deleted, Effect::Free]);
}

#[test]
fn a_degraded_export_serves_on_and_recovers() {
    let mut life = served();
    assert_eq!(life.step(Event::Degraded), []);
    assert_eq!((life.name(), life.serves()), ("degraded", true));
    assert_eq!(life.step(Event::Recovered), []);
    assert_eq!(life.name(), "online");
}

fn round_of(effects: &[Effect]) -> Round {
    let run = effects
        .iter()
        .find_map(|effect| if let Effect::Run(_, round) = effect { Some(*round) } else { None });
    run.expect("a task")
}

#[test]
fn no_lcore_goes_on_with_another_bdev_before_nothing_is_in_flight_at_the_one_before() {
    let mut life = served();
    let opens = life.step(Event::Change);
    assert_eq!((tasks(&opens), life.name()), (vec![Task::OpenOther], "changing"));
    let holds = report_all(&mut life, &opens, true);
    assert_eq!(tasks(&holds), [Task::Hold]);
    assert_eq!(
        life.step(Event::Reported { round: round_of(&holds), done: true }),
        [],
        "another lcore has some"
    );
    let flushes = life.step(Event::Reported { round: round_of(&holds), done: true });
    assert_eq!(tasks(&flushes), [Task::FlushBdev]);
    let exchanges = report_all(&mut life, &flushes, true);
    assert_eq!(tasks(&exchanges), [Task::Exchange]);
    assert_eq!(life.busy(true), Some("changed"), "there is no way back");
    assert_eq!(life.step(Event::Late), []);
    assert_eq!(report_all(&mut life, &exchanges, true), [Effect::Changed]);
    assert_eq!(life.stage(), Stage::Serving);
}

#[test]
fn a_change_that_fails_or_takes_too_long_leaves_the_export_as_it_was() {
    for steps in 0..3 {
        let mut life = served();
        assert_eq!(life.step(Event::Degraded), []);
        let mut effects = life.step(Event::Change);
        for _ in 0..steps {
            effects = report_all(&mut life, &effects, true);
        }
        let releases = report_all(&mut life, &effects, false);
        assert_eq!((tasks(&releases), life.stage()), (vec![Task::Release], Stage::Changing));
        let end = report_all(&mut life, &releases, true);
        assert_eq!(end, [Effect::RefuseChange(Refusal::Failed), Effect::CloseOther]);
        assert_eq!(life.stage(), Stage::Degraded, "as before");
    }
    // Requests in flight are not answered.
    let mut life = served();
    let opens = life.step(Event::Change);
    let holds = report_all(&mut life, &opens, true);
    let late = life.step(Event::Late);
    assert_eq!((late[0], tasks(&late)), (Effect::RefuseChange(Refusal::Late), vec![Task::Release]));
    assert_eq!(report_all(&mut life, &holds, true), [], "too late");
    assert_eq!(report_all(&mut life, &late, true), [Effect::CloseOther]);
    assert_eq!(life.stage(), Stage::Serving);
}

#[test]
fn bdevs_that_are_removed_during_a_change_are_let_go() {
    // The other one, before and after there is a way back.
    let mut life = served();
    let opens = life.step(Event::Change);
    assert_eq!(life.step(Event::OtherBdevRemoved), []);
    let releases = report_all(&mut life, &opens, true);
    assert_eq!(tasks(&releases), [Task::Release]);
    let mut life = served();
    let mut effects = life.step(Event::Change);
    for _ in 0..3 {
        effects = report_all(&mut life, &effects, true);
    }
    assert_eq!(life.step(Event::OtherBdevRemoved), []);
    assert_eq!(life.step(Event::BdevRemoved), [], "it is being given up");
    let end = report_all(&mut life, &effects, true);
    assert_eq!(
        (&end[..2], tasks(&end)),
        (&[Effect::Changed, Effect::CloseBdev][..], vec![Task::TakeOffline])
    );
    // Its own.
    let mut life = served();
    let opens = life.step(Event::Change);
    let end = life.step(Event::BdevRemoved);
    let expected = [Effect::RefuseChange(Refusal::Failed), Effect::CloseOther, Effect::CloseBdev];
    assert_eq!((&end[..3], tasks(&end)), (&expected[..], vec![Task::TakeOffline]));
    assert_eq!(report_all(&mut life, &opens, true), []);
    assert_eq!(life.stage(), Stage::Offline);
}

#[test]
fn force_deletes_an_export_whose_change_waits_for_its_bdev() {
    let mut life = served();
    let opens = life.step(Event::Change);
    report_all(&mut life, &opens, true);
    assert_eq!(life.step(Event::Delete { force: false }), [Effect::RefuseDelete(Refusal::Busy)]);
    let effects = life.step(Event::Delete { force: true });
    assert_eq!(effects[..2], [Effect::RefuseChange(Refusal::Forced), Effect::CloseOther]);
    assert_eq!(tasks(&effects), [Task::Drain, Task::Confirm]);
}

#[test]
fn stages_of_a_life_do_not_come_twice_but_for_the_bdevs_coming_and_going() {
    let mut seen = BTreeSet::new();
    let mut life = served();
    seen.extend([Stage::Preparing, Stage::Serving]);
    let effects = life.step(Event::Delete { force: false });
    assert!(seen.insert(life.stage()));
    report_all(&mut life, &effects, true);
    assert!(seen.insert(life.stage()));
    assert_eq!(life.step(Event::Create), []);
    assert_eq!(life.stage(), Stage::Ended);
}
