//! Frames that a port queue copies for captures.

use std::cell::RefCell;
use std::rc::Rc;

use aoe_target::{MacAddr, PortId, Shelf, ShelfSlot, Slot};
use datapath::{CAPTURES_MAX, CaptureFilter, CaptureTap, CapturedFrames, FrameCopies, RING_MIN};
use ring_lab::frames::{self, pattern, status};

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange, once};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("a_capture_has_the_requests_and_replies_of_its_export_alone", of_one_export)];

/// The end of a capture, once it runs.
type Copies = Rc<RefCell<Option<FrameCopies>>>;

/// The bench's one port.
fn port(bench: &Bench) -> PortId {
    bench.lcore.snapshot().queues[0].port
}

fn start(bench: &mut Bench, number: u64, filter: CaptureFilter, copies: &Copies) {
    let (tap, end) = CaptureTap::new(number, filter, RING_MIN, 128);
    let tap = bench.lcore.capture(PortId(99), tap).expect("there is no such port here");
    let port = port(bench);
    assert!(bench.lcore.capture(port, tap).is_none());
    *copies.borrow_mut() = Some(end);
}

/// What was copied: whether it was sent, its slot, its length and its copied bytes.
fn taken(copies: &Copies) -> Vec<(bool, u8, usize, usize)> {
    let mut frames = CapturedFrames::default();
    copies.borrow_mut().as_mut().expect("a capture").take(&mut frames, 0);
    frames.in_order().map(|(frame, bytes)| (frame.sent, bytes[18], frame.length, bytes.len())).collect()
}

fn of_one_export() -> Step {
    let copies = Copies::default();
    let (first, second, third, last) = (copies.clone(), copies.clone(), copies.clone(), copies);
    let filter = CaptureFilter { export: Some((ShelfSlot::new(Shelf(1), Slot(2)), None)), initiator: None };
    chain(vec![
        once(move |bench| start(bench, 1, filter, &first)),
        exchange(
            |bench| {
                assert!(bench.send(&frames::read(1, 1, 0, 16)));
                assert!(bench.send(&frames::write(2, 2, 0, &pattern(7, 16))));
                assert!(bench.send(&frames::read(2, 3, 0, 4)));
            },
            3,
            move |_, replies| {
                assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)));
                let mut taken = taken(&second);
                assert_eq!(taken.len(), 4, "two requests and their replies: {taken:?}");
                assert!(!taken[0].0 && !taken[1].0, "requests first: {taken:?}");
                taken.sort_unstable();
                assert!(taken.iter().all(|(_, slot, ..)| *slot == 2), "{taken:?}");
                let lengths: Vec<(bool, usize)> =
                    taken.iter().map(|(sent, _, length, _)| (*sent, *length)).collect();
                assert!(
                    lengths.contains(&(false, 36 + 8192)) && lengths.contains(&(true, 36 + 2048)),
                    "{lengths:?}"
                );
                assert!(
                    taken.iter().all(|(_, _, length, copied)| *copied == (*length).min(128)),
                    "{taken:?}"
                );
            },
        ),
        exchange(
            |bench| {
                let ended = bench.lcore.end_capture(1);
                assert_eq!(ended.len(), 1);
                assert!(bench.lcore.end_capture(1).is_empty());
                assert!(bench.send(&frames::read(2, 4, 0, 4)));
            },
            1,
            move |bench, _| {
                assert!(taken(&third).is_empty(), "it has ended");
                let stranger = CaptureFilter { export: None, initiator: Some(MacAddr([2, 9, 9, 9, 9, 9])) };
                for number in 0..CAPTURES_MAX as u64 {
                    start(bench, number, stranger, &third);
                }
                let (tap, _) = CaptureTap::new(99, stranger, RING_MIN, 128);
                let port = port(bench);
                assert!(bench.lcore.capture(port, tap).is_some(), "one too many");
            },
        ),
        exchange(
            |bench| assert!(bench.send(&frames::read(2, 5, 0, 4))),
            1,
            move |bench, _| {
                assert!(taken(&last).is_empty(), "nobody has that address");
                for number in 0..CAPTURES_MAX as u64 {
                    assert_eq!(bench.lcore.end_capture(number).len(), 1);
                }
            },
        ),
    ])
}
