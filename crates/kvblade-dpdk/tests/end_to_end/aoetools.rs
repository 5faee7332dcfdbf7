//! Debian's aoetools against it, on the host's end of the veth pair.

use std::process::Output;

use aoe_initiator::ShelfSlot;

use crate::lab::{Lab, find, require};

fn run(lab: &Lab, words: &[&str]) -> Output {
    require(words[0]);
    // aoeping and aoecfg wait for ever for an answer that was lost.
    lab.near.command("timeout").arg("60").args(words).output().unwrap()
}

#[track_caller]
fn prints(lab: &Lab, words: &[&str]) -> String {
    let output = run(lab, words);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}: {out}{error}", output.status);
    out.into_owned()
}

fn answers_with_an_mtu(mtu: u16, payload: &str) {
    let lab = Lab::new(mtu);
    let file = lab.file("disk");
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", &format!("1.2=aio:{file}")]);
    find(&mut lab.initiator(0), ShelfSlot::new(1, 2));
    for slot in ["1", "2"] {
        let said = prints(&lab, &["aoeping", "-v", "1", slot, "i0"]);
        assert!(
            said.contains("config query response:") && said.contains(&format!("found e1.{slot}")),
            "{said}"
        );
        let said = prints(&lab, &["aoeping", "-I", "1", slot, "i0"]);
        assert!(said.contains(&format!("serial_number: kvblade-1.{slot}")), "{said}");
        prints(&lab, &["aoeping", "-i", "1", slot, "i0"]);
    }
    assert_eq!(prints(&lab, &["aoecfg", "1", "1", "i0"]).trim(), "", "the config string, which is not set");
    let sane = prints(&lab, &["aoe-sancheck", "i0"]);
    for device in ["e1.1", "e1.2"] {
        let line = sane.lines().find(|line| line.starts_with(device)).unwrap_or_else(|| panic!("{sane}"));
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [device, "1", payload, "i0"], "{sane}");
    }
    target.stop();
}

#[test]
fn aoeping_aoecfg_and_sancheck_find_both_disks_with_an_mtu_of_1500() {
    lab::needs_root!();
    answers_with_an_mtu(1500, "1024");
}

#[test]
fn aoeping_aoecfg_and_sancheck_find_both_disks_with_an_mtu_of_9000() {
    lab::needs_root!();
    answers_with_an_mtu(9000, "8192");
}
