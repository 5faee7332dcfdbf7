//! The life of one export, as a pure transition function: an event in, effects out.
//!
//! All state of an export's life is here. The glue executes effects and reports events; it decides nothing. What a fan-out
//! of messages to the lcores is waited for is a [`Round`]: every lcore reports once on each, and an export ends only when
//! no round is open, so that its id is free on every lcore.
//!
//! The diagram is in `docs/reliability.md`, section Lifecycle.

/// The stage of an export's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The configuration has it, and its bdev can't be served yet. No lcore has it.
    Waiting,
    /// The lcores open channels for it, then each serves it.
    Preparing,
    /// Every lcore serves it.
    Serving,
    /// As [`Stage::Serving`], but its bdev leaves requests without an answer.
    Degraded,
    /// Its bdev was removed: every lcore answers with a device fault.
    Offline,
    /// Its bdev has come back: the lcores open channels, and answer with a device fault until all have one.
    Rebinding,
    /// Its bdev or its options are being exchanged: initiators repeat what they ask until that is done.
    Changing,
    /// It is deleted: it takes no new requests, and ends when those in flight are answered.
    Draining,
    /// It could not be created: it is taken back from the lcores that have it.
    RollingBack,
    /// It is gone from every lcore.
    Ended,
}

/// Work for every lcore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Open a channel into the bdev. The export is not routed to yet.
    Prepare,
    /// Route requests to the prepared export.
    Serve,
    /// Answer with a device fault, and close the channel when nothing is in flight.
    TakeOffline,
    /// Open a channel into the bdev that has come back. Requests are still answered with a device fault.
    Attach,
    /// Serve the export by the attached channel.
    Resume,
    /// Open a channel into the bdev that the export is to go on with.
    OpenOther,
    /// Drop new requests, and report when nothing is in flight.
    Hold,
    /// Flush the bdev, so that all completed writes are on stable media.
    FlushBdev,
    /// Serve the export by the other channel.
    Exchange,
    /// Serve the export as before: it is not exchanged.
    Release,
    /// Leave ports.
    LeavePorts,
    /// Take no new request, and report when nothing is in flight.
    Drain,
    /// Report at once: messages are carried out in order, so the export takes no new request then.
    Confirm,
}

/// The number of a fan-out. A report carries it, so that a late one is not taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Round(u32);

/// An event in an export's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Create it, or try again: its bdev is open.
    Create,
    /// An lcore has carried out a task, or could not.
    Reported {
        /// The fan-out.
        round: Round,
        /// Whether it succeeded.
        done: bool,
    },
    /// Its bdev is being removed.
    BdevRemoved,
    /// Its bdev is there again, and open.
    BdevBack,
    /// Its bdev leaves requests without an answer.
    Degraded,
    /// Its bdev answers again.
    Recovered,
    /// A caller has it go on with another bdev or other options: the other bdev is open.
    Change,
    /// The bdev that it is to go on with is being removed.
    OtherBdevRemoved,
    /// A caller has it leave some of its ports.
    LeavePorts,
    /// A caller deletes it.
    Delete {
        /// The address is to be free although requests are in flight.
        force: bool,
    },
    /// What a caller waits for takes too long.
    Late,
}

/// The reason why a caller does not get what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An lcore could not carry out a task, or the bdev was removed meanwhile.
    Failed,
    /// Another request changes the export.
    Busy,
    /// Requests in flight have not been answered in time. The work goes on.
    Late,
    /// Another caller forced the deletion.
    Forced,
}

/// Work for the glue, to be done in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Every lcore carries out the task, and reports with this number.
    Run(Task, Round),
    /// The caller of the creation gets the export. It is served from now on.
    Created,
    /// The caller of the creation gets an error.
    RefuseCreate(Refusal),
    /// The export is served again by a bdev that came back.
    ServedAgain,
    /// The bdev could not be attached: it is tried again.
    NotAttached,
    /// It is served by the other bdev, with the other options, on every lcore: these take the place of those before, and the
    /// caller of the change is answered.
    Changed,
    /// The caller of the change gets an error: the export is served as before, or is not served any more.
    RefuseChange(Refusal),
    /// The control plane closes its handle of the bdev that the export does not go on with.
    CloseOther,
    /// The caller that had it leave ports is answered: it has left them.
    LeftPorts,
    /// The first caller of a deletion that waits is answered: the export takes no new requests, and without `force` none is
    /// in flight.
    Deleted,
    /// The first caller of a deletion that waits gets an error.
    RefuseDelete(Refusal),
    /// The control plane closes its handle of the bdev.
    CloseBdev,
    /// The export waits for its bdev again, with no trace on any lcore.
    Wait,
    /// The export is gone from every lcore: its id is free.
    Free,
}

/// A fan-out that some lcores have not reported on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Open {
    round: Round,
    task: Task,
    left: u32,
    failed: bool,
}

/// The life of one export.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    stage: Stage,
    /// Lcores that report on each round.
    lcores: u32,
    /// Rounds so far.
    rounds: u32,
    open: Vec<Open>,
    /// The configuration has it: a creation that fails is tried again.
    waits: bool,
    /// The control plane has the bdev open.
    has_bdev: bool,
    /// A caller of the creation waits.
    create_called: bool,
    /// A caller of the deletion waits.
    delete_called: bool,
    /// A caller waits until it has left ports.
    leave_called: bool,
    /// The deletion is forced.
    forced: bool,
    /// Every lcore has reported that it takes no new requests, and the deletion is forced.
    withdrawn: bool,
    drained: bool,
    /// A caller of a change waits.
    change_called: bool,
    /// The lcores go on with the other bdev now: there is no way back.
    exchanging: bool,
    /// The lcores go back to what was before.
    releasing: bool,
    /// The other bdev was removed.
    other_removed: bool,
    /// While it is being changed: its bdev leaves requests without an answer.
    degraded: bool,
}

impl Lifecycle {
    /// The life of an export whose bdev is open, and for whose creation a caller waits. [`Event::Create`] is the first event.
    /// That many lcores report on each round.
    #[must_use]
    pub fn new(lcores: u32) -> Self {
        Self {
            stage: Stage::Preparing,
            waits: false,
            has_bdev: true,
            create_called: true,
            ..Self::waiting(lcores)
        }
    }

    /// The life of an export that waits for its bdev. No caller waits.
    #[must_use]
    pub const fn waiting(lcores: u32) -> Self {
        Self {
            stage: Stage::Waiting,
            lcores,
            rounds: 0,
            open: Vec::new(),
            waits: true,
            has_bdev: false,
            create_called: false,
            delete_called: false,
            leave_called: false,
            forced: false,
            withdrawn: false,
            drained: false,
            change_called: false,
            exchanging: false,
            releasing: false,
            other_removed: false,
            degraded: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The word for the stage in answers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.stage {
            Stage::Waiting => "waiting",
            Stage::Preparing => "creating",
            Stage::Serving => "online",
            Stage::Degraded => "degraded",
            Stage::Offline => "offline",
            Stage::Rebinding => "rebinding",
            Stage::Changing => "changing",
            Stage::Draining if self.withdrawn => "quarantined",
            Stage::Draining | Stage::Ended => "deleting",
            Stage::RollingBack => "rolling-back",
        }
    }

    /// Whether its address is taken. A forced deletion frees it before the last request in flight has ended.
    #[must_use]
    pub const fn holds_address(&self) -> bool {
        !self.withdrawn
    }

    /// Whether requests of it can be at its bdev, or will be.
    #[must_use]
    pub const fn uses_bdev(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Offline | Stage::Ended)
    }

    /// Whether it takes requests and its bdev is there.
    #[must_use]
    pub const fn serves(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Degraded | Stage::Changing)
    }

    /// Whether it belongs into a saved configuration.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        matches!(
            self.stage,
            Stage::Waiting
                | Stage::Serving
                | Stage::Degraded
                | Stage::Changing
                | Stage::Offline
                | Stage::Rebinding
        )
    }

    /// Whether [`Event::BdevBack`] may come: the lcores have closed the channels that they had.
    #[must_use]
    pub fn may_rebind(&self) -> bool {
        self.stage == Stage::Offline && self.open.is_empty()
    }

    /// What another request does to it that must end before it is deleted or leaves ports, if there is one.
    #[must_use]
    pub const fn busy(&self, force: bool) -> Option<&'static str> {
        match self.stage {
            Stage::Preparing | Stage::RollingBack => Some("created"),
            Stage::Changing if force && !self.exchanging => None,
            Stage::Changing => Some("changed"),
            Stage::Draining if force && !self.forced => None,
            Stage::Draining | Stage::Ended => Some("deleted"),
            _ if self.leave_called => Some("deleted"),
            _ => None,
        }
    }

    /// Whether a caller waits, so that [`Event::Late`] matters.
    #[must_use]
    pub const fn has_caller(&self) -> bool {
        self.create_called || self.delete_called || self.change_called
    }

    /// Whether [`Event::Change`] may come.
    #[must_use]
    pub const fn may_change(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Degraded) && !self.leave_called
    }

    /// Carries out one event. An event that does not fit the stage changes nothing, but for a deletion, which is refused.
    #[must_use]
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Create => self.create(&mut effects),
            Event::Reported { round, done } => self.reported(round, done, &mut effects),
            Event::BdevRemoved => self.bdev_removed(&mut effects),
            Event::BdevBack if self.may_rebind() => {
                self.has_bdev = true;
                self.stage = Stage::Rebinding;
                self.run(Task::Attach, &mut effects);
            }
            Event::Degraded if self.stage == Stage::Serving => self.stage = Stage::Degraded,
            Event::Recovered if self.stage == Stage::Degraded => self.stage = Stage::Serving,
            Event::Degraded | Event::Recovered if self.stage == Stage::Changing => {
                self.degraded = event == Event::Degraded;
            }
            Event::BdevBack | Event::Degraded | Event::Recovered => {}
            Event::Change if self.may_change() => {
                self.degraded = self.stage == Stage::Degraded;
                (self.stage, self.change_called) = (Stage::Changing, true);
                (self.exchanging, self.releasing, self.other_removed) = (false, false, false);
                self.run(Task::OpenOther, &mut effects);
            }
            Event::Change => effects.extend([Effect::RefuseChange(Refusal::Busy), Effect::CloseOther]),
            Event::OtherBdevRemoved => self.other_removed |= self.stage == Stage::Changing,
            Event::LeavePorts if self.stage == Stage::Waiting => effects.push(Effect::LeftPorts),
            Event::LeavePorts if self.busy(false).is_none() => {
                self.leave_called = true;
                self.run(Task::LeavePorts, &mut effects);
            }
            Event::LeavePorts => effects.push(Effect::RefuseDelete(Refusal::Busy)),
            Event::Delete { force } => self.delete(force, &mut effects),
            Event::Late => self.late(&mut effects),
        }
        effects
    }

    fn run(&mut self, task: Task, effects: &mut Vec<Effect>) {
        self.rounds += 1;
        let round = Round(self.rounds);
        self.open.push(Open { round, task, left: self.lcores, failed: false });
        effects.push(Effect::Run(task, round));
    }

    fn create(&mut self, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Waiting => {
                self.has_bdev = true;
                self.stage = Stage::Preparing;
            }
            Stage::Preparing if self.rounds == 0 => {}
            _ => return,
        }
        self.run(Task::Prepare, effects);
    }

    fn reported(&mut self, round: Round, done: bool, effects: &mut Vec<Effect>) {
        let Some(index) = self.open.iter().position(|open| open.round == round) else { return };
        let open = &mut self.open[index];
        open.left -= 1;
        open.failed |= !done;
        if open.left == 0 {
            let Open { task, failed, .. } = self.open.remove(index);
            self.finished(task, !failed, effects);
            self.try_end(effects);
        }
    }

    /// Every lcore has reported on a task.
    fn finished(&mut self, task: Task, done: bool, effects: &mut Vec<Effect>) {
        match (self.stage, task) {
            (Stage::Preparing, Task::Prepare) if done && self.has_bdev => self.run(Task::Serve, effects),
            (Stage::Preparing, Task::Serve) if done && self.has_bdev => {
                self.stage = Stage::Serving;
                self.create_called = false;
                effects.push(Effect::Created);
            }
            (Stage::Preparing, _) => {
                self.stage = Stage::RollingBack;
                self.run(Task::Drain, effects);
            }
            (Stage::Rebinding, Task::Attach) if done => self.run(Task::Resume, effects),
            (Stage::Rebinding, Task::Resume) if done => {
                self.stage = Stage::Serving;
                effects.push(Effect::ServedAgain);
            }
            (Stage::Rebinding, Task::Attach | Task::Resume) => {
                effects.push(Effect::NotAttached);
                self.go_offline(effects);
            }
            (Stage::Changing, Task::OpenOther | Task::Hold | Task::FlushBdev) if self.releasing => {}
            (Stage::Changing, Task::OpenOther) if self.goes_on(done) => self.run(Task::Hold, effects),
            (Stage::Changing, Task::Hold) if self.goes_on(done) => self.run(Task::FlushBdev, effects),
            (Stage::Changing, Task::FlushBdev) if self.goes_on(done) => {
                self.exchanging = true;
                self.run(Task::Exchange, effects);
            }
            (Stage::Changing, Task::OpenOther | Task::Hold | Task::FlushBdev) => self.release(effects),
            (Stage::Changing, Task::Exchange) => self.changed(effects),
            (Stage::Changing, Task::Release) => {
                self.stage = if self.degraded { Stage::Degraded } else { Stage::Serving };
                self.refuse_change(Refusal::Failed, effects);
            }
            (_, Task::LeavePorts) => {
                self.leave_called = false;
                effects.push(Effect::LeftPorts);
            }
            (_, Task::Drain) => self.drained = true,
            (_, Task::Confirm) => {
                self.withdrawn = true;
                self.answer_deletion(effects);
            }
            // What the event after it has undone.
            _ => {}
        }
    }

    /// Whether a change goes on after a step that was done or not.
    const fn goes_on(&self, done: bool) -> bool {
        done && !self.other_removed
    }

    /// The lcores serve it as before a change that is not to be.
    fn release(&mut self, effects: &mut Vec<Effect>) {
        self.releasing = true;
        self.run(Task::Release, effects);
    }

    /// Every lcore serves it by the other bdev.
    fn changed(&mut self, effects: &mut Vec<Effect>) {
        self.stage = if self.degraded { Stage::Degraded } else { Stage::Serving };
        self.exchanging = false;
        self.change_called = false;
        effects.push(Effect::Changed);
        if self.other_removed {
            self.go_offline(effects);
        }
    }

    /// The change is not made: the caller is answered, unless it was, and what was opened for it is closed.
    fn refuse_change(&mut self, why: Refusal, effects: &mut Vec<Effect>) {
        if self.change_called {
            self.change_called = false;
            effects.push(Effect::RefuseChange(why));
        }
        effects.push(Effect::CloseOther);
    }

    fn try_end(&mut self, effects: &mut Vec<Effect>) {
        if !self.drained || !self.open.is_empty() {
            return;
        }
        self.close_bdev(effects);
        if self.stage == Stage::RollingBack && self.waits {
            let Self { lcores, rounds, .. } = *self;
            *self = Self { rounds, ..Self::waiting(lcores) };
            return effects.push(Effect::Wait);
        }
        if self.create_called {
            self.create_called = false;
            effects.push(Effect::RefuseCreate(Refusal::Failed));
        }
        self.answer_deletion(effects);
        self.stage = Stage::Ended;
        effects.push(Effect::Free);
    }

    fn answer_deletion(&mut self, effects: &mut Vec<Effect>) {
        if self.delete_called {
            self.delete_called = false;
            effects.push(Effect::Deleted);
        }
    }

    fn close_bdev(&mut self, effects: &mut Vec<Effect>) {
        if self.has_bdev {
            self.has_bdev = false;
            effects.push(Effect::CloseBdev);
        }
    }

    fn go_offline(&mut self, effects: &mut Vec<Effect>) {
        self.stage = Stage::Offline;
        self.close_bdev(effects);
        self.run(Task::TakeOffline, effects);
    }

    fn bdev_removed(&mut self, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Serving | Stage::Degraded | Stage::Rebinding => self.go_offline(effects),
            // Its bdev is being given up.
            Stage::Changing if self.exchanging => {}
            Stage::Changing => {
                self.refuse_change(Refusal::Failed, effects);
                self.go_offline(effects);
            }
            // The creation is rolled back when the lcores have reported; their channels keep the bdev until then.
            Stage::Preparing | Stage::Draining | Stage::RollingBack => self.close_bdev(effects),
            Stage::Waiting | Stage::Offline | Stage::Ended => {}
        }
    }

    fn delete(&mut self, force: bool, effects: &mut Vec<Effect>) {
        if self.busy(force).is_some() {
            return effects.push(Effect::RefuseDelete(Refusal::Busy));
        }
        match self.stage {
            Stage::Waiting => {
                self.stage = Stage::Ended;
                return effects.extend([Effect::Deleted, Effect::Free]);
            }
            Stage::Changing => {
                self.refuse_change(Refusal::Forced, effects);
                self.stage = Stage::Draining;
                self.run(Task::Drain, effects);
            }
            Stage::Draining if self.delete_called => effects.push(Effect::RefuseDelete(Refusal::Forced)),
            Stage::Draining => {}
            _ => {
                self.stage = Stage::Draining;
                self.run(Task::Drain, effects);
            }
        }
        self.delete_called = true;
        if force {
            self.forced = true;
            self.run(Task::Confirm, effects);
        }
    }

    fn late(&mut self, effects: &mut Vec<Effect>) {
        // A forced deletion waits for lcores only, not for a bdev.
        if self.stage == Stage::Draining && self.delete_called && !self.forced {
            self.delete_called = false;
            effects.push(Effect::RefuseDelete(Refusal::Late));
        }
        if self.stage == Stage::Changing && self.change_called && !self.exchanging && !self.releasing {
            self.change_called = false;
            effects.push(Effect::RefuseChange(Refusal::Late));
            self.release(effects);
        }
        if self.stage == Stage::RollingBack && self.create_called {
            self.create_called = false;
            effects.push(Effect::RefuseCreate(Refusal::Late));
        }
    }
}

#[cfg(test)]
mod tests;
