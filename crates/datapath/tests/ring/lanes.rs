//! One lcore with ports of its own: how much it takes from each at a time, and when replies leave.

use dpdk::{PeerRing, ring_port};
use ring_lab::{export, lane};

use crate::frames::{self, check_reply, tag};
use crate::{Bench, Step};

const FRAMES: u32 = 256;

/// Requests of the busy port, and the data each reads.
const REQUESTS: u32 = 100;
const SECTORS: u8 = 8;

/// Two ports, of which one has many requests of 4 KiB: they are taken in short bursts once it is known what they are
/// like, and the other port's only request does not wait behind all of them.
pub(crate) fn in_turn() -> Step {
    let mut running: Option<(datapath::Lcore, [PeerRing; 2], Vec<dpdk::Port>)> = None;
    let mut answered = [0, 0];
    Box::new(move |bench, _| {
        let (lcore, peers, _) = running.get_or_insert_with(|| start(bench));
        for ((answered, peer), sectors) in answered.iter_mut().zip(peers.iter()).zip([SECTORS, 1]) {
            while let Some(reply) = peer.receive() {
                check_reply(reply.data(), 1, 1, 0);
                assert_eq!(reply.frame_len(), frames::DATA + usize::from(sectors) * 512);
                assert_eq!(tag(reply.data()), *answered, "in the order they came");
                *answered += 1;
            }
        }
        lcore.turn();
        let done = answered == [REQUESTS, 1] && lcore.under_way() == 0;
        if done {
            running = None;
        }
        done
    })
}

/// Three ports: a turn goes on to the next after few frames, and not after half a burst.
pub(crate) fn half_a_burst() -> Step {
    let mut running: Option<(datapath::Lcore, [PeerRing; 3], Vec<dpdk::Port>)> = None;
    let mut replies = 0;
    Box::new(move |bench, _| {
        let (lcore, peers, _) = running.get_or_insert_with(|| {
            let mut ports = Vec::new();
            let rings = ["few", "half", "rest"]
                .map(|name| ring_port(ring_lab::eal(), name, FRAMES).expect("a ring port"));
            let lanes = rings.each_ref().map(|(port, _)| lane(&mut ports, *port, &bench.second_pool));
            let mut lcore = datapath::Lcore::new(lanes.into()).expect("an lcore");
            lcore.add(export(0, "1.1", &bench.malloc), &bench.malloc).expect("the table is empty");
            let peers = rings.map(|(_, peer)| peer);
            for (peer, count) in peers.iter().zip([3, 13, 5]) {
                (0..count).for_each(|tag| send(bench, peer, &frames::read(1, tag, 0, 1)));
            }
            let taken = |lcore: &datapath::Lcore| {
                lcore.snapshot().lanes.iter().map(|lane| lane.counters.rx_frames).collect::<Vec<_>>()
            };
            // Nothing ends between these turns.
            lcore.turn();
            assert_eq!(taken(&lcore), [3, 13, 0], "16 are enough");
            lcore.turn();
            assert_eq!(taken(&lcore), [3, 13, 5]);
            (lcore, peers, ports)
        });
        lcore.turn();
        for peer in peers.iter() {
            while let Some(reply) = peer.receive() {
                check_reply(reply.data(), 1, 1, 0);
                replies += 1;
            }
        }
        let done = replies == 21 && lcore.under_way() == 0;
        if done {
            running = None;
        }
        done
    })
}

fn send(bench: &Bench, peer: &PeerRing, bytes: &[u8]) {
    let mut frame = bench.outside.alloc().expect("an mbuf for the initiator");
    assert!(frame.resize(bytes.len()));
    frame.data_mut().copy_from_slice(bytes);
    peer.send(frame).expect("room in the ring");
}

/// A lane that sends long bursts: replies wait for a request that came when they were ready, and leave with its reply.
pub(crate) fn in_company() -> Step {
    let mut running: Option<(datapath::Lcore, PeerRing, Vec<dpdk::Port>)> = None;
    let mut turns = 0;
    Box::new(move |bench, _| {
        let (lcore, peer, _) = running.get_or_insert_with(|| {
            let mut ports = Vec::new();
            let (port, peer) = ring_port(ring_lab::eal(), "company", FRAMES).expect("a ring port");
            let lane = lane(&mut ports, port, &bench.second_pool).in_long_bursts();
            let mut lcore = datapath::Lcore::new(vec![lane]).expect("an lcore");
            lcore.add(export(0, "1.1", &bench.malloc), &bench.malloc).expect("the table is empty");
            (lcore, peer, ports)
        });
        // What a turn submits is ready in the next.
        let arrive = match turns {
            0 => 0..3,
            1 => 3..4,
            _ => 0..0,
        };
        arrive.for_each(|tag| send(bench, peer, &frames::read(1, tag, 0, 1)));
        lcore.turn();
        turns += 1;
        let mut replies = 0;
        while let Some(reply) = peer.receive() {
            assert_eq!(tag(reply.data()), replies, "in the order they came");
            replies += 1;
        }
        assert_eq!((turns, replies), if turns < 3 { (turns, 0) } else { (3, 4) });
        let done = turns == 3;
        if done {
            assert_eq!(lcore.under_way(), 0);
            running = None;
        }
        done
    })
}

fn start(bench: &Bench) -> (datapath::Lcore, [PeerRing; 2], Vec<dpdk::Port>) {
    let mut ports = Vec::new();
    let (busy, busy_peer) = ring_port(ring_lab::eal(), "busy", FRAMES).expect("a ring port");
    let (quiet, quiet_peer) = ring_port(ring_lab::eal(), "quiet", FRAMES).expect("a ring port");
    let lanes = [busy, quiet].map(|port| lane(&mut ports, port, &bench.second_pool));
    let mut lcore = datapath::Lcore::new(lanes.into()).expect("an lcore");
    lcore.add(export(0, "1.1", &bench.malloc), &bench.malloc).expect("the table is empty");
    let send = |peer: &PeerRing, bytes: &[u8]| send(bench, peer, bytes);
    (0..REQUESTS).for_each(|tag| send(&busy_peer, &frames::read(1, tag, 0, SECTORS)));
    let taken = |lcore: &datapath::Lcore| {
        let lanes = lcore.snapshot().lanes;
        [lanes[0].counters.rx_frames, lanes[1].counters.rx_frames]
    };
    // Nothing ends between these turns, so each takes in: at first as much as a burst has, of a port whose turn it is.
    lcore.turn();
    assert_eq!(taken(&lcore), [32, 0]);
    send(&quiet_peer, &frames::read(1, 0, 0, 1));
    lcore.turn();
    assert_eq!(taken(&lcore), [40, 1], "the other port first; then what is good for 4 KiB a request");
    lcore.turn();
    assert_eq!(taken(&lcore), [48, 1]);
    (lcore, [busy_peer, quiet_peer], ports)
}
