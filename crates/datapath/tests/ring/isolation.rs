//! A bdev that answers late and initiators that send too much, beside others.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use aoe_target::DropReason;
use ring_lab::frames::{self, status, tag};

use crate::bench::{Bench, Room};
use crate::script::{Scenario, Step, chain};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_bdev_that_does_not_answer_leaves_mbufs_to_other_exports", || {
        chain(vec![flood(), others(), repeated(), repeated_writes(), late()])
    }),
    ("a_request_past_its_deadline_is_answered_once_with_a_fault", || {
        chain(vec![faults(), late_completions()])
    }),
    ("a_bdev_that_can_abort_gives_requests_back_at_their_deadline", || {
        chain(vec![hung(), aborted(), deleted()])
    }),
];

/// Initiators that keep to nothing, and their requests.
const GREEDY: u8 = 4;
const EACH: u32 = 1000;
/// An initiator that has what the export advertises in flight.
const MODEST: u8 = 5;
const ADVERTISED: u32 = 16;

fn from(initiator: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = 0x10 + initiator;
    frame
}

/// Sends a frame by way of an mbuf of the port, as a NIC does, and has the lcore receive it.
fn arrives(bench: &mut Bench, frame: &[u8]) {
    let received = bench.arrive(frame);
    assert_ne!(received, Room::NoMbuf, "the NIC has no mbuf for a frame: {}", bench.describe());
    assert_eq!(received, Room::Taken);
    bench.lcore.turn();
}

/// Four initiators with 1,000 reads each, all to the export whose bdev is late.
fn flood() -> Step {
    Box::new(|bench, arrived| {
        assert!(arrived.is_empty(), "{arrived:x?}");
        let late = ring_lab::open("late");
        bench.lcore.add(ring_lab::export(2, "1.3", &late), &late).expect("the address is free");
        for request in 0..EACH {
            for initiator in 0..GREEDY {
                let read = frames::read(3, request, u64::from(request), 1);
                arrives(bench, &from(initiator, read));
            }
        }
        let (in_flight, dropped) = (bench.lcore.in_flight(), bench.drops(DropReason::ExportFull));
        assert_eq!(u64::from(in_flight) + dropped, u64::from(GREEDY) * u64::from(EACH));
        assert!(in_flight >= u32::from(GREEDY) * ADVERTISED, "{in_flight}");
        let counted =
            bench.lcore.snapshot().exports.iter().map(|(_, counters)| counters.export_full).sum::<u64>();
        assert_eq!(counted, dropped, "counted for the export, too");
        true
    })
}

/// The other exports and config queries are answered, and the initiator that keeps to what was advertised is admitted.
fn others() -> Step {
    const QUERY: u32 = 5000;
    const READ: u32 = 5001;
    let mut sent = false;
    let mut missing = BTreeSet::from([QUERY, QUERY + 2, READ]);
    Box::new(move |bench, arrived| {
        if !sent {
            sent = true;
            let dropped = bench.drops(DropReason::ExportFull);
            for request in 0..ADVERTISED {
                arrives(bench, &from(MODEST, frames::read(3, 6000 + request, u64::from(request), 1)));
            }
            assert_eq!(bench.drops(DropReason::ExportFull), dropped, "it keeps to it");
            arrives(bench, &from(MODEST, frames::read(3, 6000 + ADVERTISED, u64::from(ADVERTISED), 1)));
            assert_eq!(bench.drops(DropReason::ExportFull), dropped + 1, "one more than advertised");
            arrives(bench, &frames::query(1, 1, QUERY));
            arrives(bench, &frames::query(1, 3, QUERY + 2));
            arrives(bench, &frames::read(1, READ, 0, 8));
        }
        for reply in arrived {
            assert!(missing.remove(&tag(&reply)), "the late bdev has answered: {}", tag(&reply));
        }
        missing.is_empty()
    })
}

/// The tag of a copy for which there is no room.
const NEWEST: u32 = 8001;

/// A read of the flood that is repeated; its tag and its sector. Of those in its granule the newest, since not all are looked at.
const REPEATED: u32 = 15;

/// A greedy initiator sends a read again, twice. The budget has no room, but none is needed: the original will be
/// answered under the newest tag.
fn repeated() -> Step {
    Box::new(|bench, _| {
        let dropped = bench.drops(DropReason::ExportFull);
        let copies = bench.drops(DropReason::CopyInFlight);
        for tag in [NEWEST - 1, NEWEST] {
            arrives(bench, &from(0, frames::read(3, tag, u64::from(REPEATED), 1)));
        }
        assert_eq!(bench.drops(DropReason::ExportFull), dropped);
        assert_eq!(bench.drops(DropReason::CopyInFlight), copies + 2);
        true
    })
}

/// An initiator that has what the export advertises in flight, as writes, and repeats them.
const WRITER: u8 = 6;
/// The tag of the first write's last copy; those of the others follow.
const NEWEST_WRITES: u32 = 9000;

/// A write of the writer: the `nth`, with data that its number stands for.
fn written(tag: u32, nth: u32, data: u32) -> Vec<u8> {
    from(WRITER, frames::write(3, tag, u64::from(1100 + nth), &frames::pattern(data, 1)))
}

/// An initiator that keeps to what is advertised sends all of its writes again, twice. It has no mbuf left for a copy, but none is
/// needed. A write with other data is none.
fn repeated_writes() -> Step {
    Box::new(|bench, _| {
        let dropped = bench.drops(DropReason::ExportFull);
        let copies = bench.drops(DropReason::CopyInFlight);
        for first_tag in [NEWEST_WRITES - 200, NEWEST_WRITES - 100, NEWEST_WRITES] {
            for nth in 0..ADVERTISED {
                arrives(bench, &written(first_tag + nth, nth, nth));
            }
        }
        assert_eq!(bench.drops(DropReason::ExportFull), dropped);
        assert_eq!(bench.drops(DropReason::CopyInFlight), copies + 2 * u64::from(ADVERTISED));
        arrives(bench, &written(NEWEST_WRITES + 100, 0, 1));
        assert_eq!(bench.drops(DropReason::ExportFull), dropped + 1, "a further request");
        true
    })
}

/// Requests past their deadline that the bdev has, and those that wait for them.
const OVERDUE: usize = 4;
const WAITING: usize = 2;

/// Two reads and two writes are past their deadline long before their bdev answers: each is answered with a device fault, in
/// an mbuf that the bdev does not have. So are a copy of a write, which no bdev has, and a write that waits for it.
fn faults() -> Step {
    let mut replies = Vec::new();
    let mut sent = false;
    Box::new(move |bench, arrived| {
        if !sent {
            sent = true;
            let late = ring_lab::open("late");
            let mut export = ring_lab::export(2, "1.3", &late);
            export.configure(|settings| settings.io_timeout = 1);
            bench.lcore.count_degraded_changes(bench.degraded_changes.clone());
            bench.lcore.add(export, &late).expect("the address is free");
            arrives(bench, &frames::read(3, 1, 0, 2));
            arrives(bench, &frames::write(3, 2, 8, &frames::pattern(2, 8)));
            arrives(bench, &frames::write(3, 3, 24, &frames::pattern(3, 8)));
            arrives(bench, &from(MODEST, frames::read(3, 4, 16, 1)));
            arrives(bench, &frames::write(3, 5, 8, &frames::pattern(2, 8)));
            arrives(bench, &frames::write(3, 6, 12, &frames::pattern(6, 8)));
            // The other export is not touched by it.
            arrives(bench, &frames::read(1, 9, 0, 1));
            assert!(bench.lcore.degraded().is_empty());
        }
        replies.extend(arrived);
        if replies.len() <= OVERDUE + WAITING {
            return false;
        }
        let mut found: Vec<_> = replies.iter().map(|reply| (tag(reply), status(reply))).collect();
        found.sort_unstable();
        let fault = (0x61, 0x04);
        assert_eq!(
            found,
            [(1, fault), (2, fault), (3, fault), (4, fault), (5, fault), (6, fault), (9, (0x40, 0))]
        );
        for reply in &replies {
            let to = if tag(reply) == 4 { 0x10 + MODEST } else { frames::INITIATOR[5] };
            assert_eq!((reply[5], &reply[6..12]), (to, &frames::TARGET[..]), "to its initiator");
        }
        let degraded = bench.lcore.degraded();
        let [degraded] = &degraded[..] else { panic!("one export is degraded: {degraded:?}") };
        assert_eq!((degraded.export.id.0, degraded.overdue as usize), (2, OVERDUE));
        assert_eq!(bench.degraded_changes.get(), 1);
        assert_eq!(bench.lcore.in_flight() as usize, OVERDUE, "the bdev has them still");
        assert_eq!(bench.taken() as usize, OVERDUE, "and their mbufs");
        true
    })
}

/// The bdev answers at last: nobody is answered twice, the mbufs are free, and the export is well again.
fn late_completions() -> Step {
    Box::new(|bench, arrived| {
        assert!(arrived.is_empty(), "a second answer: {arrived:x?}");
        if !bench.lcore.degraded().is_empty() {
            return false;
        }
        assert_eq!(bench.degraded_changes.get(), 2);
        assert_eq!(bench.lcore.in_flight(), 0);
        let counters = bench.lcore.snapshot().exports[2].1;
        let counts = (counters.timeouts, counters.late_completions, counters.ata_errors);
        let all = (OVERDUE + WAITING) as u64;
        assert_eq!(counts, (all, OVERDUE as u64, all));
        assert_eq!((counters.read_bytes, counters.written_bytes), (0, 0), "nobody got these");
        assert_eq!((counters.copies, counters.order_waits), (1, 1));
        true
    })
}

/// The late bdev answers what it was given, and nothing is left over. The requests that were repeated are answered once, under
/// their newest tags.
fn late() -> Step {
    let mut due = None;
    let mut newest = 0;
    let mut writes = BTreeSet::new();
    Box::new(move |bench, arrived| {
        let due = due.get_or_insert_with(|| bench.lcore.in_flight());
        for reply in arrived {
            assert_eq!(status(&reply), (0x40, 0));
            if reply[5] == 0x10 {
                assert!(![REPEATED, NEWEST - 1].contains(&tag(&reply)), "an older tag");
                newest += u32::from(tag(&reply) == NEWEST);
            }
            if reply[5] == 0x10 + WRITER {
                assert!(writes.insert(tag(&reply)), "a second answer");
            }
            *due -= 1;
        }
        *due == 0 && {
            assert_eq!(newest, 1);
            assert!(writes.iter().copied().eq(NEWEST_WRITES..NEWEST_WRITES + ADVERTISED), "{writes:?}");
            true
        }
    })
}

/// Requests to a bdev that can abort, more than a channel has aborts in flight.
const HUNG: u32 = 80;

/// Reads and writes are past their deadline at a bdev that answers after an hour.
fn hung() -> Step {
    let mut sent = false;
    let mut faults = BTreeSet::new();
    Box::new(move |bench, arrived| {
        if !sent {
            sent = true;
            let bdev = ring_lab::open("abortable");
            let mut export = ring_lab::export(2, "1.3", &bdev);
            export.configure(|settings| settings.io_timeout = 1);
            bench.lcore.count_degraded_changes(bench.degraded_changes.clone());
            bench.lcore.add(export, &bdev).expect("the address is free");
            for request in 0..HUNG {
                let lba = 8 * u64::from(request);
                arrives(
                    bench,
                    &match request % 2 {
                        0 => frames::read(3, request, lba, 8),
                        _ => frames::write(3, request, lba, &frames::pattern(request, 8)),
                    },
                );
            }
            assert_eq!(bench.lcore.in_flight(), HUNG);
        }
        for reply in arrived {
            assert_eq!(status(&reply), (0x61, 0x04));
            assert!(faults.insert(tag(&reply)), "a second answer");
        }
        faults.len() == HUNG as usize
    })
}

/// The bdev has given all of them back, long before it answers. Each was asked for once.
fn aborted() -> Step {
    Box::new(|bench, arrived| {
        assert!(arrived.is_empty(), "a second answer: {arrived:x?}");
        if bench.lcore.in_flight() > 0 {
            return false;
        }
        let counters = bench.lcore.snapshot().exports[2].1;
        let hung = u64::from(HUNG);
        assert_eq!((counters.timeouts, counters.aborts, counters.late_completions), (hung, hung, hung));
        assert_eq!((counters.ata_errors, counters.written_bytes), (hung, 0), "nothing is acknowledged");
        assert!(bench.lcore.degraded().is_empty());
        assert_eq!((bench.degraded_changes.get(), bench.taken()), (2, 0));
        true
    })
}

/// The export's channel closes.
fn deleted() -> Step {
    let done = Rc::new(Cell::new(false));
    let mut begun = false;
    Box::new(move |bench, _| {
        if !begun {
            begun = true;
            let (key, noted) = (ring_lab::export(2, "1.3", &bench.malloc).key(), Rc::clone(&done));
            bench.lcore.remove(key, move || noted.set(true));
        }
        done.get()
    })
}
