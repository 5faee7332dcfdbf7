//! Two lcores on one port with two queue pairs: each export's commands are served by its owner, whatever queue or address they
//! come by. Both lcores are turned here, so that it is known what each had the chance to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use aoe_target::{DropReason, MacAddr, PortId, PortLimits, ShelfSlot};
use datapath::distribute::owner_of;
use datapath::{DistributeBy, Distribution, DistributionCounters, Lcore, PortQueue};
use dpdk::{Mempool, PeerRing, Port, ring_port_with_queues};
use ring_lab::export;
use ring_lab::frames::{self, tag};

use crate::bench::Bench;
use crate::script::{Scenario, Step};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("requests_go_to_their_export_s_owner_and_none_is_lost_in_a_ring", by_export),
    ("each_lcore_answers_for_the_exports_that_it_owns", by_export_in_halves),
    ("each_address_answers_whichever_lcore_serves", by_address),
    ("a_write_after_an_acknowledged_one_stays_on_a_stalled_lcore_s_export", || stalled(1)),
    ("a_write_after_an_acknowledged_one_stays_while_the_other_lcore_stalls", || stalled(0)),
    ("a_write_by_another_queue_waits_for_the_first", by_two_queues),
];

const MBUFS: u32 = 1023;
/// Frames that a ring between the lcores holds, where it is to be full.
const HANDED: u32 = 7;
/// The second queue's own address.
const SECOND: [u8; 6] = [6, 0, 0, 0, 0, 1];

/// The lowest slot of shelf 1 whose export this lcore owns.
fn slot_of(owner: u32) -> u8 {
    let owner = usize::try_from(owner).expect("0 or 1");
    let address = |slot: u8| -> ShelfSlot { format!("1.{slot}").parse().expect("an address") };
    (1..=254).find(|slot| owner_of(address(*slot), 2) == owner).expect("half of them")
}

struct Pair {
    lcores: Vec<Lcore>,
    peers: Vec<PeerRing>,
    ports: Vec<Port>,
    pool: Arc<Mempool>,
}

impl Pair {
    fn new(bench: &Bench, name: &str, by: &DistributeBy, capacity: u32) -> Self {
        let (number, peers) = ring_port_with_queues(ring_lab::eal(), name, 256, 2).expect("a ring port");
        let pool = ring_lab::mempool(name, MBUFS, 9216);
        let port = ring_lab::start(number, vec![Arc::clone(&pool); 2]);
        let limits = PortLimits::for_mtu(9000).expect("9000 is enough");
        let parts =
            Distribution::over(ring_lab::eal(), PortId(number), 2, by, capacity, None).expect("two rings");
        let lcores = (0u16..).zip(parts).map(|(queue, part)| {
            let queues = port.take_queues(queue).expect("two queue pairs");
            let mac = match by {
                DistributeBy::Export => MacAddr(frames::TARGET),
                DistributeBy::Address(macs) => macs[usize::from(queue)],
            };
            let advertises = queue == 0 || matches!(by, DistributeBy::Address(_));
            let queue = PortQueue::new(PortId(number), mac, limits, queues, advertises).distributed(part);
            let mut lcore = Lcore::new(vec![queue]).expect("an lcore");
            for owner in [0, 1] {
                let address = format!("1.{}", slot_of(owner));
                lcore.add(export(owner, &address, &bench.malloc), &bench.malloc).expect("a free address");
            }
            lcore
        });
        Self { lcores: lcores.collect(), peers, ports: vec![port], pool }
    }

    /// Sends a frame to the first queue.
    fn send(&self, bytes: &[u8]) {
        self.send_to(0, bytes);
    }

    fn send_to(&self, queue: usize, bytes: &[u8]) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        assert!(frame.resize(bytes.len()));
        frame.data_mut().copy_from_slice(bytes);
        self.peers[queue].send(frame).expect("room in the ring");
    }

    /// What each tx queue sent since.
    fn sent(&self) -> [Vec<Vec<u8>>; 2] {
        [0, 1].map(|queue: usize| {
            std::iter::from_fn(|| self.peers[queue].receive()).map(|frame| frame.data().to_vec()).collect()
        })
    }

    fn counters(&self, lcore: usize) -> DistributionCounters {
        self.lcores[lcore].snapshot().queues[0].distribution
    }

    /// Drops lcores and port; every mbuf must be back.
    fn end(self) {
        let Self { lcores, peers, ports, pool } = self;
        drop(lcores);
        for peer in &peers {
            while peer.receive().is_some() {}
        }
        drop(ports);
        assert_eq!(pool.available(), MBUFS, "every mbuf is back");
    }
}

/// Runs `script` on a pair; it is called before each turn of the harness with what each queue sent since, and turns
/// lcores itself.
fn with_pair(
    name: &'static str,
    by: DistributeBy,
    capacity: u32,
    mut script: impl FnMut(&mut Pair, [Vec<Vec<u8>>; 2]) -> bool + 'static,
) -> Step {
    let mut pair: Option<Pair> = None;
    Box::new(move |bench, _| {
        let running = pair.get_or_insert_with(|| Pair::new(bench, name, &by, capacity));
        let sent = running.sent();
        let finished = script(running, sent);
        if finished && let Some(pair) = pair.take() {
            pair.end();
        }
        finished
    })
}

/// The second lcore does not turn for a while, and what its ring has no room for is dropped; then both are stopped with
/// frames in the ring, and answer them.
fn by_export() -> Step {
    const EACH: u32 = 60;
    let slots = [slot_of(0), slot_of(1)];
    let (mut begun, mut stopped) = (false, false);
    let mut answered = [BTreeSet::new(), BTreeSet::new()];
    with_pair("export", DistributeBy::Export, HANDED, move |pair, sent| {
        if !begun {
            begun = true;
            for tag in 0..2 * EACH {
                pair.send(&frames::read(slots[(tag % 2) as usize], tag, u64::from(tag), 1));
            }
        }
        for (queue, replies) in sent.into_iter().enumerate() {
            for reply in replies {
                frames::check_reply(&reply, 1, slots[queue], 0);
                assert!(answered[queue].insert(tag(&reply)), "answered twice");
            }
        }
        pair.lcores[0].turn();
        if answered[0].len() < EACH as usize {
            assert!(answered[1].is_empty(), "the second lcore has not turned");
            return false;
        }
        if !stopped {
            stopped = true;
            let counters = pair.counters(0);
            let full = u64::from(EACH - HANDED);
            assert_eq!((counters.handed_over, counters.ring_full), (u64::from(HANDED), full));
            assert_eq!(pair.lcores[0].snapshot().queues[0].drops.get(DropReason::RingFull), full);
            pair.lcores.iter_mut().for_each(Lcore::stop);
            assert!(pair.lcores[0].is_idle());
            assert!(!pair.lcores[1].is_idle(), "frames that were handed over are to be served");
        }
        pair.lcores[1].turn();
        if !pair.lcores[1].is_idle() || answered[1].len() < HANDED as usize {
            return false;
        }
        assert_eq!(pair.counters(1).taken_over, u64::from(HANDED));
        assert!(answered[1].iter().copied().eq((0..HANDED).map(|nth| 2 * nth + 1)), "the first of them");
        true
    })
}

/// Both lcores turn: each answers for its export, by its own tx queue; then they go with frames in the ring.
fn by_export_in_halves() -> Step {
    const REQUESTS: u32 = 128;
    let slots = [slot_of(0), slot_of(1)];
    let (mut begun, mut leaving) = (false, false);
    let mut answered = [0, 0];
    with_pair("halves", DistributeBy::Export, 127, move |pair, sent| {
        let read = |tag: u32| frames::read(slots[(tag % 2) as usize], tag, u64::from(tag), 1);
        if !begun {
            begun = true;
            (0..REQUESTS).for_each(|tag| pair.send(&read(tag)));
        }
        if leaving {
            // The first lcore's reads are the bdev's until they end; those in the ring are freed with it.
            pair.lcores[0].turn();
            return pair.lcores[0].in_flight() == 0;
        }
        pair.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        (answered[0], answered[1]) = (answered[0] + sent[0].len(), answered[1] + sent[1].len());
        if answered[0] + answered[1] < REQUESTS as usize {
            return false;
        }
        assert_eq!(answered, [REQUESTS as usize / 2; 2]);
        let snapshots = pair.lcores.iter().map(|lcore| lcore.snapshot().queues[0]);
        let frames: Vec<u64> = snapshots.map(|queue| queue.counters.rx_frames).collect();
        assert_eq!(frames, answered.map(|count| count as u64), "a frame counts where it is served");
        // One burst, which is never served.
        (0..32).for_each(|tag| pair.send(&read(tag)));
        let before = pair.counters(0).handed_over;
        pair.lcores[0].turn();
        assert!(pair.counters(0).handed_over > before);
        leaving = true;
        false
    })
}

/// Case C1, with an export that `owner` owns. The second lcore stalls: it does not turn. Write A with several tags, as an
/// initiator does that gets no answer; when one is answered, write B. The second lcore goes on, and B stays.
fn stalled(owner: u32) -> Step {
    /// Turns of the first lcore alone, each with one of the reactor's, in which bdevs make progress.
    const ALONE: u32 = 3000;
    const COPIES: u32 = 8;
    const B: u32 = 100;
    const READ: u32 = 101;
    let slot = slot_of(owner);
    let mut turns = 0;
    let mut answered = BTreeSet::new();
    with_pair("stalled", DistributeBy::Export, MBUFS, move |pair, sent| {
        for reply in sent.into_iter().flatten() {
            assert_eq!(frames::status(&reply), (0x40, 0));
            if tag(&reply) == READ {
                assert_eq!(reply[frames::DATA..], frames::pattern(2, 8), "the acknowledged write was undone");
                return true;
            }
            answered.insert(tag(&reply));
        }
        if turns == 0 {
            (0..COPIES).for_each(|tag| pair.send(&frames::write(slot, tag, 40, &frames::pattern(1, 8))));
        }
        if !answered.is_empty() && turns < ALONE || turns == ALONE {
            turns = turns.max(ALONE);
            pair.send(&frames::write(slot, B, 40, &frames::pattern(2, 8)));
        }
        turns += 1;
        pair.lcores[0].turn();
        if turns > 2 * ALONE {
            pair.lcores[1].turn();
        }
        if answered.len() == COPIES as usize + 1 {
            answered.insert(READ);
            pair.send(&frames::read(slot, READ, 40, 8));
        }
        false
    })
}

/// Requests that come by both queues meet in the owner's table.
fn by_two_queues() -> Step {
    let slot = slot_of(1);
    let mut begun = false;
    let mut replies = Vec::new();
    with_pair("queues", DistributeBy::Export, MBUFS, move |pair, sent| {
        if !begun {
            begun = true;
            pair.send_to(0, &frames::write(slot, 1, 0, &frames::pattern(1, 16)));
            pair.lcores[0].turn();
            pair.send_to(1, &frames::write(slot, 2, 8, &frames::pattern(2, 8)));
            pair.send_to(1, &frames::read(slot, 3, 0, 16));
            (0..3).for_each(|_| _ = pair.lcores[1].turn());
            assert_eq!((pair.lcores[0].in_flight(), pair.lcores[1].in_flight()), (0, 1));
        }
        pair.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        assert!(sent[0].is_empty());
        replies.extend(sent[1].clone());
        if replies.len() < 3 {
            return false;
        }
        assert_eq!(replies.iter().map(|reply| tag(reply)).collect::<Vec<_>>(), [1, 2, 3]);
        let data = &replies[2][frames::DATA..];
        assert_eq!(
            (&data[..4096], &data[4096..]),
            (&frames::pattern(1, 16)[..4096], &frames::pattern(2, 8)[..])
        );
        true
    })
}

fn to(mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac);
    frame
}

/// An address for each lcore. Commands go to the export's owner, and are answered from the address that they were sent to.
fn by_address() -> Step {
    let macs = vec![MacAddr(frames::TARGET), MacAddr(SECOND)];
    let slot = slot_of(1);
    let mut begun = false;
    let mut replies: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    let mut quiet = 0;
    with_pair("macs", DistributeBy::Address(macs), MBUFS, move |pair, sent| {
        if !begun {
            begun = true;
            // To each address, in one queue.
            (0..20).for_each(|tag| pair.send(&frames::read(slot, tag, u64::from(tag), 1)));
            (20..50).for_each(|tag| pair.send(&to(SECOND, frames::read(slot, tag, u64::from(tag), 1))));
            // Which disks are there? One answer from each address, to a wildcard too.
            pair.send(&frames::query(1, slot, 50));
            pair.send(&frames::query(0xffff, slot, 51));
            // What changes something, or reads, is not done twice; nobody decides on a set here.
            pair.send(&to([0xff; 6], frames::read(slot, 52, 52, 1)));
            let mut set = frames::query(1, slot, 53);
            set[29] = 0x14;
            pair.send(&set);
            // And somebody else's.
            pair.send(&to([2, 0, 0, 0, 0, 0x77], frames::read(slot, 54, 54, 1)));
            let one: ShelfSlot = format!("1.{slot}").parse().expect("an address");
            pair.lcores.iter_mut().for_each(|lcore| lcore.advertise(None, one));
        }
        pair.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        quiet = if sent.iter().all(Vec::is_empty) { quiet + 1 } else { 0 };
        for (replies, sent) in replies.iter_mut().zip(sent) {
            replies.extend(sent);
        }
        if quiet < 10_000 {
            return false;
        }
        let tags_from = |queue: usize, mac: [u8; 6]| {
            let is_from = |reply: &&Vec<u8>| reply[..6] != [0xff; 6] && reply[6..12] == mac;
            let mut tags: Vec<u32> = replies[queue].iter().filter(is_from).map(|reply| tag(reply)).collect();
            tags.sort_unstable();
            tags
        };
        assert_eq!(tags_from(0, frames::TARGET), [50, 51]);
        assert_eq!(tags_from(0, SECOND), Vec::<u32>::new());
        assert_eq!(tags_from(1, frames::TARGET), (0..20).collect::<Vec<u32>>());
        assert_eq!(tags_from(1, SECOND), (20..53).collect::<Vec<u32>>());
        for (replies, mac) in replies.iter().zip([frames::TARGET, SECOND]) {
            let advertised = replies.iter().filter(|reply| reply[..6] == [0xff; 6]);
            assert_eq!(advertised.map(|reply| reply[6..12].to_vec()).collect::<Vec<_>>(), [mac.to_vec()]);
        }
        let drops = |reason| {
            pair.lcores.iter().map(|lcore| lcore.snapshot().queues[0].drops.get(reason)).sum::<u64>()
        };
        assert_eq!((drops(DropReason::DeferredFull), drops(DropReason::NotOurMac)), (1, 1));
        let none = DistributionCounters::default();
        assert_eq!(pair.counters(0), DistributionCounters { handed_over: 53, ..none });
        assert_eq!(pair.counters(1), DistributionCounters { taken_over: 53, ..none });
        true
    })
}
