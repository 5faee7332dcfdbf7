//! A fence: reported when what was in flight has ended, whatever comes later.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aoe_target::ExportId;
use ring_lab::frames::{self, pattern, tag};

use crate::script::{Scenario, Step, chain, once};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_fence_waits_for_what_was_in_flight_and_for_nothing_later", busy),
    ("a_fence_on_an_idle_export_is_done_at_once", idle),
];

const LATE: ExportId = ExportId(2);
/// Tag of the last write before the fence.
const BEFORE: u32 = 3;
/// A part of the time that the late bdev takes.
const LATER: Duration = Duration::from_secs(2);

fn busy() -> Step {
    let done = Rc::new(Cell::new(0));
    let (first, second) = (Rc::clone(&done), Rc::clone(&done));
    let begun = Instant::now();
    let mut next = 100;
    let mut left = BEFORE;
    chain(vec![
        once(move |bench| {
            let late = ring_lab::open("late");
            bench.lcore.add(ring_lab::export(LATE.0, "1.3", &late), &late).expect("the address is free");
            for tag in 1..=BEFORE {
                assert!(bench.send(&frames::write(3, tag, u64::from(tag), &pattern(tag, 1))));
            }
            while bench.lcore.in_flight() < BEFORE {
                bench.lcore.turn();
            }
            bench.lcore.fence(LATE, move || first.set(first.get() + 1));
            // Another export's fence has nothing to do with it.
            let other = Rc::new(Cell::new(false));
            let noted = Rc::clone(&other);
            bench.lcore.fence(ExportId(0), move || noted.set(true));
            assert!(other.get());
        }),
        Box::new(move |bench, arrived| {
            left -= u32::try_from(arrived.iter().filter(|reply| tag(reply) <= BEFORE).count()).expect("few");
            if left > 0 {
                assert_eq!(done.get(), 0, "a write of before has not ended");
                // Later ones, which are in flight when the first have ended.
                if begun.elapsed() > LATER && next < 150 {
                    assert!(bench.send(&frames::read(3, next, 0, 1)));
                    next += 1;
                }
                return false;
            }
            assert_eq!(done.get(), 1, "once");
            assert!(bench.lcore.in_flight() > 0, "what came later does not hold it up");
            let noted = Rc::clone(&second);
            // Two fences at once end together.
            bench.lcore.fence(LATE, move || noted.set(noted.get() + 1));
            let noted = Rc::clone(&second);
            bench.lcore.fence(LATE, move || noted.set(noted.get() + 1));
            true
        }),
        // The last steps wait until nothing is in flight.
        Box::new(|bench, _| bench.lcore.in_flight() == 0),
    ])
}

fn idle() -> Step {
    once(|bench| {
        let done = Rc::new(Cell::new(false));
        let noted = Rc::clone(&done);
        bench.lcore.fence(ExportId(1), move || noted.set(true));
        assert!(done.get());
    })
}
