//! `ring TURNS`: the target without a link. An lcore on a ring port with a null bdev takes that many bursts of each kind of
//! request, and the time from rx to tx is printed as a line of JSON for each kind: of the lcore's turn, and of the turn and
//! SPDK's loop around it, which completes what the turn submitted. Making requests and looking at answers is not in it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use kvblade_micro::{Kind, Turns, run_every, single_number};
use serde_json::json;

/// Turns of each kind before those that count.
const WARM_UP: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(turns) = single_number(&arguments) else {
        eprintln!("ring: '{}': expected TURNS, a number above 0", arguments.join(" "));
        return ExitCode::FAILURE;
    };
    if run(turns) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(count: u64) -> i32 {
    let mut kinds = Kind::ALL.into_iter();
    let mut kind = None;
    let mut done = 0;
    let (mut in_turn, mut in_loop) = (Duration::ZERO, Duration::ZERO);
    run_every(1, move |turns: &mut Turns| {
        let since = turns.since_turn();
        let Some(now) = kind.filter(|_| done < WARM_UP + count) else {
            if let Some(last) = kind {
                report(last, count, in_turn, in_loop + since);
                turns.settle();
            }
            kind = kinds.next();
            let Some(next) = kind else { return false };
            turns.load("null", next);
            (done, in_turn, in_loop) = (0, Duration::ZERO, Duration::ZERO);
            return true;
        };
        let took = turns.turn();
        // What went by until now was the loop of the turn before.
        if done > WARM_UP {
            in_loop += since;
        }
        if done >= WARM_UP {
            in_turn += took;
        }
        done += 1;
        kind = Some(now);
        true
    })
}

fn report(kind: Kind, turns: u64, in_turn: Duration, in_loop: Duration) {
    let requests = turns * kind.burst as u64;
    let each = |time: Duration| time.as_secs_f64() * 1e9 / requests as f64;
    let line = json!({
        "kind": kind.name, "requests": requests, "turn_ns": each(in_turn), "loop_ns": each(in_loop), "tsc_hz": dpdk::tsc::hz(),
    });
    println!("{line}");
}
