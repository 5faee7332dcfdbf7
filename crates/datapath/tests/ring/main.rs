//! A request's whole way on a real EAL port and real bdevs, without any interface or hugepage: a port made of two
//! rings, whose far end the test holds, and malloc, aio and stacked bdevs.
//!
//! The lcore's turn is called by hand, once each time the reactor comes around, so that bdevs make progress in between
//! as they do in the target.
//!
//! Each scenario runs in a process of its own, with bdevs, port and lcore of its own: alone, in any order, and without
//! harm to the others if it fails. `cargo test -p datapath --test ring -- WORD` runs those whose name contains WORD.

mod bench;
mod blocks;
mod capture;
mod distributed;
mod errors;
mod exports;
mod features;
mod fences;
mod flushes;
mod isolation;
mod limits;
mod order;
mod pacing;
mod requests;
mod script;
mod statistics;
mod two_ports;
mod vlans;

use std::cell::{Cell, RefCell};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use bench::Bench;
use script::{Scenario, Step};
use serde_json::json;
use spdk::Poller;

/// Turns after which a scenario that has not got its replies has failed. Not a time: a turn without work
/// takes well under a microsecond, a disk's answer many turns.
const MAX_TURNS: u32 = 20_000_000;
/// Turns after a scenario in which every mbuf must come back.
const LAST_TURNS: u32 = 1_000_000;
/// Microseconds after which the bdev `late` answers: in a test, all else is over by then.
const LATE: u32 = 6_000_000;
/// Microseconds after which the bdev "abortable" completes what is not aborted.
const NEVER: u32 = 3_600_000_000;
/// Bdev I/Os, so few that a burst of requests must wait for SPDK's memory, and more than the compare-and-writes that two
/// lcores can have in flight, each of which needs a second one.
const FEW_IOS: u32 = 200;
/// Names the scenario that a child process runs.
const SCENARIO: &str = "KVBLADE_RING_SCENARIO";

fn scenarios() -> Vec<Scenario> {
    [
        requests::SCENARIOS,
        flushes::SCENARIOS,
        errors::SCENARIOS,
        exports::SCENARIOS,
        order::SCENARIOS,
        vlans::SCENARIOS,
        blocks::SCENARIOS,
        capture::SCENARIOS,
        features::SCENARIOS,
        pacing::SCENARIOS,
        fences::SCENARIOS,
        isolation::SCENARIOS,
        limits::SCENARIOS,
        distributed::SCENARIOS,
        statistics::SCENARIOS,
        two_ports::SCENARIOS,
    ]
    .concat()
}

fn main() -> ExitCode {
    let scenarios = scenarios();
    if let Some(name) = std::env::var_os(SCENARIO) {
        let (name, make) = scenarios.iter().find(|(known, _)| name == *known).expect("a scenario's name");
        let has_many_ios = isolation::SCENARIOS.iter().any(|(known, _)| known == name);
        return run(*make, if has_many_ios { 8192 } else { FEW_IOS });
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&str> = scenarios
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())))
        .collect();
    let all = scenarios.len();
    println!("\nrunning {} ring scenarios", chosen.len());
    let failed = chosen.iter().filter(|name| !passes(name)).count();
    let (passed, filtered) = (chosen.len() - failed, all - chosen.len());
    let ran_none = words.is_empty() && passed == 0;
    let verdict = if failed == 0 && !ran_none { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out"
    );
    if verdict == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario in a process of its own; shows what it printed if it fails.
fn passes(name: &str) -> bool {
    let own = std::env::current_exe().expect("this program's path");
    let output = Command::new(own).env(SCENARIO, name).output().expect("this program runs again");
    let passed = output.status.success();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    if !passed {
        println!("{}", output.status);
    }
    if !passed || std::env::args().any(|word| word == "--nocapture") {
        println!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    passed
}

thread_local! {
    static DRIVER: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

/// Runs SPDK's app with this one scenario, and so many bdev I/Os.
fn run(make: fn() -> Step, ios: u32) -> ExitCode {
    let sized = |bytes| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(bytes).expect("room for it");
        file
    };
    let files = [sized(8 << 20), sized(1 << 20), sized(1 << 20)];
    let aio = |name, file: &tempfile::NamedTempFile| {
        let params = json!({ "name": name, "filename": file.path(), "block_size": 512 });
        json!({ "method": "bdev_aio_create", "params": params })
    };
    let malloc = |name, num_blocks: u32, block_size: u32| {
        let params = json!({ "name": name, "num_blocks": num_blocks, "block_size": block_size });
        json!({ "method": "bdev_malloc_create", "params": params })
    };
    let raid = |name, level, bases: [&str; 2]| {
        let params = json!({ "name": name, "strip_size_kb": if level == "raid1" { 0 } else { 4 }, "raid_level": level,
            "base_bdevs": bases });
        json!({ "method": "bdev_raid_create", "params": params })
    };
    let pool = json!({ "bdev_io_pool_size": ios, "bdev_io_cache_size": 50 });
    let delay = |name, base| {
        json!({ "method": "bdev_delay_create", "params": { "name": name, "base_bdev_name": base,
            "avg_read_latency": 0, "p99_read_latency": 0, "avg_write_latency": 0, "p99_write_latency": 0 } })
    };
    let later = |name, which, latency: u32| {
        let params = json!({ "delay_bdev_name": name, "latency_type": which, "latency_us": latency });
        json!({ "method": "bdev_delay_update_latency", "params": params })
    };
    let delays = ["avg_read", "p99_read", "avg_write", "p99_write"];
    let late = delays.map(|which| later("late", which, LATE));
    let abortable = delays.map(|which| later("abortable", which, NEVER));
    let failing = json!({ "name": "EE_r1", "io_type": "flush", "error_type": "failure",
        "num": flushes::FAILURES });
    let mut bdevs = vec![
        json!({ "method": "bdev_set_options", "params": pool }),
        malloc("m0", 16384, 512),
        malloc("m4", 64, 4096),
        aio("f0", &files[0]),
        aio("f1", &files[1]),
        aio("f2", &files[2]),
        raid("r0", "raid0", ["f1", "f2"]),
        json!({ "method": "bdev_passthru_create", "params": { "name": "s0", "base_bdev_name": "r0" } }),
        malloc("m5", 2048, 512),
        malloc("m6", 2048, 512),
        // Which can't abort, so neither can what stands on it.
        raid("r5", "raid0", ["m5", "m6"]),
        delay("late", "r5"),
        malloc("m7", 2048, 512),
        delay("abortable", "m7"),
        // Modules that examine a new bdev read it. Late, they would keep it to themselves.
        json!({ "method": "bdev_wait_for_examine" }),
        malloc("m1", 2048, 512),
        malloc("m2", 2048, 512),
        raid("r1", "raid1", ["m1", "m2"]),
        json!({ "method": "bdev_error_create", "params": { "base_name": "r1" } }),
        json!({ "method": "bdev_error_inject_error", "params": failing }),
    ];
    bdevs.extend(late.into_iter().chain(abortable));
    // A second reactor, where there is a CPU for it, so that two lcores really meet in one block.
    let cores = match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => "0,1",
        _ => "0",
    };
    let passed = Rc::new(Cell::new(false));
    let noted = Rc::clone(&passed);
    let code = ring_lab::run("ring", cores, &bdevs, move || drive(make(), noted));
    if code == 0 && passed.get() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Calls the scenario before each turn of the lcore, from a poller, and stops the app when it has ended.
fn drive(mut scenario: Step, passed: Rc<Cell<bool>>) {
    let mut bench = Some(Bench::set_up());
    let (mut turns, mut finished_at) = (0, None);
    let driver = Poller::register(Duration::ZERO, move || {
        let Some(state) = &mut bench else { return false };
        turns += 1;
        let arrived: Vec<Vec<u8>> =
            std::iter::from_fn(|| state.peer.receive()).map(|frame| frame.data().to_vec()).collect();
        let ended = match finished_at {
            None => {
                if scenario(state, arrived) {
                    finished_at = Some(turns);
                }
                (turns > MAX_TURNS).then_some(false)
            }
            Some(_) if state.is_quiet() => Some(true),
            Some(at) => (turns > at + LAST_TURNS).then_some(false),
        };
        let Some(good) = ended else {
            state.lcore.turn();
            return true;
        };
        if !good {
            println!("finished: {finished_at:?}; turns: {turns}; {}", state.describe());
        }
        passed.set(good);
        bench = None;
        DRIVER.take();
        ring_lab::stop(i32::from(!good));
        true
    });
    DRIVER.set(Some(driver.expect("a poller")));
}
