//! Frames from thread to thread: none lost, none twice, none leaked; and rules that a port has no use for.

use std::sync::Arc;

use dpdk::{Burst, FlowRule, Mempool, Port, RxMbuf, frame_ring, port, ring_port, ring_port_with_queues, tsc};

use crate::{frame, pool, unique};

fn numbered(pool: &Mempool, numbers: std::ops::Range<u8>) -> Vec<RxMbuf> {
    numbers.map(|number| frame(pool, &[number; 60]).into()).collect()
}

fn numbers(burst: &mut Burst) -> Vec<u8> {
    burst.map(|frame| frame.data()[0]).collect()
}

#[test]
fn what_a_full_ring_does_not_take_stays_in_order() {
    let pool = pool(127, 512);
    let (mut senders, mut receiver) =
        frame_ring(crate::start_eal(), &unique("hand"), 7, 1, None).expect("a ring");
    assert!(receiver.is_empty());
    let mut frames = numbered(&pool, 0..10);
    assert_eq!(senders[0].send(&mut frames), 7);
    assert_eq!(frames.iter().map(|frame| frame.data()[0]).collect::<Vec<u8>>(), [7, 8, 9]);
    assert_eq!(senders[0].send(&mut frames), 0);
    assert!(!receiver.is_empty());
    let mut burst = Burst::new();
    assert_eq!(receiver.receive(&mut burst), 7);
    assert_eq!(numbers(&mut burst), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(senders[0].send(&mut frames), 3);
    assert!(frames.is_empty());
    assert_eq!(receiver.receive(&mut burst), 3);
    // What is left in a burst is freed by the next.
    assert_eq!(receiver.receive(&mut burst), 0);
    assert_eq!(pool.available(), 127);
}

#[test]
fn frames_in_a_ring_are_freed_with_its_last_end() {
    let eal = crate::start_eal();
    let pool = pool(127, 512);
    let name = unique("hand");
    let (mut senders, receiver) = frame_ring(eal, &name, 31, 2, None).expect("a ring");
    assert_eq!(senders[0].send(&mut numbered(&pool, 0..5)), 5);
    drop(receiver);
    assert_eq!(senders[1].send(&mut numbered(&pool, 5..8)), 3);
    assert_eq!(pool.available(), 119);
    assert_eq!(frame_ring(eal, &name, 31, 1, None).expect_err("the ring lives").errno, 17);
    drop(senders);
    assert_eq!(pool.available(), 127);
    drop(frame_ring(eal, &name, 31, 1, None).expect("its name is free"));
}

#[test]
fn rings_without_senders_room_or_name_are_refused() {
    let eal = crate::start_eal();
    for (name, capacity, senders) in [("hand", 7, 0), ("hand", 0, 1), ("hand", 1 << 31, 1), ("ha\0nd", 7, 1)]
    {
        assert_eq!(
            frame_ring(eal, name, capacity, senders, None).expect_err("no ring").errno,
            22,
            "{name:?}"
        );
    }
}

#[test]
fn several_threads_hand_over_and_each_frame_arrives_once() {
    const EACH: u32 = 20_000;
    let pool = pool(511, 512);
    let (senders, mut receiver) =
        frame_ring(crate::start_eal(), &unique("hand"), 31, 3, None).expect("a ring");
    let mut got = [0u32; 3];
    std::thread::scope(|scope| {
        for (thread, mut sender) in (0u8..).zip(senders) {
            let pool = Arc::clone(&pool);
            scope.spawn(move || {
                let mut frames = Vec::with_capacity(8);
                let mut made = 0;
                while made < EACH || !frames.is_empty() {
                    while made < EACH && frames.len() < 8 {
                        let Some(mut frame) = pool.alloc() else { break };
                        assert!(frame.resize(5));
                        frame.data_mut()[0] = thread;
                        frame.data_mut()[1..].copy_from_slice(&made.to_be_bytes());
                        frames.push(frame.into());
                        made += 1;
                    }
                    if sender.send(&mut frames) == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut burst = Burst::new();
        while got.iter().sum::<u32>() < 3 * EACH {
            if receiver.receive(&mut burst) == 0 {
                std::thread::yield_now();
            }
            for frame in &mut burst {
                let data = frame.data();
                let number = u32::from_be_bytes(data[1..5].try_into().expect("four bytes"));
                let next = &mut got[usize::from(data[0])];
                assert_eq!(number, *next, "each sender's in its order");
                *next += 1;
            }
        }
    });
    assert!(receiver.is_empty());
    drop(receiver);
    assert_eq!(pool.available(), 511);
}

#[test]
fn a_pmd_without_rules_says_so() {
    let eal = crate::start_eal();
    let (number, _peers) = ring_port_with_queues(eal, &unique("rules"), 64, 2).expect("a ring port");
    let refused = port::hash_rule(eal, number, 2).expect_err("rings have no hashes");
    assert_eq!(refused.error.errno, 38, "{refused}");
    assert!(refused.to_string().starts_with("rte_flow_validate failed"), "{refused}");
    assert_eq!(port::hash_rule(eal, 1000, 2).expect_err("no such port").error.errno, 19);
    let (one, _peer) = ring_port(eal, &unique("rules"), 64).expect("a ring port");
    let refused = port::hash_rule(eal, one, 2).expect_err("it has one queue");
    assert_eq!(refused.error.call, "rte_eth_dev_configure", "{refused}");
    let port = Port::start(eal, one, &crate::one_queue(&crate::pool(31, 2048))).expect("a ring port starts");
    let steer = FlowRule::Steer { to: [2, 0, 0, 0, 0, 1], queue: 0 };
    assert_eq!(port.apply(&steer).expect_err("nor filters").error.errno, 38);
}

#[test]
fn a_pause_ends_and_without_the_cpu_s_instruction_not_before_its_time() {
    crate::start_eal();
    let before = tsc::now();
    dpdk::pause(1_000_000);
    let cycles = tsc::now() - before;
    println!("the CPU can pause: {}; a pause of 1 ms took {cycles} cycles", dpdk::can_pause());
    // The instruction may end earlier: Linux limits it.
    assert!(dpdk::can_pause() || cycles >= tsc::hz() / 1000, "{cycles} cycles");
}
