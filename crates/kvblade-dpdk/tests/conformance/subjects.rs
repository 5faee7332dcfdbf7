//! The two targets: ours, with one export a rule, and vblade, started for each rule.

use std::time::{Duration, Instant};

use aoe_initiator::Link;
use lab::{Vblade, Veth};
use serde_json::json;

use crate::bench::{Bench, Other, Tagged, VLAN};
use crate::case::Case;
use crate::lab::Lab;

/// The shelf of every export.
const SHELF: u16 = 5;

/// The shelf of our disks that are not of memory.
const OTHERS: u16 = 6;

/// Bytes of each disk.
const SIZE: u64 = 1 << 20;

/// vblade's ends of its veth pair.
const VBLADE_PORTS: (&str, &str) = ("i9", "t9");

/// Runs every case against both targets and reports the results to `seen`.
pub(crate) fn run(cases: &[&Case], mut seen: impl FnMut(&Case, &str, &str)) {
    let lab = Lab::new(9000);
    let link = lab.near.enter(|| Link::open_tagged("i0")).unwrap().unwrap();
    let exports: Vec<String> = (0..cases.len()).map(|slot| format!("{SHELF}.{slot}=malloc:1M")).collect();
    let file = format!("{OTHERS}.{}=spdk-aio:{}", Other::File as u8, lab.file("file"));
    let null = format!("{OTHERS}.{}=null", Other::Null as u8);
    let write_back =
        format!("{OTHERS}.{}=aio:{},cache=write-back", Other::WriteBack as u8, lab.file("write-back"));
    let in_vlan = format!("{OTHERS}.{}=malloc:1M,vlan={VLAN}", Other::InVlan as u8);
    let exports = [exports, vec![file, null, write_back, in_vlan]].concat();
    let config = lab.path("config");
    let params = json!({ "name": "null", "num_blocks": SIZE / 512, "block_size": 512 });
    let calls = json!([{ "method": "bdev_null_create", "params": params }]);
    let document = json!({ "subsystems": [{ "subsystem": "bdev", "config": calls }] });
    std::fs::write(&config, document.to_string()).unwrap();
    let options = exports.iter().flat_map(|export| ["-e", export.as_str()]);
    let options: Vec<&str> = ["--config", config.to_str().unwrap()].into_iter().chain(options).collect();
    let target = lab.start(&options);
    let heard = frames(&link, exports.len());
    for (slot, case) in (0u8..).zip(cases) {
        let of =
            |shelf, slot| heard.iter().filter(move |(frame, _)| frame[16..19] == [0, shelf, slot]).cloned();
        let own = of(5, slot).map(|(frame, _)| frame).collect();
        let in_vlan = of(6, Other::InVlan as u8).collect();
        let words = match Bench::find(&link, &lab.near, SHELF, slot, own, target.daemon.pid()) {
            Ok(bench) => (case.run)(&mut bench.with_others(OTHERS, in_vlan)),
            Err(error) => error,
        };
        seen(case, "us", &words);
    }
    target.stop();

    let (near, far) = VBLADE_PORTS;
    let _veth = Veth::create(&lab.near, near, &lab.far, far, 9000).unwrap();
    let disk = lab.path("vblade");
    for (slot, case) in (0u8..).zip(cases) {
        std::fs::File::create(&disk).unwrap().set_len(SIZE).unwrap();
        let link = lab.near.enter(|| Link::open_tagged(near)).unwrap().unwrap();
        let mut vblade = Vblade::start(&lab.far, far, (SHELF, slot), &disk, None).unwrap();
        let heard = first_frame(&link);
        let words = match Bench::find(&link, &lab.near, SHELF, slot, heard, vblade.daemon().pid()) {
            Ok(mut bench) => (case.run)(&mut bench),
            Err(error) => error,
        };
        drop(vblade);
        seen(case, "vblade", &words);
    }
}

/// What comes in, until there is something of each export or some seconds have passed: the advertisements leave in
/// several turns, the last ones after the target has said that it is ready.
fn frames(link: &Link, exports: usize) -> Vec<Tagged> {
    let mut buffer = [0; 2048];
    let mut frames = Vec::new();
    let until = Instant::now() + Duration::from_secs(5);
    while frames.len() < exports
        && let Some((length, tag)) = link.receive_tagged(&mut buffer, until).unwrap()
    {
        if length >= 32 {
            frames.push((buffer[..length].to_vec(), tag));
        }
    }
    frames
}

/// The first frame that comes in, if one does in a few seconds.
fn first_frame(link: &Link) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2048];
    let until = Instant::now() + Duration::from_secs(5);
    let length = link.receive_until(&mut buffer, until).unwrap();
    length.map(|length| buffer[..length].to_vec()).into_iter().collect()
}
