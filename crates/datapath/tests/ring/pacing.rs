//! Pacing: how much a turn takes in, and when replies leave. Each scenario has an lcore and ports of its own.

use datapath::{Lcore, PortQueue, RX_BUDGET, RX_BURST};
use dpdk::{PeerRing, Port, ring_port};
use ring_lab::frames::{self, check_reply, tag};
use ring_lab::{export, port_queue};

use crate::bench::Bench;
use crate::script::{Scenario, Step};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("the_rx_budget_bounds_a_turn", budget),
    ("replies_leave_in_the_turn_that_makes_them", at_once),
    ("coalesced_replies_wait_neither_while_idle_nor_when_full", coalesced),
];

const FRAMES: u32 = 256;
/// Sectors and bytes of each read of the busy port.
const SECTORS: u8 = 8;
const BYTES: usize = 4096;

/// An lcore that reads from the malloc bdev, and the far ends of its ports.
struct Running {
    lcore: Lcore,
    peers: Vec<PeerRing>,
    /// Replies so far, by port.
    answered: Vec<u32>,
    _ports: Vec<Port>,
}

impl Running {
    fn new(bench: &Bench, names: &[&str], shape: fn(PortQueue) -> PortQueue) -> Self {
        let mut ports = Vec::new();
        let rings = names.iter().map(|name| ring_port(ring_lab::eal(), name, FRAMES).expect("a ring port"));
        let (numbers, peers): (Vec<u16>, Vec<PeerRing>) = rings.unzip();
        let queues = numbers.iter().map(|port| shape(port_queue(&mut ports, *port, &bench.second_pool)));
        let mut lcore = Lcore::new(queues.collect()).expect("an lcore");
        lcore.add(export(0, "1.1", &bench.malloc), &bench.malloc).expect("the table is empty");
        Self { lcore, answered: vec![0; peers.len()], peers, _ports: ports }
    }

    fn send(&self, bench: &Bench, port: usize, tag: u32, sectors: u8) {
        // At different places, so that none is a copy of another.
        let bytes = frames::read(1, tag, u64::from(tag) * u64::from(SECTORS), sectors);
        let mut frame = bench.outside.alloc().expect("an mbuf for the initiator");
        assert!(frame.resize(bytes.len()));
        frame.data_mut().copy_from_slice(&bytes);
        self.peers[port].send(frame).expect("room in the ring");
    }

    /// Frames received so far, by port.
    fn received(&self) -> Vec<u64> {
        self.lcore.snapshot().queues.iter().map(|queue| queue.counters.rx_frames).collect()
    }

    /// One turn. Returns the frames that it received, by port.
    fn turn(&mut self) -> Vec<u64> {
        let before = self.received();
        self.lcore.turn();
        let after = self.received();
        for (answered, peer) in self.answered.iter_mut().zip(&self.peers) {
            while let Some(reply) = peer.receive() {
                check_reply(reply.data(), 1, 1, 0);
                assert_eq!(tag(reply.data()), *answered, "in the order they came");
                *answered += 1;
            }
        }
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    }

    /// Replies that wait.
    fn waiting(&self) -> usize {
        self.lcore.snapshot().queues.iter().map(|queue| queue.tx_waiting).sum()
    }
}

/// A port with many requests: no turn takes in more than its budget and a burst; and another port's only request is
/// received by the second turn after it came.
fn budget() -> Step {
    const REQUESTS: u32 = 100;
    let mut running: Option<Running> = None;
    Box::new(move |bench, _| {
        let state = running.get_or_insert_with(|| {
            let mut state = Running::new(bench, &["busy", "quiet"], |queue| queue);
            (0..REQUESTS).for_each(|tag| state.send(bench, 0, tag, SECTORS));
            let first = state.turn();
            assert!(first[0] > 0, "a turn with frames receives");
            state.send(bench, 1, 0, 1);
            let next = [state.turn(), state.turn()];
            assert_eq!(next.iter().map(|turn| turn[1]).sum::<u64>(), 1, "{next:?}");
            state
        });
        let received = state.turn();
        let bytes = usize::try_from(received[0]).expect("few") * BYTES;
        assert!(bytes < RX_BUDGET + RX_BURST * BYTES, "one turn received {received:?}");
        let done = state.answered == [REQUESTS, 1] && state.lcore.in_flight() == 0;
        if done {
            running = None;
        }
        done
    })
}

/// The replies of a port leave in the turn that makes them.
fn at_once() -> Step {
    replies("once", |queue| queue, |_, waiting, _| assert_eq!(waiting, 0))
}

/// Those of a port that coalesces them wait only in a turn in which further requests came, and fewer than a burst do.
fn coalesced() -> Step {
    replies("coalesced", PortQueue::coalescing_tx, |received, waiting, most| {
        assert!(waiting == 0 || received > 0, "{waiting} replies wait, and nothing came");
        assert!(waiting < dpdk::BURST, "a full burst waits");
        *most = waiting.max(*most);
    })
}

/// Requests that come a few at a time. `check` is called after each turn with the frames that it received, the replies that
/// wait, and what it noted.
fn replies(name: &'static str, shape: fn(PortQueue) -> PortQueue, check: fn(u64, usize, &mut usize)) -> Step {
    const REQUESTS: u32 = 200;
    const AT_ONCE: u32 = 5;
    let mut running: Option<Running> = None;
    let (mut sent, mut most) = (0, 0);
    Box::new(move |bench, _| {
        let state = running.get_or_insert_with(|| Running::new(bench, &[name], shape));
        let upto = REQUESTS.min(sent + AT_ONCE);
        (sent..upto).for_each(|tag| state.send(bench, 0, tag, SECTORS));
        sent = upto;
        let received = state.turn();
        check(received[0], state.waiting(), &mut most);
        let done = state.answered == [REQUESTS] && state.lcore.in_flight() == 0;
        if done {
            println!("most replies that waited: {most}");
            running = None;
        }
        done
    })
}
