//! `turns COUNT`: for callgrind. That many turns of an lcore, each with a burst of requests, of every kind to every bdev,
//! then of neighbours, one after the other.
//!
//! Each starts with a few turns more, which fill caches and pools, and has a part of callgrind's output to itself:
//! the first part ends before it, the second after it, and so on.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use kvblade_micro::{Kind, Turns, end_of_part, run, single_number};

/// Turns before those that count.
const WARM_UP: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(count) = single_number(&arguments) else {
        eprintln!("turns: '{}': expected COUNT, a number above 0", arguments.join(" "));
        return ExitCode::FAILURE;
    };
    let neighbours = Kind::SEQUENTIAL.map(|kind| ("null", kind));
    let mut loads = Turns::bdevs().flat_map(|bdev| Kind::ALL.map(|kind| (bdev, kind))).chain(neighbours);
    let (mut part, mut left) = (0, 0);
    let code = run(move |turns| {
        if left == 0 {
            if part > 0 {
                part += 1;
                end_of_part(part);
                turns.settle();
            }
            let Some((bdev, kind)) = loads.next() else { return false };
            turns.load(bdev, kind);
            left = WARM_UP + count;
        }
        if left == count {
            part += 1;
            end_of_part(part);
        }
        left -= 1;
        turns.turn();
        true
    });
    if code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
