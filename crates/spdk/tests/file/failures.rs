//! fdatasyncs that fail: of a loop device whose file lies on a file system that is full.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use spdk::{IoKind, Outcome};

use crate::bench::Bench;
use crate::directory::directory;
use crate::loop_device::{attach, detach, in_turn, run, text};
use crate::modes::{Shared, described};
use crate::step::{Step, asks, chain, once};

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![("a_failed_fdatasync_fails_its_writes_and_all_later_ones", in_turn(failed))]
}

/// A loop device of 16 MiB, of which the first can be written: its file lies on a file system that is full then.
fn full_disk() -> Result<PathBuf, String> {
    let place = directory().join("full");
    fs::create_dir(&place).expect("room");
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", text(&place)])?;
    let file = place.join("disk");
    fs::File::create(&file).expect("ours").set_len(16 << 20).expect("sparse");
    let device = attach(&file);
    // It lives on as long as the device.
    run("umount", &["--lazy", text(&place)])?;
    device
}

/// Lets writes go on.
fn clear() -> Step {
    asks("bdev_file_rescan", json!({ "name": "full", "clear_failure": true }), |answer| {
        assert!(answer["result"].is_number(), "{answer}");
    })
}

fn failed() -> Step {
    let device = match full_disk() {
        Ok(device) => device,
        Err(error) => {
            return once(move || println!("no loop device, so no fdatasync fails: {error}"));
        }
    };
    let shared = Shared::new("unused");
    let params = json!({ "name": "full", "filename": device, "buffered": true, "sync": "group" });
    let (outcomes, later, rest) = (shared.clone(), shared.clone(), shared.clone());
    let (good, closed) = (shared.clone(), shared.clone());
    let fault = (IoKind::Write, Outcome::DeviceFault);
    chain(vec![
        asks("bdev_file_create", params, |answer| assert_eq!(answer["result"], "full", "{answer}")),
        once(move || {
            // Once the bdev has closed it, Linux takes the device down, also where a test fails.
            detach(&device);
        }),
        shared.opens("full"),
        // The page cache takes all of them; writing back fails.
        shared.each(IoKind::Write, 1000, 1),
        once(move || {
            let failed = outcomes.with(Bench::take_failed);
            assert!(!failed.is_empty() && failed.iter().all(|one| *one == fault), "{failed:?}");
        }),
        described("full", |file| {
            assert!(file["failed"].as_str().is_some_and(|text| text.starts_with("fdatasync: ")), "{file}");
        }),
        // Of these an fdatasync of their own would not fail.
        shared.each(IoKind::Write, 3, 2),
        once(move || assert_eq!(later.with(Bench::take_failed), [fault; 3])),
        clear(),
        // Pages that were written after the fdatasync began are still to fail.
        shared.each(IoKind::Write, 1, 3),
        once(move || _ = rest.with(Bench::take_failed)),
        clear(),
        described("full", |file| assert!(file["failed"].is_null(), "{file}")),
        shared.each(IoKind::Write, 3, 3),
        once(move || assert_eq!(good.with(Bench::take_failed), [])),
        once(move || drop(closed.bench.take())),
        asks("bdev_file_delete", json!({ "name": "full" }), move |answer| {
            assert_eq!(answer["result"], true, "{answer}");
            fs::remove_file(&shared.path).expect("it is there");
        }),
    ])
}
