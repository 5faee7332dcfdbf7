//! Exports that come and go, and are advertised.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use aoe_target::{DropReason, Export, ExportId, ExportKey, PortSet, Ports, ShelfSlot};
use datapath::AddError;
use ring_lab::export;
use ring_lab::frames::{self, check_reply, pattern, status, tag};

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_removed_export_answers_what_it_has_first", removal),
    ("an_offline_export_faults_at_once", offline),
    ("a_wildcard_write_reaches_no_export", wildcard_write),
    ("an_export_is_prepared_then_served_and_messages_for_an_earlier_one_do_nothing", phases),
    ("a_bdev_that_comes_back_is_attached_then_served", comes_back),
    ("an_export_goes_on_with_another_channel_when_it_has_answered_what_it_has", exchanged),
    ("an_exchange_that_is_not_to_be_leaves_the_export_as_it_was", released),
    ("advertisements_go_to_everybody", advertisements),
];

fn removal() -> Step {
    let done = Rc::new(Cell::new(false));
    let noted = Rc::clone(&done);
    chain(vec![
        exchange(
            |bench| {
                for tag in 0..40 {
                    assert!(bench.send(&frames::write(2, tag, u64::from(tag) * 16, &pattern(tag, 16))));
                }
                // The kernel has them now, before any can have ended here: bdevs make progress between two steps only.
                let before = bench.received();
                while bench.received() < before + 40 {
                    bench.lcore.turn();
                }
                assert!(bench.lcore.in_flight() > 0, "the file's writes are in flight");
                bench.lcore.remove(ExportId(1), move || noted.set(true));
                assert!(bench.send(&frames::read(2, 99, 0, 1)), "comes too late");
            },
            40,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        silence(1000),
        Box::new(move |bench, _| {
            assert!(done.get(), "the last answer ends the removal");
            assert_eq!(bench.lcore.snapshot().exports.len(), 1);
            let (malloc, file) = (bench.malloc.clone(), bench.file.clone());
            // And in again, under the same number.
            bench.lcore.add(export(1, "1.2", &file), &file).expect("its place is free");
            let taken = bench.lcore.add(export(2, "1.2", &malloc), &malloc);
            assert!(taken.is_err(), "an address is served once");
            true
        }),
    ])
}

fn offline() -> Step {
    exchange(
        |bench| {
            bench.lcore.take_offline(ExportId(1), || ());
            assert!(bench.send(&frames::read(2, 1, 0, 1)));
            assert!(bench.send(&frames::write(2, 2, 0, &pattern(1, 1))));
            assert!(bench.send(&frames::query(1, 2, 3)));
            assert!(bench.send(&frames::read(1, 4, 0, 1)));
        },
        4,
        |_, replies| {
            assert_eq!(status(&replies[0]).0, 0x61, "device fault");
            assert_eq!(status(&replies[1]).0, 0x61);
            check_reply(&replies[2], 1, 2, 1);
            assert_eq!(status(&replies[3]), (0x40, 0), "the other export goes on");
        },
    )
}

/// Has the file's export have writes in flight, and be held behind them, with another channel open.
fn hold(bench: &mut Bench, held: impl FnOnce() + 'static) {
    for tag in 0..40 {
        assert!(bench.send(&frames::write(2, tag, u64::from(tag) * 16, &pattern(tag, 16))));
    }
    let before = bench.received();
    while bench.received() < before + 40 {
        bench.lcore.turn();
    }
    assert!(bench.lcore.in_flight() > 0, "the file's writes are in flight");
    let file = bench.file.clone();
    bench.lcore.open_other(export(1, "1.2", &file), &file).expect("a channel");
    bench.lcore.hold(ExportId(1), held);
    assert!(bench.send(&frames::read(2, 98, 0, 1)), "it comes too early");
    assert!(bench.send(&frames::flush(2, 99)), "so does this");
}

fn held_drops(bench: &Bench) -> u64 {
    bench.lcore.snapshot().queues.iter().map(|queue| queue.drops.get(DropReason::ExportHeld)).sum()
}

/// One sector of what [`hold`] has written.
fn reads_back() -> Step {
    exchange(
        |bench| assert!(bench.send(&frames::read(2, 100, 16, 1))),
        1,
        |_, replies| {
            assert_eq!(status(&replies[0]), (0x40, 0));
            assert_eq!(replies[0][36..36 + 512], pattern(1, 16)[..512]);
        },
    )
}

fn exchanged() -> Step {
    let held = Rc::new(Cell::new(false));
    let noted = Rc::clone(&held);
    chain(vec![
        exchange(
            move |bench| hold(bench, move || noted.set(true)),
            40,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        silence(1000),
        Box::new(move |bench, _| {
            assert!(held.get(), "nothing is in flight");
            assert_eq!(held_drops(bench), 2);
            assert!(bench.lcore.exchange(ExportId(1)).is_some(), "the export before");
            assert!(bench.lcore.exchange(ExportId(1)).is_none(), "once");
            true
        }),
        reads_back(),
    ])
}

fn released() -> Step {
    let held = Rc::new(Cell::new(0));
    let noted = Rc::clone(&held);
    chain(vec![
        exchange(
            move |bench| {
                hold(bench, move || noted.set(noted.get() + 1));
                bench.lcore.turn();
                assert!(bench.lcore.release(ExportId(1)).is_some(), "the export that is not needed");
            },
            40,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        silence(1000),
        Box::new(move |bench, _| {
            assert_eq!((held.get(), held_drops(bench)), (1, 2), "who waits is not left waiting");
            assert!(bench.lcore.exchange(ExportId(1)).is_none(), "there is nothing to go on with");
            true
        }),
        reads_back(),
    ])
}

fn wildcard_write() -> Step {
    chain(vec![
        exchange(
            |bench| {
                let everybody = |mut frame: Vec<u8>| {
                    frame[16..19].fill(0xff);
                    frame
                };
                assert!(bench.send(&everybody(frames::write(1, 1, 0, &pattern(1, 1)))));
                assert!(bench.send(&everybody(frames::flush(1, 2))));
                assert!(bench.send(&frames::query(0xffff, 0xff, 3)), "a question all the same");
            },
            2,
            |bench, replies| {
                assert!(replies.iter().all(|reply| tag(reply) == 3), "the query alone is answered");
                assert_eq!(bench.drops(DropReason::WildcardRefused), 2);
            },
        ),
        exchange(
            |bench| (1..=2).for_each(|slot| assert!(bench.send(&frames::read(slot, 4, 0, 1)))),
            2,
            |_, replies| {
                for reply in &replies {
                    assert!(reply[frames::DATA..].iter().all(|byte| *byte == 0), "not written");
                }
            },
        ),
    ])
}

/// The export, and an earlier one of its id.
const KEY: ExportKey = ExportKey { id: ExportId(5), generation: 7 };
const EARLIER: ExportKey = ExportKey { generation: 6, ..KEY };

fn of_key(bench: &Bench) -> Box<Export> {
    Box::new((*export(KEY.id.0, "1.5", &bench.malloc)).in_generation(KEY.generation))
}

fn phases() -> Step {
    chain(vec![
        exchange(
            |bench| {
                let (export, malloc) = (of_key(bench), bench.malloc.clone());
                bench.lcore.prepare(export, &malloc).expect("a free id");
                assert!(bench.send(&frames::read(5, 1, 0, 1)), "nobody has this address yet");
                assert!(bench.send(&frames::read(1, 2, 0, 1)));
            },
            1,
            |_, replies| assert_eq!(tag(&replies[0]), 2),
        ),
        silence(100),
        exchange(
            |bench| {
                let again = (of_key(bench), bench.malloc.clone());
                assert!(bench.lcore.prepare(again.0, &again.1).is_err(), "its id is taken");
                assert_eq!(bench.lcore.serve(EARLIER).unwrap_err(), AddError::Unknown(EARLIER));
                assert!(bench.lcore.serve(KEY).expect("it is prepared").is_none());
                let ended = Rc::new(Cell::new(0));
                for end in [Rc::clone(&ended), Rc::clone(&ended)] {
                    bench.lcore.remove(EARLIER, {
                        let end = Rc::clone(&end);
                        move || end.set(end.get() + 1)
                    });
                    bench.lcore.take_offline(EARLIER, move || end.set(end.get() + 1));
                }
                assert_eq!(ended.get(), 4, "there is nothing to wait for");
                assert!(!bench.lcore.rebind(EARLIER, Ports::Set(PortSet::EMPTY)));
                bench.lcore.resize(EARLIER, 0);
                assert!(bench.lcore.publish(EARLIER, &Arc::default(), None).is_empty());
                assert!(bench.send(&frames::read(5, 3, 0, 1)));
            },
            1,
            |_, replies| assert_eq!((tag(&replies[0]), status(&replies[0])), (3, (0x40, 0))),
        ),
    ])
}

fn comes_back() -> Step {
    let closed = Rc::new(Cell::new(false));
    let (close, is_closed) = (Rc::clone(&closed), closed);
    chain(vec![
        exchange(
            move |bench| {
                let (export, malloc) = (of_key(bench), bench.malloc.clone());
                bench.lcore.add(export, &malloc).expect("a free address");
                let again = of_key(bench);
                assert_eq!(bench.lcore.attach(again, &malloc).unwrap_err(), AddError::Attached);
                let close = Rc::clone(&close);
                bench.lcore.take_offline(KEY, move || close.set(true));
                assert!(bench.send(&frames::read(5, 1, 0, 1)));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]).0, 0x61, "device fault"),
        ),
        exchange(
            move |bench| {
                assert!(is_closed.get(), "nothing is in flight");
                let (export, malloc) = (of_key(bench), bench.malloc.clone());
                bench.lcore.attach(export, &malloc).expect("its channel is closed");
                assert!(bench.send(&frames::read(5, 2, 0, 1)));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]).0, 0x61, "other lcores may not have attached it"),
        ),
        exchange(
            |bench| {
                assert!(bench.lcore.serve(KEY).expect("it is attached").is_some(), "the offline one");
                assert!(bench.send(&frames::read(5, 3, 0, 1)));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]), (0x40, 0)),
        ),
    ])
}

fn advertisements() -> Step {
    exchange(
        |bench| bench.lcore.advertise(None, ShelfSlot::WILDCARD),
        2,
        |_, replies| {
            for reply in &replies {
                assert_eq!(reply[..6], [0xff; 6]);
                assert_eq!(reply[6..12], frames::TARGET);
                assert_eq!((reply[14], reply[19], tag(reply)), (0x18, 1, 0));
                assert_eq!(reply.len(), 60);
            }
        },
    )
}
