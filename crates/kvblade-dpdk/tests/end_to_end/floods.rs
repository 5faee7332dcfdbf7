//! Floods at full rate on one port of an lcore beside a verified load on another: no data of the load is lost or wrong,
//! each frame is accounted for. Prints what is left of the load and what the flood's frames took of the lcore.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aoe_initiator::link::{BATCH, TxBatch};
use aoe_initiator::sector::Random;
use aoe_initiator::wire::{AtaRequest, ConfigCommand, Envelope, Mac, config_frame};
use aoe_initiator::{Link, ShelfSlot, load};
use lab::Veth;
use serde_json::Value;

use crate::hostile_wire::{accounts_for_every_frame, setting, start};
use crate::lab::{Lab, find, until};
use crate::process_faults::{mixed, under_load};
use crate::rpc::Rpc;

const ATTACKED: ShelfSlot = ShelfSlot::new(1, 1);
const SERVED: ShelfSlot = ShelfSlot::new(1, 2);
/// For how long rates are counted, for each of them; `KVBLADE_FLOOD_MILLIS` is another time.
const WINDOW_MILLIS: u64 = 600;

/// Rates a second: turns of the lcore, frames of the flood, requests of the load.
#[derive(Clone, Copy)]
struct Rates {
    turns: u64,
    frames: u64,
    requests: u64,
}

fn counts(rpc: &mut Rpc) -> Rates {
    let stats = rpc.call("aoe_get_stats", Value::Null);
    let of = |value: &Value, name: &str| value[name].as_u64().unwrap();
    let served = stats["exports"].as_array().unwrap().iter().find(|one| one["slot"] == 2).unwrap();
    Rates {
        turns: of(&stats["lcores"][0], "turns"),
        frames: of(&stats["ports"][0], "rx_frames"),
        requests: of(served, "reads") + of(served, "writes"),
    }
}

fn rates(rpc: &mut Rpc) -> Rates {
    let (begun, before) = (Instant::now(), counts(rpc));
    let window = Duration::from_millis(setting("KVBLADE_FLOOD_MILLIS").unwrap_or(WINDOW_MILLIS));
    until("the window to end", || begun.elapsed() >= window);
    let (after, millis) = (counts(rpc), u64::try_from(begun.elapsed().as_millis()).unwrap());
    let rate = |of: fn(&Rates) -> u64| (of(&after) - of(&before)) * 1000 / millis;
    Rates { turns: rate(|r| r.turns), frames: rate(|r| r.frames), requests: rate(|r| r.requests) }
}

/// Rates while `frames` are sent on `link` as fast as it takes them.
fn during(link: Link, frames: &[Vec<u8>], rpc: &mut Rpc) -> Rates {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut tx = TxBatch::new();
            while !stop.load(Ordering::Relaxed) {
                for batch in frames.chunks(BATCH) {
                    tx.send(&link, batch.iter().map(Vec::as_slice)).unwrap();
                }
            }
        });
        let measured = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rates(rpc)));
        stop.store(true, Ordering::Relaxed);
        measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The floods, by name: malformed frames, reads by senders that do not exist, and broadcast queries.
fn floods(mac: Mac) -> [(&'static str, Vec<Vec<u8>>); 3] {
    let mut random = Random::new(0xf100d);
    let mut many = |dst: Mac, address: ShelfSlot, frame: &dyn Fn(&Envelope) -> Vec<u8>| {
        let frames = (0..1024).map(|tag| {
            let [_, _, _, a, b, c, d, e] = random.next().to_be_bytes();
            frame(&Envelope { dst, src: Mac([2, a, b, c, d, e]), address, tag })
        });
        frames.collect::<Vec<_>>()
    };
    let malformed = many(mac, ATTACKED, &|to| {
        let mut frame = AtaRequest::read(0, 1).frame(to, &[]);
        frame[14] = 0x20;
        frame
    });
    let spoofed = many(mac, ATTACKED, &|to| AtaRequest::read(u64::from(to.tag), 1).frame(to, &[]));
    let query = |to: &Envelope| config_frame(to, ConfigCommand::Read, b"");
    let broadcast = many(Mac::BROADCAST, ShelfSlot::ANY, &query);
    [("malformed", malformed), ("spoofed", spoofed), ("broadcast", broadcast)]
}

#[test]
fn floods_lose_and_change_no_data_of_a_load_at_another_port() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    // A link that ends at nobody: the same flood takes the same CPU of this side there, and nothing of the target.
    Veth::create(&lab.near, "d0", &lab.near, "d1", 9000).unwrap();
    let nowhere = || lab.near.enter(|| Link::open("d0")).unwrap().unwrap();
    let target = start(&lab);
    let attacked = find(&mut lab.initiator(0), ATTACKED);
    for (name, frames) in floods(attacked.mac) {
        let mut rpc = target.rpc();
        let idle = during(nowhere(), &frames, &mut rpc);
        let flooded = during(lab.link(0), &frames, &mut rpc);
        assert!(flooded.frames > 0, "{name}");
        let spec = mixed(7);
        let (mut alone, mut beside) = (idle, flooded);
        let ledger = under_load(&lab, 1, SERVED, &spec, || {
            until("the load is being served", || counts(&mut rpc).requests > 0);
            alone = during(nowhere(), &frames, &mut rpc);
            beside = during(lab.link(0), &frames, &mut rpc);
        });
        let export = find(&mut lab.initiator(1), SERVED);
        assert!(ledger.written() > 0, "{name}");
        assert_eq!(load::sweep(lab.link(1), &export, &ledger, &spec).unwrap(), ledger.written(), "{name}");
        let (came_in, replies, drops, _) = accounts_for_every_frame(&mut rpc);
        println!(
            "floods: {name}: {} frames a second took {} % of the lcore's turns alone; beside the load ({} frames a second) \
             {} of {} requests a second are left: {} %; {came_in} frames so far = {replies} replies + {drops} drops",
            flooded.frames,
            100 - (flooded.turns * 100 / idle.turns.max(1)).min(100),
            beside.frames,
            beside.requests,
            alone.requests,
            beside.requests * 100 / alone.requests.max(1),
        );
    }
    let log = target.log();
    assert!(!log.contains("ERROR"), "{log}");
    target.stop();
}
