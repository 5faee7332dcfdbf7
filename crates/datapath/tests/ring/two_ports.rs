//! Two ports, each polled by an lcore of its own: an export that both reach has one lcore that carries out its commands, and each
//! reply leaves by the port that its request came by. Both lcores are turned here, so that it is known what each had the chance to do.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use aoe_target::{
    DropReason, ExportCounters, ExportId, MacAddr, PortId, PortLimits, PortSet, Ports, ShelfSlot,
};
use datapath::distribute::owner_of;
use datapath::{DistributeBy, DistributedPort, Distribution, Lcore, PortQueue, PortQueueStats};
use dpdk::{Mempool, PeerRing, Port, ring_port};
use ring_lab::export;
use ring_lab::frames::{self, DATA, flush, pattern, read, status, tag, write};
use spdk::Bdev;

use crate::bench::Bench;
use crate::features::{TRIMS, trim_frame};
use crate::script::{Scenario, Step};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("requests_by_two_ports_meet_at_the_first_s_lcore", || meet(0)),
    ("requests_by_two_ports_meet_at_the_second_s_lcore", || meet(1)),
    ("an_acknowledged_write_by_one_port_is_not_undone_by_the_other_s_stalled_lcore", || stalled(1)),
    ("a_stalled_owner_acknowledges_no_write_by_either_port", || stalled(0)),
    ("a_copy_by_the_other_port_takes_no_bdev_io_and_both_are_answered", copy_by_the_other),
    ("an_export_of_one_port_stays_on_its_lcore", stays),
    ("replies_wait_when_the_ring_to_their_port_s_lcore_is_full", returns_full),
    ("requests_beyond_the_owner_s_mbufs_of_a_port_are_dropped_there", beyond_the_budget),
    ("a_fault_past_the_deadline_leaves_by_the_request_s_port", overdue),
    ("an_export_removed_while_replies_are_away_drains", removed),
    ("lcores_that_stop_answer_what_they_have_for_each_other", stop),
    ("a_flush_and_a_trim_by_the_other_port_are_the_owner_s", messages),
];

const MBUFS: u32 = 1023;
/// Mbufs that hold requests of a port at the lcore of the other one.
const SHARE: u32 = 64;
/// The address of each port.
const MACS: [[u8; 6]; 2] = [frames::TARGET, [6, 0, 0, 0, 0, 1]];

/// The lowest slot of shelf 1 whose export this lcore owns, if both reach it.
fn slot_of(owner: usize) -> u8 {
    let address = |slot: u8| -> ShelfSlot { format!("1.{slot}").parse().expect("an address") };
    (1..=254).find(|slot| owner_of(address(*slot), 2) == owner).expect("half of them")
}

struct TwoPorts {
    lcores: Vec<Lcore>,
    peers: Vec<PeerRing>,
    ports: Vec<Port>,
    pools: Vec<Arc<Mempool>>,
}

impl TwoPorts {
    /// Port n is polled by lcore n. Rings between the lcores hold `capacity` frames.
    fn new(capacity: u32) -> Self {
        let (mut peers, mut pools, mut ports, mut distributed) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut numbers = Vec::new();
        for lcore in 0..2 {
            let name = format!("two{lcore}");
            let (number, peer) = ring_port(ring_lab::eal(), &name, 256).expect("a ring port");
            let pool = ring_lab::mempool(&name, MBUFS, 9216);
            ports.push(ring_lab::start(number, vec![Arc::clone(&pool)]));
            distributed.push(DistributedPort {
                port: PortId(number),
                lcores: vec![lcore],
                by: DistributeBy::Export,
                capacity,
                numa_node: None,
            });
            numbers.push(PortId(number));
            peers.push(peer);
            pools.push(pool);
        }
        let limits = PortLimits::for_mtu(9000).expect("9000 is enough");
        let parts = Distribution::among(ring_lab::eal(), 2, &distributed).expect("rings");
        let mut queues = [Vec::new(), Vec::new()];
        for (nth, parts) in parts.into_iter().enumerate() {
            let (number, mac) = (numbers[nth], MacAddr(MACS[nth]));
            for part in parts.queues {
                let pair = ports[nth].take_queues(0).expect("a queue pair");
                queues[nth].push(PortQueue::new(number, mac, limits, pair, true).distributed(part));
            }
            for (lcore, part) in parts.others {
                assert_eq!(lcore, 1 - nth);
                let pool = Arc::clone(&pools[nth]);
                queues[lcore].push(PortQueue::detached(number, mac, limits, pool, SHARE, part));
            }
        }
        let lcores = queues.map(|queues| Lcore::new(queues).expect("an lcore")).into();
        Self { lcores, peers, ports, pools }
    }

    fn number(&self, port: usize) -> PortId {
        // Each lcore's first queue is its own port's or the first port's detached one.
        let queues = self.lcores[port].snapshot().queues;
        queues[port].port
    }

    fn add(&mut self, id: u32, slot: u8, ports: Ports, bdev: &Bdev, io_timeout: Option<u8>) {
        for lcore in &mut self.lcores {
            let mut added = export(id, &format!("1.{slot}"), bdev).on(ports);
            added.configure(|settings| {
                settings.features = TRIMS;
                settings.io_timeout = io_timeout.unwrap_or(settings.io_timeout);
            });
            lcore.add(added, bdev).expect("a free address");
        }
    }

    /// Sends a frame to a port, in an mbuf of the port, as a NIC does.
    fn send(&self, port: usize, bytes: &[u8]) {
        let frame = self.pools[port].alloc().expect("an mbuf");
        let mut frame = ring_lab::filled(frame, bytes).expect("room for any frame");
        frame.data_mut()[..6].copy_from_slice(&MACS[port]);
        self.peers[port].send(frame).expect("room in the ring");
    }

    fn turn(&mut self, lcore: usize) {
        self.lcores[lcore].turn();
    }

    fn turn_both(&mut self) {
        self.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
    }

    /// What each port sent since.
    fn sent(&self) -> Vec<(usize, Vec<u8>)> {
        let of = |port: usize| {
            let frames = std::iter::from_fn(move || self.peers[port].receive());
            frames.map(move |frame| (port, frame.data().to_vec()))
        };
        let sent: Vec<_> = of(0).chain(of(1)).collect();
        for (port, reply) in &sent {
            assert_eq!(reply[6..12], MACS[*port], "a reply comes from its port's address");
        }
        sent
    }

    /// The counters of a port on an lcore.
    fn queue(&self, lcore: usize, port: usize) -> PortQueueStats {
        self.lcores[lcore].snapshot().queues[port]
    }

    fn export(&self, lcore: usize, id: u32) -> ExportCounters {
        let exports = self.lcores[lcore].snapshot().exports;
        exports.into_iter().find(|(found, _)| *found == ExportId(id)).expect("the export").1
    }

    /// Drops lcores and ports; every mbuf must be back, and each port has an answer or a drop for each frame.
    fn end(self) {
        for port in 0..2 {
            let queues = [self.queue(0, port), self.queue(1, port)];
            let sum = |of: fn(&PortQueueStats) -> u64| queues.iter().map(of).sum::<u64>();
            assert_eq!(
                sum(|queue| queue.counters.rx_frames),
                sum(|queue| queue.counters.tx_frames) + sum(|queue| queue.drops.total()),
                "port {port}"
            );
            assert_eq!(
                sum(|queue| queue.distribution.handed_over),
                sum(|queue| queue.distribution.taken_over),
                "port {port}"
            );
        }
        let Self { lcores, peers, ports, pools } = self;
        drop(lcores);
        for peer in &peers {
            while peer.receive().is_some() {}
        }
        drop(ports);
        assert!(pools.iter().all(|pool| pool.available() == MBUFS), "every mbuf is back");
    }
}

/// Runs `script` on two ports; it is called before each turn of the harness with what each port sent since, and turns the
/// lcores itself.
fn with_two(
    capacity: u32,
    mut script: impl FnMut(&mut TwoPorts, &Bench, Vec<(usize, Vec<u8>)>) -> bool + 'static,
) -> Step {
    let mut two: Option<TwoPorts> = None;
    Box::new(move |bench, _| {
        let running = two.get_or_insert_with(|| TwoPorts::new(capacity));
        let sent = running.sent();
        let finished = script(running, bench, sent);
        if finished && let Some(two) = two.take() {
            two.end();
        }
        finished
    })
}

/// The ports and tags of replies.
fn by_port(replies: &[(usize, Vec<u8>)]) -> Vec<(usize, u32)> {
    replies.iter().map(|(port, reply)| (*port, tag(reply))).collect()
}

/// A write by the first port, one on half of its sectors by the second, then a read by the first.
fn meet(owner: usize) -> Step {
    let slot = slot_of(owner);
    let mut begun = false;
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            two.send(0, &write(slot, 1, 0, &pattern(1, 16)));
            two.turn_both();
            two.send(1, &write(slot, 2, 8, &pattern(2, 8)));
            two.turn_both();
            two.turn_both();
            two.send(0, &read(slot, 3, 0, 16));
            two.turn_both();
            two.turn_both();
            assert_eq!([two.lcores[owner].in_flight(), two.lcores[1 - owner].in_flight()], [1, 0]);
            assert_eq!(two.export(owner, 0).order_waits, 2);
        }
        two.turn_both();
        replies.extend(sent);
        if replies.len() < 3 {
            return false;
        }
        assert_eq!(by_port(&replies), [(0, 1), (1, 2), (0, 3)]);
        let data = &replies[2].1[DATA..];
        assert_eq!((&data[..4096], &data[4096..]), (&pattern(1, 16)[..4096], &pattern(2, 8)[..]));
        // Frames count where they are served, replies where they leave.
        let away = if owner == 0 { (1, 1) } else { (0, 2) };
        let (port, count) = away;
        let served = two.queue(owner, port);
        assert_eq!((served.counters.rx_frames, served.counters.tx_frames), (count, 0));
        let received = two.queue(1 - owner, port);
        assert_eq!((received.counters.rx_frames, received.counters.tx_frames), (0, count));
        assert_eq!((received.distribution.handed_over, received.distribution.returned), (count, count));
        true
    })
}

/// Case C1 across ports. By the first port come a read and write A on its sectors, which waits for it; then the lcore of that port
/// stalls. The initiator writes A again by the second port, and when that is acknowledged, B. The lcore goes on, and B stays.
/// If the stalled lcore owns the export, it acknowledges nothing before it goes on.
fn stalled(owner: usize) -> Step {
    /// Turns of the second lcore alone, each with one of the reactor's, in which bdevs make progress.
    const ALONE: u32 = 3000;
    const R: u32 = 1;
    const A: u32 = 2;
    const AGAIN: u32 = 3;
    const B: u32 = 4;
    const CHECK: u32 = 5;
    let slot = slot_of(owner);
    let (mut turns, mut begun) = (0, false);
    let mut answered = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        for (_, reply) in sent {
            assert_eq!(status(&reply), (0x40, 0));
            if tag(&reply) == CHECK {
                assert_eq!(reply[DATA..], pattern(2, 8), "the acknowledged write was undone");
                return true;
            }
            answered.push(tag(&reply));
            if tag(&reply) == AGAIN {
                two.send(1, &write(slot, B, 40, &pattern(2, 8)));
            }
            assert!(turns > ALONE || owner == 1, "the stalled lcore has answered {}", tag(&reply));
        }
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            two.send(0, &read(slot, R, 40, 8));
            two.send(0, &write(slot, A, 40, &pattern(1, 8)));
            two.turn(0);
            two.send(1, &write(slot, AGAIN, 40, &pattern(1, 8)));
        }
        turns += 1;
        two.turn(1);
        if turns > ALONE {
            two.turn(0);
        }
        if turns == ALONE && owner == 1 {
            assert!(answered.contains(&B), "the second lcore has answered what it has: {answered:?}");
        }
        if answered.len() == 4 {
            answered.push(CHECK);
            two.send(1, &read(slot, CHECK, 40, 8));
        }
        false
    })
}

/// A write of one initiator by the first port and again by the second: one bdev I/O, and an answer by each port.
fn copy_by_the_other() -> Step {
    let slot = slot_of(1);
    let mut begun = false;
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            two.send(0, &write(slot, 1, 0, &pattern(1, 8)));
            two.turn_both();
            two.send(1, &write(slot, 2, 0, &pattern(1, 8)));
            two.turn_both();
            two.send(0, &read(slot, 3, 16, 8));
            two.turn_both();
            two.send(0, &read(slot, 4, 16, 8));
            two.turn_both();
            assert_eq!(two.lcores[1].in_flight(), 2);
            assert_eq!(two.export(1, 0).copies, 2);
        }
        two.turn_both();
        replies.extend(sent);
        if replies.len() < 4 {
            return false;
        }
        let mut found = by_port(&replies);
        found.sort_unstable();
        assert_eq!(found, [(0, 1), (0, 3), (0, 4), (1, 2)]);
        true
    })
}

/// Exports that one port reaches are served by its lcore alone.
fn stays() -> Step {
    let (slots, mut begun) = ([slot_of(0), slot_of(1)], false);
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        if !begun {
            begun = true;
            for port in 0..2 {
                let ports = Ports::Set(PortSet::of(two.number(port)).expect("a port"));
                // Whatever lcore a hash of all would choose.
                for slot in slots {
                    two.add(
                        2 * u32::try_from(port).expect("0 or 1") + u32::from(slot == slots[1]),
                        slot,
                        ports,
                        &bench.malloc,
                        None,
                    );
                }
            }
            for port in 0..2 {
                for (nth, slot) in (0u32..).zip(slots) {
                    two.send(port, &read(slot, nth, 0, 8));
                }
            }
        }
        two.turn_both();
        replies.extend(sent);
        if replies.len() < 4 {
            return false;
        }
        for port in 0..2 {
            let queue = two.queue(port, port);
            assert_eq!((queue.counters.rx_frames, queue.distribution.handed_over), (2, 0));
        }
        true
    })
}

/// The owner has answered more requests than the ring to the port's lcore has room for, which does not turn: the others wait at the
/// owner, are counted, and leave later.
fn returns_full() -> Step {
    const RING: u32 = 7;
    const REQUESTS: u32 = 3 * RING;
    let slot = slot_of(1);
    let (mut begun, mut turns) = (false, 0);
    let mut replies = Vec::new();
    with_two(RING, move |two, bench, sent| {
        replies.extend(sent);
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            for first in (0..REQUESTS).step_by(RING as usize) {
                (first..first + RING).for_each(|tag| two.send(0, &read(slot, tag, u64::from(tag), 1)));
                two.turn_both();
            }
            assert_eq!(two.lcores[1].in_flight(), REQUESTS, "the bdev makes no progress within a step");
        }
        turns += 1;
        two.turn(1);
        if two.lcores[1].in_flight() > 0 {
            assert!(replies.is_empty());
            return false;
        }
        if replies.is_empty() && turns < 10_000 {
            let waiting = two.queue(1, 0);
            assert_eq!(waiting.tx_waiting, (REQUESTS - RING) as usize);
            assert!(waiting.distribution.return_ring_full > 0);
            turns = 10_000;
        }
        two.turn(0);
        if replies.len() < REQUESTS as usize {
            return false;
        }
        let mut tags: Vec<u32> = replies
            .iter()
            .map(|(port, reply)| tag(reply) + 1000 * u32::try_from(*port).expect("0 or 1"))
            .collect();
        tags.sort_unstable();
        assert!(tags.into_iter().eq(0..REQUESTS), "each once, by its port");
        assert_eq!(two.queue(0, 0).distribution.returned, u64::from(REQUESTS));
        assert_eq!(two.queue(1, 0).tx_waiting, 0);
        true
    })
}

/// A bdev does not answer: the owner admits as many of the other port's requests as it has mbufs of that port for, and drops the
/// others with a name. The port still receives.
fn beyond_the_budget() -> Step {
    let slot = slot_of(1);
    let mut begun = false;
    with_two(MBUFS, move |two, _, sent| {
        assert!(sent.is_empty(), "the late bdev has answered");
        if begun {
            // Lcores and ports go with the requests in flight: the bdev answers later.
            two.turn_both();
            return two.lcores[1].in_flight() == 0 && {
                two.turn_both();
                true
            };
        }
        begun = true;
        let late = ring_lab::open("late");
        two.add(0, slot, Ports::All, &late, None);
        for request in 0..2 * SHARE {
            let mut frame = read(slot, request, u64::from(request), 1);
            // Each of another initiator, which keeps to what it may.
            frame[10] = u8::try_from(request).expect("few");
            two.send(0, &frame);
            two.turn_both();
        }
        let dropped = two.queue(1, 0).drops.get(DropReason::ExportFull);
        let in_flight = two.lcores[1].in_flight();
        assert_eq!(u64::from(in_flight) + dropped, u64::from(2 * SHARE));
        assert!((SHARE / 2..SHARE).contains(&in_flight), "{in_flight}");
        assert_eq!(two.export(1, 0).export_full, dropped);
        false
    })
}

/// A request by the other port is past its deadline, and so is one that waits for it: both faults leave by their port, and the
/// late completion sends nothing.
fn overdue() -> Step {
    let slot = slot_of(1);
    let (mut begun, mut quiet) = (false, 0);
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, _, sent| {
        if !begun {
            begun = true;
            let late = ring_lab::open("late");
            two.add(0, slot, Ports::All, &late, Some(1));
            two.send(0, &write(slot, 1, 0, &pattern(1, 8)));
            two.turn_both();
            two.send(0, &read(slot, 2, 4, 8));
            two.turn_both();
            assert_eq!(two.lcores[1].in_flight(), 1);
        }
        two.turn_both();
        replies.extend(sent);
        if two.lcores[1].in_flight() > 0 {
            return false;
        }
        quiet += 1;
        if quiet < 1000 {
            return false;
        }
        let mut found: Vec<_> =
            replies.iter().map(|(port, reply)| (*port, tag(reply), status(reply))).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 1, (0x61, 0x04)), (0, 2, (0x61, 0x04))]);
        let counters = two.export(1, 0);
        assert_eq!((counters.timeouts, counters.late_completions), (2, 1));
        // The late completion has no reply of its own: the fault was one.
        true
    })
}

/// The export goes while the owner has requests of the other port in flight: they are answered, then it is gone.
fn removed() -> Step {
    let slot = slot_of(1);
    let mut begun = false;
    let gone = Rc::new(Cell::new(0));
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            (0..4).for_each(|tag| two.send(0, &write(slot, tag, 0, &pattern(tag, 8))));
            two.turn_both();
            assert_eq!(two.lcores[1].in_flight(), 1, "three wait");
            for lcore in &mut two.lcores {
                let gone = Rc::clone(&gone);
                lcore.remove(ExportId(0), move || gone.set(gone.get() + 1));
            }
            // Those that come now find no export.
            two.send(0, &read(slot, 9, 0, 1));
            two.turn_both();
            assert_eq!(gone.get(), 1, "the lcore without requests");
        }
        two.turn_both();
        replies.extend(sent);
        if gone.get() < 2 || replies.len() < 4 {
            return false;
        }
        assert_eq!(by_port(&replies), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(two.queue(0, 0).drops.get(DropReason::UnknownShelfSlot), 1);
        true
    })
}

/// Both lcores stop with requests of the other's port in flight and in the rings: an lcore is idle only when the other has returned
/// its last reply.
fn stop() -> Step {
    const EACH: u32 = 16;
    let slots = [slot_of(0), slot_of(1)];
    let mut begun = false;
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        replies.extend(sent);
        if !begun {
            begun = true;
            for (id, slot) in (0u32..).zip(slots) {
                two.add(id, slot, Ports::All, &bench.malloc, None);
            }
            for tag in 0..EACH {
                (0..2).for_each(|port| two.send(port, &read(slots[1 - port], tag, u64::from(tag), 1)));
            }
            // In the rings: the second lcore has taken in those of the first, and not the reverse.
            two.turn_both();
            two.lcores.iter_mut().for_each(Lcore::stop);
        }
        if !two.lcores[1].is_idle() {
            two.turn(1);
        }
        if !two.lcores[0].is_idle() {
            two.turn(0);
        }
        if !two.lcores.iter().all(Lcore::is_idle) {
            return false;
        }
        replies.extend(two.sent());
        let mut found = by_port(&replies);
        found.sort_unstable();
        let all = [0, 1].into_iter().flat_map(|port| (0..EACH).map(move |tag| (port, tag)));
        assert!(found.iter().copied().eq(all), "{found:?}");
        true
    })
}

/// A TRIM on sectors of a write in flight waits for it, whatever port it comes by. A FLUSH is the owner's, too.
fn messages() -> Step {
    let slot = slot_of(1);
    let mut begun = false;
    let mut replies = Vec::new();
    with_two(MBUFS, move |two, bench, sent| {
        if !begun {
            begun = true;
            two.add(0, slot, Ports::All, &bench.malloc, None);
            two.send(1, &write(slot, 1, 0, &pattern(1, 8)));
            two.turn_both();
            let mut trim = trim_frame(2, &[(0, 8)]);
            // Of this slot.
            trim[18] = slot;
            two.send(0, &trim);
            two.send(0, &flush(slot, 3));
            two.turn_both();
            assert_eq!((two.export(1, 0).order_waits, two.lcores[0].in_flight()), (1, 0));
            assert_eq!(two.queue(0, 0).distribution.handed_over, 2);
        }
        two.turn_both();
        replies.extend(sent);
        if replies.len() < 3 {
            return false;
        }
        let mut found = by_port(&replies);
        found.sort_unstable();
        assert_eq!(found, [(0, 2), (0, 3), (1, 1)]);
        true
    })
}
