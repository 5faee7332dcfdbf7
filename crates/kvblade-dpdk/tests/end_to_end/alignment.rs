//! Data that goes from and to a file without a copy, where ports are laid out for it.

use std::sync::atomic::AtomicBool;

use aoe_initiator::{ShelfSlot, load};
use serde_json::{Value, json};

use crate::lab::{Lab, SECTORS, Target, find, random_load};

const FILE: ShelfSlot = ShelfSlot::new(1, 2);

/// Reads and writes that SPDK has copied.
fn bounced(target: &Target) -> u64 {
    let stats: Value = target.rpc().call("aoe_get_stats", json!({}));
    stats["lcores"].as_array().unwrap().iter().map(|lcore| lcore["bounced"].as_u64().unwrap()).sum()
}

/// Starts a target for a file and a malloc disk, reads and writes the file, and returns what was copied and what was
/// logged.
fn serve(options: &[&str]) -> (u64, String) {
    let lab = Lab::new(9000);
    let file = format!("1.2=aio:{}", lab.file("disk"));
    let target = lab.start(&[&["-e", "1.1=malloc:8M", "-e", file.as_str()], options].concat());
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FILE);
    let (spec, stop) = (random_load(16), AtomicBool::new(false));
    let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
    let report = load::run_verified(lab.link(0), &export, SECTORS, &spec, &stop, &mut ledger).unwrap();
    assert_eq!(report.failures(), 0, "{report:?}");
    assert!(report.reads > 0 && ledger.written() > 0, "{report:?}");
    (bounced(&target), target.log())
}

#[test]
fn a_file_is_read_and_written_without_a_copy() {
    lab::needs_root!();
    let (bounced, log) = serve(&[]);
    assert_eq!(bounced, 0);
    assert!(log.contains("alignment=512"), "{log}");
    assert!(!log.contains("bounce buffer"), "{log}");
}

#[test]
fn a_port_of_smaller_alignment_has_spdk_copy_and_says_so() {
    lab::needs_root!();
    let (bounced, log) = serve(&["--payload-alignment", "4"]);
    assert!(bounced > 0, "each of its reads and writes");
    assert!(log.contains("alignment=4\n"), "{log}");
    assert!(log.contains("bounce buffer; see --payload-alignment"), "{log}");
}

#[test]
fn a_port_can_be_laid_out_for_bdevs_that_come_later() {
    lab::needs_root!();
    let (bounced, log) = serve(&["--payload-alignment", "4096"]);
    assert_eq!(bounced, 0);
    assert!(log.contains("alignment=4096"), "{log}");
}
