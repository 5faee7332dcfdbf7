//! Refusals, in one sentence that names the value; and loads that fail.

use std::process::Command;

use aoeperf::options::MAX_DEPTH;
use lab::DpdkFiles;

use crate::links::OverVeth;
use crate::{PROGRAM, aoeperf, json, run, turn};

/// Its last line on standard error.
#[track_caller]
fn says(command: Command, code: i32, parts: &[&str]) {
    let output = run(command, code);
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("aoeperf: "), "{text}");
    assert!(parts.iter().all(|part| last.contains(part)), "{parts:?}: {text}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_wrong_command_line_ends_with_code_2_before_eal_starts() {
    let deeper = (MAX_DEPTH + 1).to_string();
    for (words, parts) in [
        (&["--", "-q", &deeper][..], &["'513'", "1..=512"][..]),
        (&["--", "-o", "100"], &["'100'", "512 to 8192"]),
        (&["--", "-w", "scan"], &["'scan'", "randrw"]),
        (&["--", "-w", "randread", "--verify"], &["--verify"]),
        (&["-q", "4", "--no-huge"], &["'--no-huge' is an EAL option"]),
        (&["--", "--target", "1.1.1"], &["'1.1.1'", "SHELF.SLOT"]),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(words);
        says(command, 2, parts);
    }
}

#[test]
fn output_whose_reader_has_gone_ends_it_quietly() {
    for words in [&["--help"][..], &["--generate", "man"]] {
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(PROGRAM);
        let output = command.args(words).stdout(closed).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{words:?}");
    }
    // Nor does a refusal need a reader.
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(PROGRAM).args(["--", "-o", "100"]).stderr(closed).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_report_whose_reader_has_gone_ends_it_quietly() {
    lab::needs_root!();
    let _turn = turn();
    let lab = OverVeth::start(1500, 1, &["1.1=malloc:4M"]);
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = lab.aoeperf("-o 512 -q 4 -t 0.3 --warmup 0");
    let output = command.stdout(closed.try_clone().unwrap()).stderr(closed).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn without_a_port_it_says_how_to_get_one() {
    lab::needs_root!();
    let _turn = turn();
    let directory = tempfile::TempDir::new().unwrap();
    let dpdk = DpdkFiles::new("ape2e-none");
    says(aoeperf(None, dpdk.prefix(), &[], &["-q", "1"], directory.path()), 1, &["no port", "--vdev"]);
}

#[test]
fn what_the_targets_do_not_have_is_named() {
    lab::needs_root!();
    let _turn = turn();
    let lab = OverVeth::start(1500, 1, &["1.1=malloc:4M", "1.2=malloc:4M,ro"]);
    says(lab.aoeperf("-o 4096"), 1, &["-o 4096", "target 1.1", "MTU 1500", "1024"]);
    says(lab.aoeperf("-o 512 --target 1.1 --target 7.0-3"), 1, &["target 7.0 ", "nor do 3 others"]);
    says(lab.aoeperf("-o 512 --sectors 8193"), 1, &["--sectors 8193", "8192 sectors"]);

    // Writes to a read-only export fail one by one.
    let options = "-o 512 -w write -q 4 -t 0.3 --warmup 0 --target 1.2 --no-progress --json -";
    let output = run(lab.aoeperf(options), 1);
    let report = json(&output);
    assert_eq!(report["total"]["requests"].as_u64(), Some(0), "{report}");
    assert!(report["total"]["errors"].as_u64() > Some(0), "{report}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("target 1.2: write of 1 sectors at LBA 0 failed: ATA status 0x41, error 0x04"),
        "{text}"
    );
    assert!(text.trim_end().ends_with("no request was answered with success in the measured time"), "{text}");
    lab.target.stop();
}
