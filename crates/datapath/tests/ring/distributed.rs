//! Two lcores on one port with two queue pairs, all of whose requests come in by the first queue: distributed by hash, and
//! by address. Both lcores are turned here, so that it is known what each had the chance to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use aoe_target::{DropReason, MacAddr, PortId, PortLimits, ShelfSlot};
use datapath::{DistributeBy, Distribution, DistributionCounters, Lcore, PortQueue};
use dpdk::{Mempool, PeerRing, Port, PortConfig, ring_port_with_queues};
use ring_lab::export;
use ring_lab::frames::{self, tag};

use crate::bench::Bench;
use crate::script::{Scenario, Step};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("requests_are_distributed_by_hash_and_none_is_lost_in_a_ring", by_hash),
    ("each_lcore_gets_about_half_by_hash", by_hash_in_halves),
    ("each_lcore_answers_under_its_own_address", by_address),
];

const MBUFS: u32 = 1023;
/// Frames that a ring between the lcores holds when they are distributed by hash.
const HANDED: u32 = 7;
/// The second queue's own address.
const SECOND: [u8; 6] = [6, 0, 0, 0, 0, 1];

struct Pair {
    lcores: Vec<Lcore>,
    peers: Vec<PeerRing>,
    ports: Vec<Port>,
    pool: Arc<Mempool>,
}

impl Pair {
    fn new(bench: &Bench, name: &str, by: &DistributeBy, capacity: u32) -> Self {
        let (number, peers) = ring_port_with_queues(ring_lab::eal(), name, 256, 2).expect("a ring port");
        let pool =
            Mempool::new(ring_lab::eal(), name, MBUFS, datapath::private_size(), 9216, None).expect("memory");
        let config = PortConfig {
            mempools: vec![Arc::clone(&pool), Arc::clone(&pool)],
            rx_descriptors: 256,
            tx_descriptors: 256,
            mtu: None,
        };
        let port = Port::start(ring_lab::eal(), number, &config).expect("a ring port starts");
        let limits = PortLimits::for_mtu(9000).expect("9000 is enough");
        let parts =
            Distribution::over(ring_lab::eal(), PortId(number), 2, by, capacity, None).expect("two rings");
        let lcores = (0u16..).zip(parts).map(|(queue, part)| {
            let queues = port.take_queues(queue).expect("two queue pairs");
            let mac = match by {
                DistributeBy::Hash => MacAddr(frames::TARGET),
                DistributeBy::Address(macs) => macs[usize::from(queue)],
            };
            let advertises = queue == 0 || matches!(by, DistributeBy::Address(_));
            let queue = PortQueue::new(PortId(number), mac, limits, queues, advertises).distributed(part);
            let mut lcore = Lcore::new(vec![queue]).expect("an lcore");
            lcore.add(export(0, "1.1", &bench.malloc), &bench.malloc).expect("an empty table");
            lcore
        });
        Self { lcores: lcores.collect(), peers, ports: vec![port], pool }
    }

    /// Sends a frame to the first queue.
    fn send(&self, bytes: &[u8]) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        assert!(frame.resize(bytes.len()));
        frame.data_mut().copy_from_slice(bytes);
        self.peers[0].send(frame).expect("room in the ring");
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

/// Requests by hash: the second lcore does not turn for a while, and the first serves what its ring has no room for;
/// then both are stopped with frames in the ring, and answer them.
fn by_hash() -> Step {
    const REQUESTS: u32 = 120;
    let (mut begun, mut stopped) = (false, false);
    let mut answered = [BTreeSet::new(), BTreeSet::new()];
    with_pair("hash", DistributeBy::Hash, HANDED, move |pair, sent| {
        if !begun {
            begun = true;
            (0..REQUESTS).for_each(|tag| pair.send(&frames::read(1, tag, u64::from(tag), 1)));
        }
        for (queue, replies) in sent.into_iter().enumerate() {
            for reply in replies {
                frames::check_reply(&reply, 1, 1, 0);
                assert!(answered[queue].insert(tag(&reply)), "answered twice");
                assert!(!answered[1 - queue].contains(&tag(&reply)), "answered by both");
            }
        }
        pair.lcores[0].turn();
        let first = REQUESTS as usize - HANDED as usize;
        if answered[0].len() < first {
            assert!(answered[1].is_empty(), "the second lcore has not turned");
            return false;
        }
        if !stopped {
            stopped = true;
            let counters = pair.counters(0);
            assert_eq!(counters.handed_over, u64::from(HANDED));
            assert!(counters.ring_full > 20, "about half of them were the other's: {counters:?}");
            pair.lcores.iter_mut().for_each(Lcore::stop);
            assert!(pair.lcores[0].is_idle());
            assert!(!pair.lcores[1].is_idle(), "frames that were handed over are to be served");
        }
        pair.lcores[1].turn();
        if !pair.lcores[1].is_idle() || answered[1].len() < HANDED as usize {
            return false;
        }
        assert_eq!(pair.counters(1).taken_over, u64::from(HANDED));
        assert_eq!(answered[0].len() + answered[1].len(), REQUESTS as usize);
        true
    })
}

/// Both lcores turn: each gets about half, and answers by its own tx queue; then they go with frames in the ring.
fn by_hash_in_halves() -> Step {
    const REQUESTS: u32 = 128;
    let (mut begun, mut leaving) = (false, false);
    let mut answered = [0, 0];
    with_pair("halves", DistributeBy::Hash, 127, move |pair, sent| {
        if !begun {
            begun = true;
            (0..REQUESTS).for_each(|tag| pair.send(&frames::read(1, tag << 16, 0, 1)));
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
        assert!(answered.iter().all(|count| (50..=78).contains(count)), "{answered:?}");
        let snapshots = pair.lcores.iter().map(|lcore| lcore.snapshot().queues[0]);
        let frames: Vec<u64> = snapshots.map(|queue| queue.counters.rx_frames).collect();
        assert_eq!(frames, answered.map(|count| count as u64), "a frame counts where it is served");
        // One burst, which is never served.
        (0..32).for_each(|tag| pair.send(&frames::read(1, tag << 16, 0, 1)));
        let before = pair.counters(0).handed_over;
        pair.lcores[0].turn();
        assert!(pair.counters(0).handed_over > before);
        leaving = true;
        false
    })
}

fn to(mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac);
    frame
}

/// An address for each lcore.
fn by_address() -> Step {
    let macs = vec![MacAddr(frames::TARGET), MacAddr(SECOND)];
    let mut begun = false;
    let mut replies: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    let mut quiet = 0;
    with_pair("macs", DistributeBy::Address(macs), MBUFS, move |pair, sent| {
        if !begun {
            begun = true;
            // To each address, in one queue.
            (0..20).for_each(|tag| pair.send(&frames::read(1, tag, 0, 1)));
            (20..50).for_each(|tag| pair.send(&to(SECOND, frames::read(1, tag, 0, 1))));
            // Which disks are there? One answer from each address, to a wildcard too.
            pair.send(&frames::query(1, 1, 50));
            pair.send(&frames::query(0xffff, 0xff, 51));
            // What changes something, or reads, is not done twice; nobody decides on a set here.
            pair.send(&to([0xff; 6], frames::read(1, 52, 0, 1)));
            let mut set = frames::query(1, 1, 53);
            set[29] = 0x14;
            pair.send(&set);
            // And somebody else's.
            pair.send(&to([2, 0, 0, 0, 0, 0x77], frames::read(1, 54, 0, 1)));
            pair.lcores.iter_mut().for_each(|lcore| lcore.advertise(None, ShelfSlot::WILDCARD));
        }
        pair.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        quiet = if sent.iter().all(Vec::is_empty) { quiet + 1 } else { 0 };
        for (replies, sent) in replies.iter_mut().zip(sent) {
            replies.extend(sent);
        }
        if quiet < 10_000 {
            return false;
        }
        for (queue, mac) in [(0, frames::TARGET), (1, SECOND)] {
            assert!(replies[queue].iter().all(|reply| reply[6..12] == mac), "from the queue's own address");
        }
        let tags = replies.clone().map(|replies| {
            let mut tags: Vec<u32> =
                replies.iter().filter(|reply| reply[..6] != [0xff; 6]).map(|reply| tag(reply)).collect();
            tags.sort_unstable();
            tags
        });
        assert_eq!(tags[0], (0..20).chain([50, 51, 52]).collect::<Vec<u32>>());
        assert_eq!(tags[1], (20..50).chain([50, 51]).collect::<Vec<u32>>());
        for replies in &replies {
            assert_eq!(
                replies.iter().filter(|reply| reply[..6] == [0xff; 6]).count(),
                1,
                "one advertisement"
            );
        }
        let drops = |reason| {
            pair.lcores.iter().map(|lcore| lcore.snapshot().queues[0].drops.get(reason)).sum::<u64>()
        };
        assert_eq!((drops(DropReason::ConsultFull), drops(DropReason::NotOurMac)), (1, 1));
        assert_eq!(pair.counters(0), DistributionCounters { handed_over: 32, taken_over: 0, ring_full: 0 });
        assert_eq!(pair.counters(1), DistributionCounters { handed_over: 0, taken_over: 32, ring_full: 0 });
        true
    })
}
