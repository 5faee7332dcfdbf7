//! A seed's run: initiators, links, lcores, devices and the control plane take their steps in an order that follows from
//! the seed, and every rule is looked after.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use aoe_target::InitiatorState;
use control::initiator_state;
use datapath::RX_BURST;
use spdk::simulated;
use state_store::{Store, Stored};

use crate::{
    control_plane::{self, ControlPlane, Notice},
    deadlines::Waits,
    dice::Dice,
    frame,
    history::{History, Promise},
    initiators::{Action, Initiators},
    link::{Carried, Link},
    plan::{Call, Event, ExportPlan, Op, Plan, Unmapped, Wanted},
    questions::Questions,
    registers::Registers,
    rules::Rules,
    state_directory::Contents,
    target::Target,
};

mod calls;
mod end;
mod replies;

/// Ticks after the last request's begin in which all must be over.
const MOST_TICKS: u64 = 1_000_000;
/// Ticks for the creation of the exports.
const FIRST_TICKS: u64 = 20_000;
/// Ticks for which an lcore stands still, or not.
const STALL: u64 = 64;
/// Ticks after which idle lcores look at their clocks, and the turns that this takes.
const LOOK: u64 = 500;
const LOOK_TURNS: u64 = 64;
/// Losses of power that are tried at each step of a save.
const STATE_CUTS: u64 = 3;

/// What a run was made of, for its summary.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) frames: u64,
    pub(crate) replies: u64,
    pub(crate) drops: u64,
    pub(crate) ticks: u64,
}

/// A transmission of a request or question.
#[derive(Debug, Clone, Copy)]
struct Transmission {
    /// 0 for a question's.
    op: u32,
    initiator: usize,
    /// The tag of a VLAN.
    tci: Option<u16>,
    /// Copies that arrived, whole or cut, and the moment of the first one.
    arrived: u32,
    first: u64,
    replies: u32,
}

/// An export that takes no requests.
#[derive(Debug, Clone, Copy)]
struct Closed {
    at: u64,
    /// Requests from before may still be answered.
    forced: bool,
}

struct World {
    plan: Plan,
    now: Rc<Cell<u64>>,
    /// Ticks that the creation of the exports took, before tick 0.
    creation: u64,
    /// Counts what happens, so that of two things one is the earlier.
    moment: u64,
    target: Target,
    control: ControlPlane,
    link: Link,
    /// Frames at an lcore's rx queue that it has not polled yet. For the target they are still on the link.
    unpolled: Vec<VecDeque<Carried>>,
    initiators: Initiators,
    questions: Questions,
    history: History,
    registers: Registers,
    rules: Rules,
    waits: Waits,
    ops: BTreeMap<u32, Op>,
    /// Calls that are not answered yet.
    calls: BTreeMap<u32, Call>,
    transmissions: BTreeMap<u32, Transmission>,
    /// Exports with events.
    changing: BTreeSet<usize>,
    /// By slot.
    closed: BTreeMap<u8, Closed>,
    order: Dice,
    stalls: Dice,
    summary: Summary,
    /// Something happened in this tick.
    busy: bool,
    /// An lcore that stood still in this tick has something to do.
    stalled: bool,
    trace: bool,
}

/// Runs a plan.
///
/// # Errors
/// The rule that was broken.
pub(crate) fn run(plan: Plan, number: u64, trace: bool) -> Result<Summary, String> {
    let now = Rc::new(Cell::new(0));
    simulated::set_clock(0);
    let mut target = Target::new(&plan, number, &now);
    let promises = plan.exports.iter().map(|export| Promise {
        write_through: export.write_through,
        // A part of a block stays as it is.
        trim_zeros: export.disk.unmapped == Unmapped::Zeros && export.disk.sectors_per_block == 1,
    });
    // Requests to an export that follows another, and reservations, get errors that are no fault; changes of state may not be saved.
    let reserved = plan.ops.iter().filter(|op| op.sets_state());
    let followed = (0..).zip(&plan.exports).filter(|(_, export)| export.follows.is_some());
    let changing = plan.events.iter().map(|(_, export, _)| *export);
    let changing = changing.chain(reserved.map(|op| op.export)).chain(followed.map(|(export, _)| export));
    let reserves = |call: &&Call| matches!(call.wanted, Wanted::Reserve { .. });
    let changing = changing.chain(plan.calls.iter().filter(reserves).map(|call| call.export));
    let requests = plan.calls.iter().filter_map(Call::as_request);
    let with_calls: Vec<Op> = plan.ops.iter().copied().chain(requests).collect();
    let mut world = World {
        now,
        creation: 0,
        moment: 0,
        control: ControlPlane::new(&plan, &target.disks, &mut target.lcores),
        target,
        link: Link::new(plan.link, plan.dice("link")),
        unpolled: vec![VecDeque::new(); plan.lcores],
        initiators: Initiators::new(&plan),
        questions: Questions::new(&plan),
        history: History::new(&plan.ops, promises.collect()),
        registers: Registers::new(&with_calls, |export| plan.exports[export].slot),
        rules: Rules::default(),
        waits: Waits::new(&plan),
        ops: plan.ops.iter().map(|op| (op.id, *op)).collect(),
        calls: BTreeMap::new(),
        transmissions: BTreeMap::new(),
        changing: changing.collect(),
        closed: BTreeMap::new(),
        order: plan.dice("order"),
        stalls: plan.dice("stall"),
        summary: Summary { requests: plan.ops.len() as u64, ..Summary::default() },
        busy: false,
        stalled: false,
        trace,
        plan,
    };
    world.create_all()?;
    world.serve()?;
    world.finish_all()?;
    world.history.check()?;
    world.registers.check()?;
    world.end()
}

impl World {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:6} {:6} {}", self.now(), self.moment, text());
        }
    }

    fn set_time(&mut self, now: u64) {
        self.now.set(now);
        simulated::set_clock(self.creation + now);
        self.summary.ticks += 1;
    }

    /// Creates the exports; time begins when all are served.
    fn create_all(&mut self) -> Result<(), String> {
        let follows: Vec<bool> = self.plan.exports.iter().map(|export| export.follows.is_some()).collect();
        for (export, _) in (0..).zip(follows).filter(|(_, follows)| !follows) {
            self.control.create(export, 0);
        }
        while !(self.control.all_serve() && self.control.is_quiet()) {
            self.turn_all()?;
            self.busy |= self.control.tick(self.now())?;
            self.take_notices()?;
            self.set_time(self.now() + 1);
            if self.now() > FIRST_TICKS {
                return Err(format!("not all exports are served after {FIRST_TICKS} ticks"));
            }
        }
        self.creation = self.now();
        self.set_time(0);
        Ok(())
    }

    /// Until every request is answered or given up.
    fn serve(&mut self) -> Result<(), String> {
        let limit = self.plan.ops.last().map_or(0, |op| op.at) + MOST_TICKS;
        while !self.initiators.is_done() {
            self.tick()?;
            self.cut_power()?;
            if self.now() > limit {
                return Err(format!("requests were neither answered nor given up by tick {limit}"));
            }
            self.advance();
        }
        Ok(())
    }

    /// To the next tick in which something can happen.
    fn advance(&mut self) {
        let next = self.now() + 1;
        let mut to = next;
        if !self.busy {
            let disks = self.target.disks.iter().filter_map(|disk| disk.borrow().next());
            let events = self.plan.events.iter().map(|(at, ..)| *at);
            let events = events.chain(self.plan.calls.iter().map(|call| call.at));
            let cuts = self.plan.power_cuts.iter().copied();
            let works = self.target.lcores.iter().any(|lcore| lcore.in_flight() > 0);
            let due = disks.chain(events).chain(cuts).chain(self.control.next()).chain(self.link.next());
            let due = due.chain(self.initiators.next()).chain(self.questions.next());
            let stalls = self.stalled.then(|| next.next_multiple_of(STALL));
            let looks = works.then(|| next.next_multiple_of(LOOK));
            to = due.chain(stalls).chain(looks).filter(|at| *at >= next).min().unwrap_or(next);
        }
        self.set_time(to);
    }

    /// One tick: everybody has a turn.
    fn tick(&mut self) -> Result<(), String> {
        (self.busy, self.stalled) = (false, false);
        self.happen();
        self.make_calls();
        while let Some(action) = self.initiators.act(self.now()) {
            self.busy = true;
            self.act(action)?;
        }
        while let Some((asked, tag)) = self.questions.ask(self.now()) {
            self.busy = true;
            let bytes = frame::question(&asked, &self.plan.exports, tag);
            let tci = frame::tci(&self.plan.initiators[asked.initiator], asked.vlan);
            self.note(|| format!("{asked:?}, tag {tag:08x}"));
            self.send(0, asked.initiator, tag, tci, frame::tagged(bytes, tci));
        }
        for frame in self.link.arrived(self.now()) {
            self.busy = true;
            if frame.to_target {
                self.unpolled[frame.initiator % self.plan.lcores].push_back(frame);
            } else {
                self.accept(&frame)?;
            }
        }
        self.turn_all()?;
        self.busy |= self.control.tick(self.now())?;
        self.cut_saves()?;
        self.take_notices()?;
        self.complete()
    }

    /// Every lcore that does not stand still has a turn, after its messages; some turns when it is time to look at the clock.
    fn turn_all(&mut self) -> Result<(), String> {
        let now = self.now();
        let mut turns: Vec<(u64, usize)> =
            (0..self.plan.lcores).map(|lcore| (self.order.roll(&[now, lcore as u64]), lcore)).collect();
        turns.sort_unstable();
        let looks = now.is_multiple_of(LOOK);
        for (_, lcore) in turns {
            if self.stalls.permille(self.plan.stall, &[now / STALL, lcore as u64]) {
                self.stalled |= !self.unpolled[lcore].is_empty() || self.has_stopped_work(lcore);
                continue;
            }
            self.busy |= self.control.deliver(lcore, &mut self.target.lcores[lcore], now);
            self.deliver(lcore);
            for _ in 0..if looks { LOOK_TURNS } else { 1 } {
                self.busy |= self.target.lcores[lcore].turn();
            }
            self.collect(lcore)?;
        }
        if looks { self.waits.check(&self.ops, now) } else { Ok(()) }
    }

    /// What the plan says of this moment.
    fn happen(&mut self) {
        let now = self.now();
        let due: Vec<(u64, usize, Event)> = self.plan.events.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, export, event) in due {
            self.busy = true;
            self.note(|| format!("{event:?} of export {export}"));
            let accepted = self.control.event(export, event, now);
            if event == Event::Force {
                // Initiators know that, and ask for it no more; nor for the one that follows it if it stays.
                let follows = |(next, plan): (usize, &ExportPlan)| {
                    (plan.follows == Some(export) && !accepted).then_some(next)
                };
                let next = (0..).zip(&self.plan.exports).find_map(follows);
                let left = [Some(export).filter(|_| accepted), next].into_iter().flatten();
                for op in left.flat_map(|export| self.initiators.leave(export)).collect::<Vec<Op>>() {
                    self.forget(op.id);
                }
            }
        }
    }

    /// Nothing of a request is on its way any more.
    fn forget(&mut self, op: u32) {
        self.waits.forget(op);
        self.link.withdraw(op);
        self.unpolled.iter_mut().for_each(|frames| frames.retain(|frame| frame.op != op));
    }

    fn take_notices(&mut self) -> Result<(), String> {
        for notice in self.control.take_notices() {
            self.note(|| format!("{notice:?}"));
            match notice {
                Notice::Creating(export) => {
                    self.closed.remove(&self.plan.exports[export].slot);
                }
                Notice::Created(export) => self.initiators.open(export),
                Notice::Deleted { export, forced } => {
                    let at = self.moment();
                    self.closed.insert(self.plan.exports[export].slot, Closed { at, forced });
                    let mut exports = (0..).zip(&self.plan.exports);
                    if let Some((next, _)) = exports.find(|(_, next)| next.follows == Some(export)) {
                        self.control.create(next, self.now());
                    }
                }
                Notice::Answered { call, succeeded } => self.answered(call, succeeded)?,
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let frame = match action {
            Action::Wait => return Ok(()),
            Action::GaveUp(op) => {
                self.note(|| format!("request {} is given up", op.id));
                self.waits.forget(op.id);
                // Where many requests meet on a sector, copies can be answered too late one after the other.
                let answered = |sent: &Transmission| sent.op == op.id && sent.replies > 0;
                return if self.is_healthy(op.export) && !self.transmissions.values().any(answered) {
                    Err(format!(
                        "request {} to export {}, which has no fault, got no reply",
                        op.id, op.export
                    ))
                } else {
                    Ok(())
                };
            }
            Action::Send(frame) => frame,
        };
        let at = self.moment();
        let Carried { op, tag, initiator, bytes, .. } = frame;
        self.history.began(op, at);
        let export = &self.plan.exports[self.ops[&op].export];
        self.registers.began(&self.ops[&op], export.slot, at);
        let tci = frame::tci(&self.plan.initiators[initiator], export.vlan);
        let copies = self.send(op, initiator, tag, tci, bytes);
        self.note(|| {
            format!("initiator {initiator} sends {:?}, tag {tag:08x}, {copies} copies arrive", self.ops[&op])
        });
        if let Some(request) = self.initiators.outstanding(op) {
            request.inside += copies;
        }
        Ok(())
    }

    /// Sends a frame to the target. Returns how many copies arrive.
    fn send(&mut self, op: u32, initiator: usize, tag: u32, tci: Option<u16>, bytes: Vec<u8>) -> u32 {
        let transmission = Transmission { op, initiator, tci, arrived: 0, first: 0, replies: 0 };
        self.transmissions.insert(tag, transmission);
        self.link.send(self.now(), Carried { initiator, to_target: true, op, tag, bytes, is_cut: false })
    }

    /// Whether an lcore that stands still has a completion to look at or a frame that another one handed over.
    fn has_stopped_work(&self, lcore: usize) -> bool {
        self.plan.distribute || self.target.lcores[lcore].in_flight() > 0
    }

    /// Puts frames into an lcore's rx queue, no more than it takes in the turn that follows.
    fn deliver(&mut self, lcore: usize) {
        for _ in 0..RX_BURST {
            let Some(frame) = self.unpolled[lcore].pop_front() else { return };
            if !self.target.deliver(lcore, &frame.bytes) {
                self.note(|| format!("no mbuf or no room for tag {:08x}", frame.tag));
                if let Some(request) = self.initiators.outstanding(frame.op) {
                    request.inside -= 1;
                }
                continue;
            }
            self.note(|| format!("tag {:08x} of request {} arrives at lcore {lcore}", frame.tag, frame.op));
            self.summary.frames += 1;
            let at = self.moment();
            if let Some(transmission) = self.transmissions.get_mut(&frame.tag) {
                transmission.arrived += 1;
                if transmission.first == 0 {
                    transmission.first = at;
                }
            }
            if frame.is_cut {
                continue;
            }
            self.history.copy_arrived(frame.op);
            match self.ops.get(&frame.op) {
                Some(op) => {
                    self.registers.arrived(op, self.plan.exports[op.export].slot);
                    self.rules.arrived(op, at);
                    self.waits.arrived(op, self.now());
                }
                None => self.questions.arrived(frame.tag),
            }
        }
    }

    /// Whether nothing stands between an initiator and this export.
    fn is_healthy(&self, export: usize) -> bool {
        let disk = &self.plan.exports[export].disk;
        let link = &self.plan.link;
        disk.fail == 0
            && disk.hang == 0
            && disk.late == 0
            && disk.no_memory == 0
            && disk.fails_on.is_none()
            && link.loss == 0
            && link.truncate == 0
            && !self.changing.contains(&export)
    }

    /// Lets devices work.
    fn complete(&mut self) -> Result<(), String> {
        for (index, disk) in self.target.disks.iter().enumerate() {
            let done = disk.borrow_mut().advance();
            for writer in disk.borrow_mut().take_writers() {
                let initiator = self.ops[&writer].initiator;
                if let Some(change) = self.rules.forbidding(index, initiator) {
                    return Err(format!(
                        "request {writer} writes to export {index}, from which reservation {change} keeps its initiator off"
                    ));
                }
            }
            for (io, status) in done {
                self.busy = true;
                self.note(|| format!("I/O {io} of export {index} completes: {status:?}"));
                simulated::complete(io, status);
            }
            self.busy |= disk.borrow_mut().was_used();
        }
        Ok(())
    }

    /// What would be left now?
    fn cut_power(&mut self) -> Result<(), String> {
        let now = self.now();
        let due: Vec<u64> = self.plan.power_cuts.extract_if(.., |at| *at <= now).collect();
        for cut in due {
            let at = self.moment();
            let dice = self.plan.dice("power");
            for (export, disk) in self.target.disks.iter().enumerate() {
                for lba in 0..crate::plan::SECTORS {
                    self.history.survived(export, lba, disk.borrow().survivor(lba, dice, cut), at)?;
                }
            }
            let contents = self.control.state_directory().contents();
            self.cut_state(&contents, at)?;
        }
        Ok(())
    }

    /// What would a loss of power at each step of the saves of this tick have left?
    fn cut_saves(&mut self) -> Result<(), String> {
        for contents in self.control.state_directory().take_trail() {
            let at = self.moment();
            self.cut_state(&contents, at)?;
        }
        Ok(())
    }

    /// Opens what losses of power would leave of the state directory, as the program does.
    fn cut_state(&mut self, contents: &Contents, at: u64) -> Result<(), String> {
        let dice = self.plan.dice("state directory");
        for cut in 0..STATE_CUTS {
            let survivor = contents.survivor(dice, at * STATE_CUTS + cut);
            let opened =
                Store::of(survivor, initiator_state::from_payload).map_err(|error| error.to_string())?;
            if let Some(damaged) = opened.set_aside.first() {
                return Err(format!("a loss of power at {at} leaves damaged initiator state: {damaged:?}"));
            }
            let slots: BTreeSet<u8> = self.plan.exports.iter().map(|export| export.slot).collect();
            for slot in slots {
                match opened.stored.get(&control_plane::state_name(slot)) {
                    None => self.registers.survived(slot, &InitiatorState::default(), at)?,
                    Some(Stored::Intact(state)) => self.registers.survived(slot, state, at)?,
                    Some(Stored::Unknown(why)) => return Err(format!("state of slot {slot}: {why}")),
                }
            }
        }
        Ok(())
    }
}
