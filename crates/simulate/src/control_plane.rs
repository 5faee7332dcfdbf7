//! The control plane: exports are created, deleted, taken from and given back their bdevs, each by its [`Lifecycle`]. What
//! is simulated is the glue: messages to the lcores and their reports are on their way for a while, in order.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use aoe_target::{Export, ExportKey, StateReply};
use control::{
    StateEffect, StateEvent, StateNote,
    lifecycle::{Effect, Event as LifeEvent, Lifecycle, Round, Stage, Task},
    state_manager::Publication,
};
use datapath::{Deferred, Lcore};
use spdk::Bdev;

use crate::{
    dice::Dice,
    disk::Disk,
    plan::{Call as OperatorCall, Event, ExportPlan, Plan},
    state_directory::StateDirectory,
    target,
};

mod calls;
mod states;

pub(crate) use states::state_name;
use states::{Request, States};

/// Ticks that a message or a report takes at most.
const SLOWEST: u64 = 40;
/// Ticks after which a caller does not wait for a deletion any longer, as in the program.
const PATIENCE: u64 = 10_000;

/// What the control plane tells the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The export is being created.
    Creating(usize),
    /// Every lcore serves it.
    Created(usize),
    /// No lcore takes requests for it, and without force none is in flight.
    Deleted { export: usize, forced: bool },
    /// A call to the state manager is answered.
    Answered { call: u32, succeeded: bool },
}

/// Work for an lcore.
enum Message {
    Task { export: usize, key: ExportKey, task: Task, round: Round, given: Option<(Box<Export>, Bdev)> },
    Fence(Publication),
    Publish(Publication),
    Answer(Box<Deferred>, StateReply),
    Resize { key: ExportKey, sectors: u64 },
}

/// What an lcore has done.
#[derive(Debug, Clone, Copy)]
enum Report {
    Task { export: usize, key: ExportKey, round: Round, done: bool },
    Fenced { key: ExportKey, change: u64 },
    Published { key: ExportKey, change: u64 },
}

/// Things on their way, in order.
struct Way<T>(VecDeque<(u64, T)>);

impl<T> Way<T> {
    fn send(&mut self, due: u64, thing: T) {
        let last = self.0.back().map_or(0, |(due, _)| *due);
        self.0.push_back((due.max(last), thing));
    }

    fn arrived(&mut self, now: u64) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_front().map(|(_, thing)| thing)
    }

    fn next(&self) -> Option<u64> {
        self.0.front().map(|(due, _)| *due)
    }
}

/// An export's life.
struct Life {
    key: ExportKey,
    /// `None` when it is not there.
    life: Option<Lifecycle>,
    bdev: Option<Bdev>,
    /// The way to its disk that this is.
    way: u32,
    /// What it is to go on with: the next way.
    other: Option<Bdev>,
    /// A caller waits.
    call: Option<Call>,
    /// Until this tick.
    limit: Option<u64>,
    create_at: Option<u64>,
    /// When its bdev, which was removed, is there again.
    back_at: Option<u64>,
    /// It is created again, so long after its end.
    again: Option<u64>,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Creation,
    Deletion { forced: bool },
    Change,
}

/// See the module.
pub(crate) struct ControlPlane {
    dice: Dice,
    sent: u64,
    lcores: usize,
    exports: Vec<ExportPlan>,
    disks: Vec<Rc<RefCell<Disk>>>,
    lives: Vec<Life>,
    states: States,
    to_lcores: Vec<Way<Message>>,
    to_app: Vec<Way<Report>>,
    /// Reports of lcores, by lcore, that are not on their way yet.
    made: Rc<RefCell<Vec<(usize, Report)>>>,
    notices: Vec<Notice>,
    /// What went wrong.
    broken: Option<String>,
    /// Nothing is created any more.
    ending: bool,
}

impl ControlPlane {
    pub(crate) fn new(plan: &Plan, disks: &[Rc<RefCell<Disk>>], lcores: &mut [Lcore]) -> Self {
        let life = |index| Life {
            key: target::id(index).into(),
            life: None,
            bdev: None,
            way: 0,
            other: None,
            call: None,
            limit: None,
            create_at: None,
            back_at: None,
            again: None,
        };
        let way = || Way(VecDeque::new());
        Self {
            dice: plan.dice("control plane"),
            sent: 0,
            lcores: plan.lcores,
            exports: plan.exports.clone(),
            disks: disks.to_vec(),
            lives: (0..plan.exports.len()).map(life).collect(),
            states: States::new(plan.dice("store"), plan.not_stored, lcores),
            to_lcores: (0..plan.lcores).map(|_| way()).collect(),
            to_app: (0..plan.lcores).map(|_| Way(VecDeque::new())).collect(),
            made: Rc::default(),
            notices: Vec::new(),
            broken: None,
            ending: false,
        }
    }

    /// What has happened since this was asked last.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The directory in which initiator state is saved.
    pub(crate) fn state_directory(&self) -> &StateDirectory {
        self.states.directory()
    }

    /// When something happens here next.
    pub(crate) fn next(&self) -> Option<u64> {
        let messages = self.to_lcores.iter().filter_map(Way::next);
        let reports = self.to_app.iter().filter_map(Way::next);
        let lives = self.lives.iter().flat_map(|life| [life.limit, life.create_at, life.back_at]).flatten();
        messages.chain(reports).chain(lives).chain(self.states.next()).min()
    }

    /// Whether nothing is on its way or waits to be done. Calls may wait for bdevs.
    pub(crate) fn is_quiet(&self) -> bool {
        let ways = self.to_lcores.iter().all(|way| way.0.is_empty())
            && self.to_app.iter().all(|way| way.0.is_empty());
        ways && self.lives.iter().all(|life| life.create_at.is_none() && life.back_at.is_none())
            && self.states.is_quiet()
    }

    /// Whether every export that is not to follow another is served.
    pub(crate) fn all_serve(&self) -> bool {
        let first = self.lives.iter().zip(&self.exports).filter(|(_, plan)| plan.follows.is_none());
        { first }.all(|(life, _)| life.life.as_ref().is_some_and(Lifecycle::serves))
    }

    /// Creates an export, if it is not there.
    pub(crate) fn create(&mut self, export: usize, now: u64) {
        let life = &mut self.lives[export];
        life.create_at = None;
        if life.life.is_some() || self.ending {
            return;
        }
        life.bdev = Some(target::open_bdev(export, &self.exports[export], &self.disks[export], life.way));
        life.life = Some(Lifecycle::new(u32::try_from(self.lcores).unwrap_or(0)));
        life.call = Some(Call::Creation);
        self.notices.push(Notice::Creating(export));
        let sectors = self.disks[export].borrow().sectors_now();
        let mut made = target::export(life.key, &self.exports[export], sectors);
        self.states.register(&mut made, self.exports[export].slot);
        self.happens(export, LifeEvent::Create, now);
    }

    /// Something happens to an export that the plan says. False if a caller is refused.
    pub(crate) fn event(&mut self, export: usize, event: Event, now: u64) -> bool {
        match event {
            Event::Delete { again } => {
                let accepted = self.delete(export, false, now);
                if accepted {
                    self.lives[export].again = Some(again);
                }
                accepted
            }
            Event::Force => self.delete(export, true, now),
            Event::Remove { back } => {
                self.disks[export].borrow_mut().remove();
                self.lives[export].back_at = Some(now + back);
                self.happens(export, LifeEvent::BdevRemoved, now);
                true
            }
            Event::Shrink => {
                self.disks[export].borrow_mut().shrink();
                let sectors = self.disks[export].borrow().sectors_now();
                let key = self.lives[export].key;
                for lcore in 0..self.lcores {
                    self.send(lcore, now, Message::Resize { key, sectors });
                }
                true
            }
            Event::Replace { refuses } => self.replace(export, refuses, now),
        }
    }

    /// An operator wants a change of initiator state.
    pub(crate) fn call(&mut self, call: &OperatorCall, now: u64) {
        let event = calls::event(call, self.exports[call.export].slot);
        self.states.happens(self.lives[call.export].key, event, now);
    }

    /// Has an export be deleted. False if its caller is refused, or there is none.
    fn delete(&mut self, export: usize, forced: bool, now: u64) -> bool {
        let Life { life: Some(lifecycle), call, limit, .. } = &mut self.lives[export] else { return false };
        if lifecycle.busy(forced).is_some() || call.is_some() {
            return false;
        }
        (*call, *limit) = (Some(Call::Deletion { forced }), Some(now + PATIENCE));
        self.happens(export, LifeEvent::Delete { force: forced }, now);
        true
    }

    /// Has an export go on with another way to its disk. False if its caller is refused, or there is none.
    fn replace(&mut self, export: usize, refuses: bool, now: u64) -> bool {
        let Life { life: Some(lifecycle), call, limit, way, other, .. } = &mut self.lives[export] else {
            return false;
        };
        if !lifecycle.may_change() || call.is_some() {
            return false;
        }
        (*call, *limit) = (Some(Call::Change), Some(now + PATIENCE));
        *other = Some(target::open_bdev(export, &self.exports[export], &self.disks[export], *way + 1));
        self.disks[export].borrow_mut().refuse_flushes(refuses);
        self.happens(export, LifeEvent::Change, now);
        true
    }

    /// Deletes every export, as far as that can be by now, and creates none any more.
    pub(crate) fn delete_all(&mut self, now: u64) {
        self.ending = true;
        for export in 0..self.lives.len() {
            (self.lives[export].again, self.lives[export].create_at) = (None, None);
            self.delete(export, false, now);
        }
    }

    /// Carries out the messages that have reached an lcore, between two of its turns. Whether there were any.
    pub(crate) fn deliver(&mut self, index: usize, lcore: &mut Lcore, now: u64) -> bool {
        let mut any = false;
        while let Some(message) = self.to_lcores[index].arrived(now) {
            any = true;
            let made = Rc::clone(&self.made);
            let report = move |report| made.borrow_mut().push((index, report));
            match message {
                Message::Task { export, key, task, round, given } => {
                    let done = move |done| report(Report::Task { export, key, round, done });
                    carry_out(lcore, key, task, given, done);
                }
                Message::Fence(Publication { key, change, state, acl }) => {
                    drop(lcore.publish(key, &state, acl.as_ref()));
                    lcore.fence(key.id, move || report(Report::Fenced { key, change }));
                }
                Message::Publish(Publication { key, change, state, acl }) => {
                    drop(lcore.publish(key, &state, acl.as_ref()));
                    report(Report::Published { key, change });
                }
                Message::Answer(request, reply) => lcore.complete_deferred(*request, reply),
                Message::Resize { key, sectors } => lcore.resize(key, sectors),
            }
        }
        any
    }

    /// The app's part of a tick. Whether there was something to do.
    ///
    /// # Errors
    /// The rule that was broken.
    pub(crate) fn tick(&mut self, now: u64) -> Result<bool, String> {
        let mut busy = false;
        let made: Vec<(usize, Report)> = self.made.borrow_mut().drain(..).collect();
        for (lcore, report) in made {
            let due = now + self.delay();
            self.to_app[lcore].send(due, report);
        }
        for lcore in 0..self.lcores {
            while let Some(report) = self.to_app[lcore].arrived(now) {
                busy = true;
                self.reported(report, now);
            }
        }
        for export in 0..self.lives.len() {
            busy |= self.look_after(export, now);
        }
        busy |= self.states.tick(now);
        self.send_states(now);
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => Ok(busy),
        }
    }

    fn reported(&mut self, report: Report, now: u64) {
        match report {
            Report::Task { export, key, round, done } if self.lives[export].key == key => {
                self.happens(export, LifeEvent::Reported { round, done }, now);
            }
            Report::Task { export, .. } => {
                self.broken = Some(format!("a report of a life of export {export} comes after its end"));
            }
            Report::Fenced { key, change } => {
                self.states.happens(key, StateEvent::Fenced { change, reached: true }, now);
            }
            Report::Published { key, change } => {
                self.states.happens(key, StateEvent::Published(change), now);
            }
        }
    }

    /// Does what is due for an export.
    fn look_after(&mut self, export: usize, now: u64) -> bool {
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let Life { limit, create_at, back_at, .. } = self.lives[export];
        if is_due(limit) {
            self.lives[export].limit = None;
            self.happens(export, LifeEvent::Late, now);
        }
        if is_due(create_at) {
            self.create(export, now);
        }
        if is_due(back_at) {
            self.bring_back(export, now);
        }
        is_due(limit) || is_due(create_at) || is_due(back_at)
    }

    fn bring_back(&mut self, export: usize, now: u64) {
        self.disks[export].borrow_mut().restore();
        let life = &mut self.lives[export];
        life.back_at = None;
        match &life.life {
            Some(lifecycle) if lifecycle.may_rebind() => {
                let bdev = target::open_bdev(export, &self.exports[export], &self.disks[export], life.way);
                life.bdev = Some(bdev);
                self.happens(export, LifeEvent::BdevBack, now);
            }
            // Its lcores have not closed their channels yet.
            Some(lifecycle) if lifecycle.stage() == Stage::Offline => life.back_at = Some(now + 20),
            // It went while it was created: it is created again when that has ended.
            _ => {}
        }
    }

    fn happens(&mut self, export: usize, event: LifeEvent, now: u64) {
        let Some(life) = &mut self.lives[export].life else { return };
        for effect in life.step(event) {
            self.execute(export, effect, now);
        }
    }

    fn execute(&mut self, export: usize, effect: Effect, now: u64) {
        match effect {
            Effect::Run(task, round) => self.run(export, task, round, now),
            Effect::Created => {
                if self.answer(export) != Some(Call::Creation) {
                    self.broken = Some(format!("export {export} was created for nobody"));
                }
                self.notices.push(Notice::Created(export));
            }
            Effect::RefuseCreate(_) => {
                if self.answer(export) != Some(Call::Creation) {
                    self.broken = Some(format!("nobody is refused the creation of export {export}"));
                }
                // Its caller tries again.
                self.lives[export].again = Some(30);
            }
            Effect::Deleted => match self.answer(export) {
                Some(Call::Deletion { forced }) => {
                    if forced {
                        // Its state is that of the next export at its address from now on.
                        self.states.happens(self.lives[export].key, StateEvent::Unregister, now);
                    }
                    self.notices.push(Notice::Deleted { export, forced });
                }
                _ => self.broken = Some(format!("export {export} was deleted for nobody")),
            },
            Effect::RefuseDelete(_) => {
                if !matches!(self.answer(export), Some(Call::Deletion { .. })) {
                    self.broken = Some(format!("nobody is refused the deletion of export {export}"));
                }
            }
            Effect::CloseBdev => {
                if self.lives[export].bdev.take().is_none() {
                    self.broken = Some(format!("the bdev of export {export} is closed twice"));
                }
            }
            Effect::Changed => {
                if self.change_ended(export) != Some(Call::Change) {
                    self.broken = Some(format!("export {export} was changed for nobody"));
                }
                let life = &mut self.lives[export];
                life.bdev = life.other.take();
                life.way += 1;
            }
            Effect::RefuseChange(_) => {
                if self.change_ended(export) != Some(Call::Change) {
                    self.broken = Some(format!("nobody is refused the change of export {export}"));
                }
            }
            Effect::CloseOther => {
                if self.lives[export].other.take().is_none() {
                    self.broken =
                        Some(format!("export {export} closes a bdev that it was not to go on with"));
                }
            }
            Effect::NotAttached => self.lives[export].back_at = Some(now + 30),
            Effect::ServedAgain => {}
            Effect::Free => self.freed(export, now),
            Effect::LeftPorts | Effect::Wait => {
                self.broken =
                    Some(format!("export {export} has an effect that nothing asked for: {effect:?}"));
            }
        }
    }

    /// The call that is answered.
    fn answer(&mut self, export: usize) -> Option<Call> {
        let life = &mut self.lives[export];
        life.limit = None;
        life.call.take()
    }

    /// As [`ControlPlane::answer`], of a change: flushes are well again.
    fn change_ended(&mut self, export: usize) -> Option<Call> {
        self.disks[export].borrow_mut().refuse_flushes(false);
        self.answer(export)
    }

    fn freed(&mut self, export: usize, now: u64) {
        let life = &mut self.lives[export];
        if life.bdev.is_some() || life.other.is_some() || life.call.is_some() {
            self.broken = Some(format!("export {export} has ended with its bdev open or its caller waiting"));
        }
        let key = life.key;
        life.life = None;
        life.key.generation += 1;
        life.create_at = life.again.take().map(|again| now + again);
        self.states.happens(key, StateEvent::Unregister, now);
    }

    /// Has every lcore carry out a task.
    fn run(&mut self, export: usize, task: Task, round: Round, now: u64) {
        let key = self.lives[export].key;
        for lcore in 0..self.lcores {
            let bdev = match task {
                Task::Prepare | Task::Attach => self.lives[export].bdev.clone(),
                Task::OpenOther => self.lives[export].other.clone(),
                _ => None,
            };
            let given = bdev.map(|bdev| {
                let sectors = self.disks[export].borrow().sectors_now();
                let mut made = target::export(key, &self.exports[export], sectors);
                self.states.equip(&mut made);
                (Box::new(made), bdev)
            });
            self.send(lcore, now, Message::Task { export, key, task, round, given });
        }
    }

    fn delay(&mut self) -> u64 {
        self.sent += 1;
        self.dice.below(SLOWEST, &[self.sent])
    }

    fn send(&mut self, lcore: usize, now: u64, message: Message) {
        let due = now + self.delay();
        self.to_lcores[lcore].send(due, message);
    }

    fn send_states(&mut self, now: u64) {
        for effect in self.states.take_effects() {
            match effect {
                StateEffect::Fence(publication) => {
                    self.send_to_all(now, || Message::Fence(publication.clone()));
                }
                StateEffect::Publish(publication) => {
                    self.send_to_all(now, || Message::Publish(publication.clone()));
                }
                StateEffect::Reply(Request { lcore, deferred }, reply) => {
                    self.send(lcore, now, Message::Answer(Box::new(deferred), reply));
                }
                StateEffect::Note(StateNote::Stray(key, step, change)) => {
                    self.broken = Some(format!(
                        "{step} of change {change} of export {} has ended that nothing waits for",
                        key.id.0
                    ));
                }
                StateEffect::Note(_) | StateEffect::Advertise(_) => {}
                StateEffect::Answer(call, result) => {
                    self.notices.push(Notice::Answered { call, succeeded: result.is_ok() });
                }
                StateEffect::Save { key, .. } => {
                    self.broken = Some(format!("a save for export {} is left to lcores", key.id.0));
                }
            }
        }
    }

    fn send_to_all(&mut self, now: u64, message: impl Fn() -> Message) {
        for lcore in 0..self.lcores {
            self.send(lcore, now, message());
        }
    }

    /// Whether every lcore has the initiator state that the state manager has, of exports that are served.
    ///
    /// # Errors
    /// The export of which one has not.
    pub(crate) fn check_states(&self, lcores: &mut [Lcore]) -> Result<(), String> {
        let serving = self.lives.iter().filter(|life| life.life.as_ref().is_some_and(Lifecycle::serves));
        for life in serving {
            let Some((state, acl)) = self.states.of(life.key) else { continue };
            for (index, lcore) in lcores.iter_mut().enumerate() {
                let had = lcore.publish(life.key, &state, acl.as_ref());
                if had.is_empty() || had.iter().any(|(had, had_acl)| **had != *state || *had_acl != acl) {
                    return Err(format!(
                        "lcore {index} has another initiator state of export {} than the state manager",
                        life.key.id.0
                    ));
                }
            }
        }
        Ok(())
    }

    /// The stages of the exports that have not ended, for a report.
    pub(crate) fn left(&self) -> BTreeMap<usize, &'static str> {
        let lives = (0..).zip(&self.lives);
        lives.filter_map(|(export, life)| Some((export, life.life.as_ref()?.name()))).collect()
    }
}

/// Has an lcore carry out a task.
fn carry_out(
    lcore: &mut Lcore,
    key: ExportKey,
    task: Task,
    given: Option<(Box<Export>, Bdev)>,
    done: impl FnOnce(bool) + 'static,
) {
    match (task, given) {
        (Task::Prepare, Some((export, bdev))) => done(lcore.prepare(export, &bdev).is_ok()),
        (Task::Attach, Some((export, bdev))) => done(lcore.attach(export, &bdev).is_ok()),
        (Task::OpenOther, Some((export, bdev))) => done(lcore.open_other(export, &bdev).is_ok()),
        (Task::Hold, _) => lcore.hold(key, move || done(true)),
        (Task::FlushBdev, _) => lcore.flush_bdev(key, done),
        (Task::Exchange, _) => done(lcore.exchange(key).is_some()),
        (Task::Release, _) => {
            drop(lcore.release(key));
            done(true);
        }
        (Task::Prepare | Task::Attach | Task::OpenOther | Task::LeavePorts, _) => done(false),
        (Task::Serve | Task::Resume, _) => done(lcore.serve(key).is_ok()),
        (Task::TakeOffline, _) => lcore.take_offline(key, move || done(true)),
        (Task::Drain, _) => lcore.remove(key, move || done(true)),
        (Task::Confirm, _) => done(true),
    }
}
