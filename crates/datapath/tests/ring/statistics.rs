//! Counters of exports in slices: an lcore visits a bounded number of exports between two turns, however many it has.

use std::time::{Duration, Instant};

use aoe_target::{ExportCounters, ExportId};
use datapath::ExportSlice;
use ring_lab::export;
use ring_lab::frames::{self, pattern, status};

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("counters_come_in_slices_of_a_bounded_number_of_exports", slices)];

/// Exports beside those of the bench.
fn exports() -> u32 {
    let number = std::env::var("KVBLADE_EXPORTS").ok().and_then(|number| number.parse().ok());
    number.unwrap_or(200)
}

/// Takes every slice. The counters, and the times that slices took, sorted.
fn in_slices(bench: &Bench, last: u32) -> (Vec<(ExportId, ExportCounters)>, Vec<Duration>) {
    let (mut all, mut times) = (Vec::new(), Vec::new());
    for first in (0..=last).step_by(ExportSlice::IDS as usize) {
        let mut slice = ExportSlice::starting_at(first);
        let begun = Instant::now();
        bench.lcore.count_exports(&mut slice);
        times.push(begun.elapsed());
        assert!(slice.counted().len() <= ExportSlice::IDS as usize);
        assert!(slice.counted().iter().all(|(key, _)| (first..first + ExportSlice::IDS).contains(&key.id.0)));
        all.extend(slice.counted().iter().map(|(key, counters)| (key.id, *counters)));
    }
    times.sort_unstable();
    (all, times)
}

/// The writes to the file's export, if the lcore has it.
fn of_file(bench: &Bench) -> Option<u64> {
    let (all, _) = in_slices(bench, 1);
    all.iter().find(|(id, _)| *id == ExportId(1)).map(|(_, counters)| counters.writes)
}

fn slices() -> Step {
    chain(vec![
        exchange(
            |bench| {
                let malloc = bench.malloc.clone();
                for id in 2..2 + exports() {
                    let address = format!("{}.{}", 2 + id / 255, id % 255);
                    bench.lcore.add(export(id, &address, &malloc), &malloc).expect("a free address");
                }
                for tag in 0..10 {
                    assert!(bench.send(&frames::write(2, tag, u64::from(tag) * 16, &pattern(tag, 16))));
                }
                assert!(bench.send(&frames::read(1, 10, 0, 16)));
            },
            11,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        Box::new(|bench, _| {
            let last = 1 + exports();
            let (all, times) = in_slices(bench, last);
            // The longest shows what else the machine does.
            println!(
                "{} exports in {} slices: the median took {:?}, and 99 % at most {:?}",
                all.len(),
                times.len(),
                times[times.len() / 2],
                times[times.len() * 99 / 100]
            );
            assert_eq!(all, bench.lcore.snapshot().exports, "each export, once");
            assert_eq!((all[0].1.reads, all[1].1.writes), (1, 10));
            assert!(bench.lcore.counters().exports.is_empty(), "these take no walk over the exports");
            true
        }),
        // What drains is counted until it has drained.
        exchange(
            |bench| {
                assert!(bench.send(&frames::write(2, 20, 0, &pattern(1, 16))));
                let before = bench.received();
                while bench.received() == before {
                    bench.lcore.turn();
                }
                assert!(bench.lcore.in_flight() > 0, "the file's write is in flight");
                bench.lcore.remove(ExportId(1), || ());
                assert_eq!(of_file(bench), Some(11));
            },
            1,
            |bench, _| assert_eq!(of_file(bench), None, "it has drained"),
        ),
    ])
}
