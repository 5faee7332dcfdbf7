//! The whole way of a request on a real EAL port and real bdevs, without any interface or hugepage: a port
//! made of two rings, whose far end this test holds, and a malloc and an aio bdev.
//!
//! The lcore's turn is called by hand, once each time the reactor comes around, so that bdevs make their
//! progress in between as they do in the target.

mod blocks;
mod features;
mod lanes;
mod scenarios;
mod spreads;
mod vlans;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use datapath::Lcore;
use dpdk::{Mempool, PeerRing, Port, ring_port};
pub(crate) use ring_lab::{export, frames, lane};
use serde_json::json;
use spdk::{Bdev, Poller, app};

/// Frames each ring holds, less one.
pub(crate) const RING: u32 = 64;
/// Mbufs of the lane's pool.
pub(crate) const MBUFS: u32 = 2047;
/// Turns after which a scenario that has not got its replies has failed. Not a time: a turn without work
/// takes well under a microsecond, a disk's answer many turns.
const MAX_TURNS: u32 = 20_000_000;

/// What scenarios work on.
pub(crate) struct Bench {
    pub(crate) lcore: Lcore,
    pub(crate) peer: PeerRing,
    /// Frames are made in a pool of their own, so that the lane's can be counted.
    pub(crate) outside: Arc<Mempool>,
    pub(crate) pool: Arc<Mempool>,
    /// For a second lcore.
    pub(crate) second_pool: Arc<Mempool>,
    pub(crate) malloc: Bdev,
    pub(crate) file: Bdev,
    pub(crate) path: std::path::PathBuf,
}

/// One scenario, called once before each turn with what has arrived since; says when it is finished.
pub(crate) type Step = Box<dyn FnMut(&mut Bench, Vec<Vec<u8>>) -> bool>;

fn set_up(path: std::path::PathBuf, ports: &mut Vec<Port>) -> Bench {
    let (number, peer) = ring_port(ring_lab::eal(), "wire", RING).expect("a ring port");
    let pool = Mempool::new(ring_lab::eal(), "lane", MBUFS, datapath::private_size(), 9216, None)
        .expect("memory for mbufs");
    let outside =
        Mempool::new(ring_lab::eal(), "outside", 1023, datapath::private_size(), 9216, None).expect("memory");
    let second_pool =
        Mempool::new(ring_lab::eal(), "second", 1023, datapath::private_size(), 9216, None).expect("memory");
    let mut lcore = Lcore::new(vec![lane(ports, number, &pool)]).expect("an lcore");
    let malloc = Bdev::open("m0", true, |_| ()).expect("the malloc bdev");
    let file = Bdev::open("f0", true, |_| ()).expect("the aio bdev");
    lcore.add(export(0, "1.1", &malloc), &malloc).expect("the table is empty");
    lcore.add(export(1, "1.2", &file), &file).expect("another address");
    Bench { lcore, peer, outside, pool, second_pool, malloc, file, path }
}

fn main() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(8 << 20).expect("room for it");
    let path = file.path().to_owned();
    let [left, right] = [(); 2].map(|()| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(1 << 20).expect("room for it");
        file
    });
    // 200 bdev I/Os at most, so that a burst of requests must wait for SPDK's memory; more than the compare-and-writes
    // that two lcores can have under way, each of which needs a second one.
    let bdevs = [
        json!({ "method": "bdev_set_options", "params": { "bdev_io_pool_size": 200, "bdev_io_cache_size": 50 } }),
        json!({ "method": "bdev_malloc_create", "params": { "name": "m0", "num_blocks": 16384, "block_size": 512 } }),
        json!({ "method": "bdev_malloc_create", "params": { "name": "m4", "num_blocks": 64, "block_size": 4096 } }),
        json!({ "method": "bdev_aio_create", "params": { "name": "f0", "filename": path, "block_size": 512 } }),
        json!({ "method": "bdev_aio_create", "params": { "name": "f1", "filename": left.path(), "block_size": 512 } }),
        json!({ "method": "bdev_aio_create", "params": { "name": "f2", "filename": right.path(), "block_size": 512 } }),
        json!({ "method": "bdev_raid_create",
          "params": { "name": "r0", "strip_size_kb": 4, "raid_level": "raid0", "base_bdevs": ["f1", "f2"] } }),
        json!({ "method": "bdev_passthru_create", "params": { "name": "s0", "base_bdev_name": "r0" } }),
    ];
    // A second reactor, where there is a CPU for it, so that two lcores really meet in one block.
    let cores = match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => "0,1",
        _ => "0",
    };
    let results = Rc::new(RefCell::new((0u32, 0u32)));
    let outcome = Rc::clone(&results);
    let code = ring_lab::run("ring", cores, &bdevs, move || run_all(path, outcome));
    let (passed, failed) = *results.borrow();
    let verdict = if failed == 0 && code == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    std::process::exit(i32::from(verdict != "ok"));
}

thread_local! {
    static DRIVER: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

/// Runs the scenarios one after the other from a poller, then stops the app.
fn run_all(path: std::path::PathBuf, results: Rc<RefCell<(u32, u32)>>) {
    let mut ports = Vec::new();
    let mut bench = Some(set_up(path, &mut ports));
    let mut scenarios = scenarios::all().into_iter();
    let mut current: Option<(&'static str, Step, u32)> = None;
    println!("\nrunning the ring scenarios");
    let driver = Poller::register(Duration::ZERO, move || {
        let Some(state) = &mut bench else { return false };
        let Some((name, step, turns)) = &mut current else {
            current = scenarios.next().map(|(name, step)| (name, step, 0));
            if current.is_none() {
                bench = None;
                ports.clear();
                DRIVER.take();
                app::stop(0);
            }
            return true;
        };
        *turns += 1;
        let arrived =
            std::iter::from_fn(|| state.peer.receive()).map(|frame| frame.data().to_vec()).collect();
        // A failed assertion ends this scenario and the test: what it left under way would confuse the next.
        let finished = step(state, arrived);
        if finished {
            println!("test {name} ... ok");
            results.borrow_mut().0 += 1;
            current = None;
        } else if *turns > MAX_TURNS {
            println!("test {name} ... FAILED: no progress after {turns} turns: {:?}", state.lcore.snapshot());
            results.borrow_mut().1 += 1;
            bench = None;
            DRIVER.take();
            app::stop(1);
        } else {
            state.lcore.turn();
        }
        true
    });
    DRIVER.set(Some(driver.expect("a poller")));
}
