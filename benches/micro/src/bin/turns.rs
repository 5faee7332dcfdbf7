//! `turns COUNT [BDEV KIND]`: for callgrind and perf. That many turns of an lcore, each with a burst of requests, of
//! one kind to one bdev or of every kind to every bdev, one after the other.
//!
//! Each starts with a few turns more, which fill caches and pools, and has a part of callgrind's output to itself:
//! the first part ends before it, the second after it, and so on.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use kvblade_micro::{Kind, Turns, end_of_part, run};

/// Turns before those that count.
const WARM_UP: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (count, mut loads) = match parse(&arguments) {
        Ok((count, loads)) => (count, loads.into_iter()),
        Err(error) => {
            eprintln!("turns: {error}");
            return ExitCode::FAILURE;
        }
    };
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

type Loads = Vec<(&'static str, Kind)>;

fn parse(arguments: &[String]) -> Result<(u64, Loads), String> {
    let (count, loads) = match arguments {
        [count] => (count, Turns::bdevs().flat_map(|bdev| Kind::ALL.map(|kind| (bdev, kind))).collect()),
        [count, bdev, kind] => (count, vec![(named_bdev(bdev)?, named_kind(kind)?)]),
        _ => return Err(format!("{} arguments: expected COUNT [BDEV KIND]", arguments.len())),
    };
    let number = count.parse().ok().filter(|count| *count > 0);
    Ok((number.ok_or_else(|| format!("count '{count}': expected a number above 0"))?, loads))
}

fn named_bdev(name: &str) -> Result<&'static str, String> {
    let names: Vec<_> = Turns::bdevs().collect();
    let known = names.iter().find(|known| **known == name);
    known.copied().ok_or_else(|| format!("bdev '{name}': expected one of {}", names.join(", ")))
}

fn named_kind(name: &str) -> Result<Kind, String> {
    let names = Kind::ALL.map(|kind| kind.name);
    Kind::named(name).ok_or_else(|| format!("kind '{name}': expected one of {}", names.join(", ")))
}
