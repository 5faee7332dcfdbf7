//! A seed's run: initiators, links, lcores and devices take their steps in an order that follows from the seed, and every
//! rule is looked after.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use aoe_initiator::wire::{Body, Mac, Reply, command};
use aoe_target::ExportId;
use datapath::{Lcore, RX_BURST};
use ring_lab::frames;
use spdk::simulated;

use crate::{
    dice::Dice,
    history::History,
    initiators::{Action, Initiators, address, mac},
    link::{Carried, Link},
    plan::{Event, Op, Operation, Plan},
    target::Target,
};

/// Ticks after the last request's begin in which all must be over.
const MOST_TICKS: u64 = 200_000;
/// Ticks for what must end without a fault in its way.
const LAST_TICKS: u64 = 5_000;
/// Ticks for which an lcore stands still, or not.
const STALL: u64 = 64;

/// What a run was made of, for its summary.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) frames: u64,
    pub(crate) replies: u64,
    pub(crate) drops: u64,
    pub(crate) ticks: u64,
}

/// A transmission of a request.
#[derive(Debug, Clone, Copy)]
struct Transmission {
    op: u32,
    initiator: usize,
    /// Copies that arrived, whole or cut.
    arrived: u32,
    replies: u32,
}

struct World {
    plan: Plan,
    now: Rc<Cell<u64>>,
    /// Counts what happens, so that of two things one is the earlier.
    moment: u64,
    target: Target,
    link: Link,
    /// Frames at an lcore's rx queue that it has not polled yet. For the target they are still on the link.
    unpolled: Vec<VecDeque<Carried>>,
    initiators: Initiators,
    history: History,
    ops: BTreeMap<u32, Op>,
    transmissions: BTreeMap<u32, Transmission>,
    /// Changes of an export that an lcore has still to learn of.
    changes: Vec<(u64, usize, usize, Event)>,
    /// Exports with events.
    changing: BTreeSet<usize>,
    order: Dice,
    stalls: Dice,
    summary: Summary,
    drained: Rc<Cell<usize>>,
    deletes: usize,
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
    let target = Target::new(&plan, number, &now);
    let mut world = World {
        now,
        moment: 0,
        target,
        link: Link::new(plan.link, Dice::new(plan.seed, "link")),
        unpolled: vec![VecDeque::new(); plan.lcores],
        initiators: Initiators::new(&plan),
        history: History::new(&plan.ops, plan.exports.iter().map(|export| export.write_through).collect()),
        ops: plan.ops.iter().map(|op| (op.id, *op)).collect(),
        transmissions: BTreeMap::new(),
        changes: Vec::new(),
        changing: plan.events.iter().map(|(_, export, _)| *export).collect(),
        order: Dice::new(plan.seed, "order"),
        stalls: Dice::new(plan.seed, "stall"),
        summary: Summary { requests: plan.ops.len() as u64, ..Summary::default() },
        drained: Rc::default(),
        deletes: 0,
        busy: false,
        stalled: false,
        trace,
        plan,
    };
    world.serve()?;
    world.finish_all()?;
    world.history.check()?;
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
            let events =
                self.plan.events.iter().map(|(at, ..)| *at).chain(self.plan.power_cuts.iter().copied());
            let changes = self.changes.iter().map(|(at, ..)| *at);
            let due =
                disks.chain(events).chain(changes).chain(self.link.next()).chain(self.initiators.next());
            let stalls = self.stalled.then(|| next.next_multiple_of(STALL));
            to = due.chain(stalls).filter(|at| *at >= next).min().unwrap_or(next);
        }
        self.now.set(to);
        self.summary.ticks += 1;
    }

    /// One tick: everybody has a turn.
    fn tick(&mut self) -> Result<(), String> {
        (self.busy, self.stalled) = (false, false);
        self.happen();
        while let Some(action) = self.initiators.act(self.now()) {
            self.busy = true;
            self.act(action)?;
        }
        for frame in self.link.arrived(self.now()) {
            self.busy = true;
            if frame.to_target {
                self.unpolled[frame.initiator % self.plan.lcores].push_back(frame);
            } else {
                self.accept(&frame)?;
            }
        }
        let mut turns: Vec<(u64, usize)> = (0..self.plan.lcores)
            .map(|lcore| (self.order.roll(&[self.now(), lcore as u64]), lcore))
            .collect();
        turns.sort_unstable();
        for (_, lcore) in turns {
            if self.stalls.permille(self.plan.stall, &[self.now() / STALL, lcore as u64]) {
                self.stalled |= !self.unpolled[lcore].is_empty() || self.has_stopped_work(lcore);
            } else {
                self.deliver(lcore);
                self.busy |= self.target.lcores[lcore].turn();
                self.collect(lcore)?;
            }
        }
        self.complete();
        Ok(())
    }

    /// Events and the lcores' learning of them.
    fn happen(&mut self) {
        let now = self.now();
        let due: Vec<(u64, usize, Event)> = self.plan.events.extract_if(.., |(at, ..)| *at <= now).collect();
        for (at, export, event) in due {
            self.note(|| format!("{event:?} of export {export}"));
            if event == Event::Shrink {
                self.target.disks[export].borrow_mut().shrink();
            }
            for lcore in 0..self.plan.lcores {
                let late = self.order.below(50, &[at, export as u64, lcore as u64, 1]);
                self.changes.push((now + late, lcore, export, event));
            }
        }
        let due: Vec<(u64, usize, usize, Event)> =
            self.changes.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, lcore, export, event) in due {
            self.change(lcore, export, event);
        }
    }

    fn change(&mut self, lcore: usize, export: usize, event: Event) {
        self.busy = true;
        let id = ExportId(u32::try_from(export).unwrap_or(u32::MAX));
        let lcore = &mut self.target.lcores[lcore];
        match event {
            Event::Delete => {
                let drained = Rc::clone(&self.drained);
                self.deletes += 1;
                lcore.remove(id, move || drained.set(drained.get() + 1));
            }
            Event::TakeOffline => lcore.take_offline(id, || ()),
            Event::Shrink => lcore.resize(id, self.target.disks[export].borrow().sectors_now()),
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let frame = match action {
            Action::Wait => return Ok(()),
            Action::GaveUp(op) => {
                self.note(|| format!("request {} is given up", op.id));
                return if self.is_healthy(op.export) {
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
        let Carried { op, tag, initiator, .. } = frame;
        self.history.began(op, at);
        let transmission = Transmission { op, initiator, arrived: 0, replies: 0 };
        self.transmissions.insert(tag, transmission);
        let copies = self.link.send(self.now(), frame);
        self.note(|| {
            format!("initiator {initiator} sends {:?}, tag {tag:08x}, {copies} copies arrive", self.ops[&op])
        });
        if let Some(request) = self.initiators.outstanding(op) {
            request.inside += copies;
        }
        Ok(())
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
            if let Some(transmission) = self.transmissions.get_mut(&frame.tag) {
                transmission.arrived += 1;
            }
            if !frame.is_cut {
                self.history.copy_arrived(frame.op);
            }
        }
    }

    /// Looks at what an lcore sent.
    fn collect(&mut self, lcore: usize) -> Result<(), String> {
        while let Some(bytes) = self.target.sent(lcore) {
            self.busy = true;
            self.summary.replies += 1;
            let reply = Reply::parse(&bytes).map_err(|error| format!("a reply is malformed: {error}"))?;
            let breaches = reply.breaches();
            if !breaches.is_empty() {
                return Err(format!("a reply breaks the protocol: {}", breaches.join("; ")));
            }
            let tag = reply.tag;
            let Some(transmission) = self.transmissions.get_mut(&tag) else {
                return Err(format!("a reply has tag {tag:08x}, which no request had"));
            };
            transmission.replies += 1;
            let Transmission { op, initiator, arrived, replies } = *transmission;
            if replies > arrived {
                return Err(format!(
                    "{replies} replies to {arrived} copies of tag {tag:08x} of request {op}"
                ));
            }
            let export = self.ops[&op].export;
            let expected = (Mac(mac(initiator)), Mac(frames::TARGET), address(export), command::ATA);
            if (reply.dst, reply.src, reply.address, reply.command) != expected {
                return Err(format!("a reply to request {op} has other addresses: {reply:?}"));
            }
            self.note(|| format!("lcore {lcore} replies to tag {tag:08x} of request {op}"));
            let frame = Carried { initiator, to_target: false, op, tag, bytes, is_cut: false };
            let copies = self.link.send(self.now(), frame);
            if copies == 0
                && let Some(request) = self.initiators.outstanding(op)
            {
                request.inside = request.inside.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// A reply arrives at its initiator.
    fn accept(&mut self, frame: &Carried) -> Result<(), String> {
        let Some(request) = self.initiators.outstanding(frame.op) else { return Ok(()) };
        request.inside = request.inside.saturating_sub(1);
        if request.newest != frame.tag {
            return Ok(());
        }
        let op = request.op;
        let reply = Reply::parse(&frame.bytes).map_err(|error| error.to_string())?;
        let (failed, data) = match reply.body {
            _ if reply.is_error() => (true, &[][..]),
            Body::Ata(ata) => (ata.failed(), ata.data),
            _ => return Err(format!("the reply to request {} is of another command", op.id)),
        };
        if failed && self.is_healthy(op.export) {
            return Err(format!(
                "request {} to export {}, which has no fault, failed: {reply:?}",
                op.id, op.export
            ));
        }
        let asked = usize::try_from(op.sectors).unwrap_or(0) * 512;
        if !failed && op.operation == Operation::Read && data.len() < asked {
            return Err(format!("read {} got {} bytes", op.id, data.len()));
        }
        let at = self.moment();
        self.note(|| format!("request {} is over{}", op.id, if failed { ", with an error" } else { "" }));
        self.initiators.remove(op.id);
        self.history.ended(&op, at, !failed, data)?;
        self.link.withdraw(op.id);
        self.unpolled.iter_mut().for_each(|frames| frames.retain(|frame| frame.op != op.id));
        Ok(())
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
    fn complete(&mut self) {
        for (index, disk) in self.target.disks.iter().enumerate() {
            let done = disk.borrow_mut().advance();
            for (io, status) in done {
                self.busy = true;
                self.note(|| format!("I/O {io} of export {index} completes: {status:?}"));
                simulated::complete(io, status);
            }
            self.busy |= disk.borrow_mut().was_used();
        }
    }

    /// What would be left now?
    fn cut_power(&mut self) -> Result<(), String> {
        let now = self.now();
        let due: Vec<u64> = self.plan.power_cuts.extract_if(.., |at| *at <= now).collect();
        for cut in due {
            let at = self.moment();
            let dice = Dice::new(self.plan.seed, "power");
            for (export, disk) in self.target.disks.iter().enumerate() {
                for lba in 0..crate::plan::SECTORS {
                    self.history.survived(export, lba, disk.borrow().survivor(lba, dice, cut), at)?;
                }
            }
        }
        Ok(())
    }

    /// Without faults from now on: everything in flight ends, every frame is accounted for.
    fn finish_all(&mut self) -> Result<(), String> {
        (self.plan.stall, self.plan.events) = (0, Vec::new());
        self.link.calm();
        for disk in &self.target.disks {
            disk.borrow_mut().calm();
        }
        let limit = self.now() + LAST_TICKS;
        let mut quiet = 0;
        // Lcores look into their queues some more times after the last frame.
        while quiet < 20 {
            self.tick()?;
            let in_flight =
                self.target.snapshots().map(|snapshot| u64::from(snapshot.in_flight)).sum::<u64>()
                    + self.target.disks.iter().map(|disk| disk.borrow().in_flight() as u64).sum::<u64>();
            let unpolled = self.unpolled.iter().any(|frames| !frames.is_empty());
            let waits = unpolled || self.link.next().is_some() || !self.changes.is_empty();
            quiet = if self.busy || waits || in_flight > 0 { 0 } else { quiet + 1 };
            if self.now() > limit {
                return Err(format!(
                    "{in_flight} requests are in flight {LAST_TICKS} ticks after all bdevs have answered"
                ));
            }
            self.now.set(self.now() + 1);
        }
        let (mut received, mut sent, mut drops) = (0, 0, 0);
        for queue in self.target.snapshots().flat_map(|snapshot| snapshot.queues) {
            received += queue.counters.rx_frames;
            sent += queue.counters.tx_frames;
            drops += queue.drops.total();
        }
        self.summary.drops = drops;
        if (received, sent) != (self.summary.frames, self.summary.replies) {
            return Err(format!(
                "counted {received} frames received and {sent} sent; there were {} and {}",
                self.summary.frames, self.summary.replies
            ));
        }
        if received != sent + drops {
            return Err(format!(
                "{received} frames were received, {sent} answered and {drops} dropped with a reason"
            ));
        }
        let at = self.moment();
        for (export, disk) in self.target.disks.iter().enumerate() {
            for lba in 0..crate::plan::SECTORS {
                self.history.is_left(export, lba, disk.borrow().content(lba), at)?;
            }
        }
        Ok(())
    }

    /// Deletes every export and stops every lcore.
    fn end(mut self) -> Result<Summary, String> {
        for lcore in 0..self.plan.lcores {
            for export in 0..self.plan.exports.len() {
                self.change(lcore, export, Event::Delete);
            }
        }
        for _ in 0..4 {
            self.target.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        }
        if self.drained.get() != self.deletes {
            return Err(format!(
                "{} of {} exports have drained at the end",
                self.drained.get(),
                self.deletes
            ));
        }
        self.target.lcores.iter_mut().for_each(Lcore::stop);
        self.target.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        if !self.target.lcores.iter().all(Lcore::is_idle) {
            return Err("an lcore is not idle after its stop".into());
        }
        self.target.close()?;
        Ok(self.summary)
    }
}
