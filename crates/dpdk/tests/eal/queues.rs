//! Bursts in order, nothing lost where a ring is full, every mbuf back in the end.

use dpdk::{BURST, Burst, Mbuf, Mempool, PeerRing, Port, RxMbuf, TxMbuf, ring_port};

use crate::{Wire, frame, one_queue, unique, wire};

/// What the far end gets, as the numbers in the frames.
fn received(peer: &PeerRing) -> Vec<u8> {
    std::iter::from_fn(|| peer.receive()).map(|frame| frame.data()[0]).collect()
}

fn numbered(wire: &Wire, number: u8) -> TxMbuf {
    to_send(frame(&wire.pool, &[number; 60]))
}

fn to_send(frame: Mbuf) -> TxMbuf {
    frame.into_tx().expect("one segment without a tag")
}

#[test]
fn frames_arrive_in_order_in_bursts() {
    let mut wire = wire(64, 127);
    for number in 0..40 {
        wire.peer.send(frame(&wire.pool, &[number; 60])).expect("the ring holds 63");
    }
    let mut burst = Burst::new();
    assert_eq!(wire.rx.poll(&mut burst), BURST);
    burst.prefetch();
    let first: Vec<u8> = (&mut burst).map(|frame| frame.data()[0]).collect();
    assert_eq!(first, (0..32).collect::<Vec<u8>>());
    assert!(burst.next().is_none());
    assert_eq!(wire.rx.poll(&mut burst), 8);
    let rest: Vec<u8> = (&mut burst).map(|frame| frame.data()[0]).collect();
    assert_eq!(rest, (32..40).collect::<Vec<u8>>());
    assert_eq!(wire.rx.poll(&mut burst), 0);
    assert_eq!(wire.pool.available(), 127);
}

#[test]
fn frames_left_in_a_burst_are_freed_by_the_next_poll_and_at_its_end() {
    let mut wire = wire(64, 127);
    for number in 0..20 {
        wire.peer.send(frame(&wire.pool, &[number; 60])).expect("room");
    }
    let mut burst = Burst::default();
    wire.rx.poll(&mut burst);
    assert_eq!(burst.next().map(|frame| frame.data()[0]), Some(0));
    wire.peer.send(frame(&wire.pool, &[77; 60])).expect("room");
    assert_eq!(wire.rx.poll(&mut burst), 1);
    assert_eq!(wire.pool.available(), 126, "all but 77 are back");
    drop(burst);
    assert_eq!(wire.pool.available(), 127);
}

#[test]
fn a_full_ring_takes_a_part_and_the_rest_waits_in_order() {
    let mut wire = wire(8, 127);
    for number in 0..50 {
        wire.tx.push(numbered(&wire, number)).expect("a place for each mbuf there is");
    }
    assert_eq!((wire.tx.flush(), wire.tx.waiting()), (7, 43), "a ring of 8 holds 7");
    assert_eq!((wire.tx.flush(), wire.tx.waiting()), (0, 43));
    let mut all = received(&wire.peer);
    assert_eq!(wire.tx.flush(), 7);
    // What comes later goes behind what waits.
    for number in 50..60 {
        wire.tx.push(numbered(&wire, number)).expect("a place");
    }
    while wire.tx.waiting() > 0 {
        all.extend(received(&wire.peer));
        wire.tx.flush();
    }
    all.extend(received(&wire.peer));
    assert_eq!(all, (0..60).collect::<Vec<u8>>());
    assert_eq!((wire.tx.lost(), wire.pool.available()), (0, 127));
}

#[test]
fn places_of_frames_that_were_sent_are_used_again() {
    // Capacity is the pool's size, 31, or what the allocator rounds that up to; far more than that goes through
    // while some always wait.
    let mut wire = wire(8, 31);
    let (mut sent, mut got) = (0u8, Vec::new());
    while got.len() < 200 {
        while sent < 200 && wire.tx.waiting() < 20 {
            wire.tx.push(numbered(&wire, sent)).expect("at most 20 wait");
            sent += 1;
        }
        wire.tx.flush();
        got.extend(received(&wire.peer));
    }
    assert_eq!(got, (0..200).collect::<Vec<u8>>());
    assert_eq!(wire.pool.available(), 31);
}

#[test]
fn more_than_the_pool_has_cannot_wait() {
    let mut wire = wire(8, 31);
    let other = crate::pool(511, 512);
    let mut pushed = 0;
    let refused = loop {
        match wire.tx.push(to_send(frame(&other, b"frame"))) {
            Ok(()) => pushed += 1,
            Err(frame) => break frame,
        }
        assert!(pushed < 500, "the queue grows");
    };
    assert!(pushed >= 31, "only {pushed} could wait");
    assert_eq!(refused.data(), b"frame", "given back as it was");
    // One place is free again as soon as one is sent.
    assert_eq!(wire.tx.flush(), 7);
    wire.tx.push(refused).expect("a place");
    assert_eq!(wire.tx.waiting(), pushed - 6);
}

#[test]
fn a_frame_in_segments_is_not_sent() {
    let wire = wire(8, 31);
    let mut chained = frame(&wire.pool, &[1; 60]);
    chained.chain(frame(&wire.pool, &[2; 60])).expect("two segments");
    let refused = chained.into_tx().expect_err("one segment a frame");
    assert_eq!((refused.segments(), refused.frame_len()), (2, 120), "given back as it was");
}

#[test]
fn a_burst_keeps_and_takes_what_it_is_told() {
    let mut wire = wire(64, 127);
    for number in 0..10 {
        wire.peer.send(frame(&wire.pool, &[number; 60])).expect("room");
    }
    let mut burst = Burst::new();
    assert_eq!(wire.rx.poll_at_most(&mut burst, 8), 8);
    assert_eq!(burst.next().map(|frame| frame.data()[0]), Some(0));
    let mut odd = Vec::new();
    burst.retain(|frame| {
        if frame.data()[0] % 2 == 0 {
            return Some(frame);
        }
        odd.push(frame);
        None
    });
    let numbers = |frames: &[RxMbuf]| frames.iter().map(|frame| frame.data()[0]).collect::<Vec<u8>>();
    assert_eq!((numbers(burst.frames()), numbers(&odd)), (vec![2, 4, 6], vec![1, 3, 5, 7]));
    burst.append(&mut odd);
    assert!(odd.is_empty());
    assert_eq!(numbers(burst.frames()), [2, 4, 6, 1, 3, 5, 7]);
    // More than a burst holds: the others stay.
    let mut many: Vec<RxMbuf> = (0..40).map(|number| frame(&wire.pool, &[number; 60]).into()).collect();
    burst.append(&mut many);
    let room = BURST - 8;
    assert_eq!((many.len(), many[0].data()[0]), (40 - room, u8::try_from(room).expect("few")));
    drop((burst, many));
    assert_eq!(wire.pool.available(), 127 - 2, "two are still in the ring");
}

#[test]
fn a_queue_that_ends_frees_what_waits_and_the_pool_goes_with_the_port() {
    let eal = crate::start_eal();
    let (number, peer) = ring_port(eal, &unique("ends"), 8).expect("a ring port");
    let name = unique("ends");
    let make = || Mempool::new(eal, &name, 63, 0, 2048, None);
    let pool = make().expect("memory");
    let port = Port::start(eal, number, &one_queue(&pool)).expect("a ring port starts");
    let (rx, mut tx) = port.take_queues(0).expect("its queue pair");
    for number in 0..30 {
        tx.push(to_send(frame(&pool, &[number; 60]))).expect("a place");
    }
    assert_eq!(tx.flush(), 7);
    assert_eq!(received(&peer).len(), 7);
    assert_eq!(format!("{tx:?}"), format!("TxQueue {{ port: {number}, queue: 0, waiting: 23 }}"));
    drop((port, rx, pool));
    assert!(dpdk::port::info(eal, number).is_ok(), "the tx queue keeps the port");
    assert_eq!(make().expect_err("and the port its pool").errno, 17);
    drop(tx);
    assert_eq!(dpdk::port::info(eal, number).expect_err("the port is closed").errno, 19);
    make().expect("the pool is freed, and its name with it");
}
