//! Requests, replies, and their counters.

use std::collections::{BTreeMap, BTreeSet};

use aoeperf::engine::{Engine, Phase};

use crate::disk::{Deed, Disk, serve};
use crate::{drain, found, options, queue, turn_until};

/// Requests answered with success, by path.
fn answered(engine: &Engine) -> Vec<u64> {
    engine.paths().iter().map(|path| path.answered).collect()
}

fn errors(engine: &Engine) -> u64 {
    engine.targets().iter().map(|target| target.errors).sum()
}

#[test]
fn each_target_has_the_depth_outstanding_and_every_tag_is_answered_once() {
    let options = options("-q 5 -o 1024 -w randrw");
    let (queue, peer) = queue(&options);
    let mempool = std::sync::Arc::clone(&queue.mempool);
    let mut disks = [Disk::new("1.1", 64), Disk::new("1.2", 128), Disk::new("7.3", 2)];
    let known = disks.each_ref().map(|disk| found(disk, 0..1));
    let mut engine = Engine::new(vec![queue], &known, &options).expect("it fits");
    engine.begin(Phase::Load);
    disks.iter_mut().for_each(|disk| disk.holds = true);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "15 requests",
        |engine| engine.outstanding() == 15,
    );
    for _ in 0..100 {
        engine.turn(&mut dpdk::Burst::new());
        serve(&mut disks, &[&peer]);
    }
    assert!(disks.iter().all(|disk| disk.seen.len() == 5), "no more than -q");

    for disk in &mut disks {
        disk.holds = false;
        disk.release(&[&peer]);
    }
    engine.start_recording();
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "3000 replies",
        |engine| engine.answers() >= 3000,
    );
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    for (disk, target) in disks.iter().zip(engine.targets()) {
        let tags: BTreeSet<u32> = disk.seen.iter().map(|seen| seen.tag).collect();
        assert_eq!(tags.len(), disk.seen.len(), "each tag is used once");
        assert!(tags.iter().all(|tag| *tag != 0 && tag >> 31 == 0));
        assert!(disk.seen.iter().all(|seen| seen.lba % 2 == 0 && seen.lba < disk.sectors()));
        assert_eq!((target.retransmits, target.errors, target.unexpected), (0, 0, 0));
        assert_eq!(target.tally.requests(), disk.seen.len() as u64, "{}", disk.address);
        let writes = disk.seen.iter().filter(|seen| seen.is_write).count();
        assert!((disk.seen.len() * 4 / 10..disk.seen.len() * 6 / 10).contains(&writes), "{writes}");
        for seen in &disk.seen {
            let length = if seen.is_write { 36 + 1024 } else { 60 };
            assert_eq!(seen.frame.len(), length, "{seen:?}");
        }
    }
    let shares = answered(&engine);
    assert!(shares.iter().all(|share| share * 3 > shares[0] * 2), "all get their turn: {shares:?}");
    drop(engine);
    assert_eq!(mempool.available(), mempool.size(), "every mbuf is back");
}

#[test]
fn sequential_blocks_come_in_order() {
    let options = options("-q 3 -o 512 -w read");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 10)];
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(&mut engine, || serve(&mut disks, &[&peer]), "25 replies", |engine| engine.answers() >= 25);
    let lbas: Vec<u64> = disks[0].seen.iter().take(25).map(|seen| seen.lba).collect();
    assert_eq!(lbas, (0..10).cycle().take(25).collect::<Vec<u64>>());
    drain(&mut engine, || serve(&mut disks, &[&peer]));
}

#[test]
fn paths_and_initiators_are_used_in_turn() {
    let options = options("-q 4 -o 512 -w randread --initiators 7");
    let ((one, first), (two, second)) = (queue(&options), queue(&options));
    let peers = [&first, &second];
    let mut disks = [Disk::new("1.1", 64)];
    let mut engine = Engine::new(vec![one, two], &[found(&disks[0], 0..2)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(&mut engine, || serve(&mut disks, &peers), "1400 replies", |engine| engine.answers() >= 1400);
    drain(&mut engine, || serve(&mut disks, &peers));
    let mut by_source = BTreeMap::<(usize, [u8; 6]), u32>::new();
    for seen in &disks[0].seen {
        *by_source.entry((seen.queue, seen.source)).or_default() += 1;
    }
    assert_eq!(by_source.len(), 14, "seven on each port: {by_source:?}");
    for ((_, source), count) in by_source {
        assert_eq!(source[0] & 3, 2, "locally administered, no group");
        assert!((99..=103).contains(&count), "{count}");
    }
    let [one, two] = answered(&engine)[..] else { panic!("two paths") };
    assert!(one.abs_diff(two) <= 4, "{one} {two}");
}

#[test]
fn a_lost_request_is_sent_again_the_same_and_counted() {
    let options = options("-q 2 -o 512 -w write --verify --first-rto 100");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    disks[0].deeds = [Deed::Lose, Deed::Answer, Deed::Lose].into();
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "both are repeated",
        |engine| engine.targets()[0].retransmits == 2,
    );
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    for lost in [0, 2] {
        let copies: Vec<_> =
            disks[0].seen.iter().filter(|seen| seen.tag == disks[0].seen[lost].tag).collect();
        assert_eq!(copies.len(), 2);
        assert!(copies[0].frame == copies[1].frame, "with its stamp and all");
    }
    assert_eq!((errors(&engine), engine.targets()[0].unexpected, engine.paths()[0].retransmits), (0, 0, 2));

    engine.begin(Phase::Sweep);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "the sweep",
        |engine| engine.outstanding() == 0 && !engine.has_idle(),
    );
    let disk = engine.targets()[0].disk.as_ref().expect("it is verified");
    assert_eq!((errors(&engine), disk.checked()), (0, disk.written()));
}

#[test]
fn what_answers_nothing_is_counted_and_changes_nothing() {
    let options = options("-q 1 -o 512 -w randread --first-rto 100");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    disks[0].deeds = [Deed::AnswerTwice, Deed::AsAnother, Deed::ToAnother].into();
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(&mut engine, || serve(&mut disks, &[&peer]), "ten replies", |engine| engine.answers() >= 10);
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    // The second answer and the one to another MAC address; the answer of another shelf belongs to no target.
    assert_eq!((engine.targets()[0].unexpected, engine.unexpected_elsewhere()), (2, 1));
    assert_eq!((errors(&engine), engine.targets()[0].retransmits), (0, 2), "{:?}", engine.complaints());
}

#[test]
fn failures_end_their_request_and_say_what_they_were() {
    let options = options("-q 1 -o 1024 -w randread");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    disks[0].deeds = [Deed::Answer, Deed::Fail, Deed::Refuse(6), Deed::Short].into();
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    engine.start_recording();
    turn_until(&mut engine, || serve(&mut disks, &[&peer]), "ten are over", |engine| engine.answers() >= 10);
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    assert_eq!((errors(&engine), engine.targets()[0].retransmits), (3, 0));
    assert_eq!(engine.targets()[0].tally.requests(), engine.answers() - 3, "failures have no latency");
    let said = engine.complaints();
    for (line, part) in
        said.iter().zip(["status 0x41, error 0x04", "AoE error 6 (target is reserved)", "512 bytes"])
    {
        assert!(line.starts_with("target 1.1: read of 2 sectors at LBA ") && line.contains(part), "{said:?}");
    }
    assert_eq!(said.len(), 3);
}

#[test]
fn wrong_data_is_an_error() {
    let options = options("-q 1 -o 512 -w rw -M 50 --verify --sectors 1");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "some are checked",
        |engine| engine.targets()[0].disk.as_ref().is_some_and(|disk| disk.checked() > 3),
    );
    assert_eq!(errors(&engine), 0);
    disks[0].deeds = [Deed::Corrupt; 20].into();
    turn_until(&mut engine, || serve(&mut disks, &[&peer]), "an error", |engine| errors(engine) > 0);
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    assert!(engine.complaints()[0].contains("damaged from byte 511 on"), "{:?}", engine.complaints());
}

#[test]
fn verified_requests_never_overlap() {
    let options = options("-q 16 -o 1024 -w randrw --verify --seed 9");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 16)];
    disks[0].holds = true;
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    for _ in 0..200 {
        disks[0].seen.clear();
        for _ in 0..20 {
            engine.turn(&mut dpdk::Burst::new());
            serve(&mut disks, &[&peer]);
        }
        let outstanding: Vec<u64> =
            disks[0].held.iter().map(|(_, frame)| u64::from(frame.data()[28])).collect();
        let distinct: BTreeSet<u64> = outstanding.iter().copied().collect();
        assert_eq!(distinct.len(), outstanding.len(), "{outstanding:?}");
        assert!(outstanding.len() >= 4, "{outstanding:?}");
        disks[0].release(&[&peer]);
    }
    disks[0].holds = false;
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    assert_eq!(errors(&engine), 0, "{:?}", engine.complaints());
    assert!(engine.targets()[0].disk.as_ref().is_some_and(|disk| disk.written() == 16));
}

#[test]
fn linux_s_window_opens_half_the_buffer_count_and_shuts_after_a_loss() {
    let options = options("-q 64 -o 512 -w randread --linux-window --first-rto 100");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    disks[0].holds = true;
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    for _ in 0..50 {
        engine.turn(&mut dpdk::Burst::new());
        serve(&mut disks, &[&peer]);
    }
    assert_eq!((engine.outstanding(), disks[0].seen.len()), (8, 8), "half of 16");
    disks[0].holds = false;
    disks[0].release(&[&peer]);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "a window of 16",
        |engine| engine.paths()[0].window.open() == Some(16),
    );
    disks[0].deeds = [Deed::Lose].into();
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "a loss",
        |engine| engine.paths()[0].retransmits > 0,
    );
    assert!(engine.paths()[0].window.open() < Some(16), "{:?}", engine.paths()[0].window);
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    assert_eq!(errors(&engine), 0);
}

#[test]
fn a_target_that_is_gone_fails_its_requests_after_the_deadline() {
    let options = options("-q 3 -o 512 -w randread --first-rto 100 --deadsecs 0.5");
    let (queue, peer) = queue(&options);
    let mut disks = [Disk::new("1.1", 64)];
    disks[0].deeds = vec![Deed::Lose; 9].into();
    let mut engine = Engine::new(vec![queue], &[found(&disks[0], 0..1)], &options).expect("it fits");
    engine.begin(Phase::Load);
    turn_until(
        &mut engine,
        || serve(&mut disks, &[&peer]),
        "it answers again",
        |engine| engine.answers() > 100,
    );
    drain(&mut engine, || serve(&mut disks, &[&peer]));
    // Copies at 0, 100 and 300 ms at the soonest, and given up at the next look after half a second.
    assert!(errors(&engine) <= 3, "{:?}", engine.complaints());
    assert!(engine.targets()[0].retransmits >= 3, "{:?}", engine.targets()[0].retransmits);
}
