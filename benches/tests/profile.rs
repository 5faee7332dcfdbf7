//! A profile, as short as it can be: the lcore's samples are found, named and drawn. Needs root, and kvblade-dpdk and
//! aoeperf built beside `profile`. What the shares are is not looked at.

use serde_json::Value;
use std::fs;
use std::process::Command;

#[test]
fn an_lcore_is_sampled_and_drawn() {
    let results = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_profile"))
        .args(["--seconds", "2", "--rounds", "1", "--store-mib", "32", "--results"])
        .arg(results.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let record = fs::read_to_string(results.path().join("profile-memif.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let [link, target] = record["profiles"].as_array().unwrap().as_slice() else { panic!("{record}") };
    assert_eq!((&link["contender"], &target["contender"]), (&"memif-link".into(), &"memif".into()));
    let of = |profile: &Value, step: &str| {
        let shares = profile["shares"].as_array().unwrap();
        shares.iter().find(|share| share["step"] == step).unwrap()["samples"].as_u64().unwrap()
    };
    // No load is without these, and that they are told apart takes the names of Rust, C and inlined functions.
    for step in ["rx", "bdev", "copy", "tx", "reactor"] {
        assert!(of(target, step) > 0, "no sample of {step}: {record}");
    }
    // The bare responder has these alone.
    for step in ["rx", "reply", "tx"] {
        assert!(of(link, step) > 0, "no sample of the responder's {step}: {record}");
    }
    for profile in [link, target] {
        let shares = profile["shares"].as_array().unwrap();
        let sum: u64 = shares.iter().map(|share| share["samples"].as_u64().unwrap()).sum();
        assert_eq!(Some(sum), profile["samples"].as_u64());
        assert!(printed.contains(&format!("{sum} samples")), "{printed}");
    }

    let drawn = fs::read_to_string(results.path().join("profile-memif.svg")).unwrap();
    for function in ["reactor_run", "datapath::lcore::turn", "[librte_net_memif]", "spdk_bdev_readv_blocks"] {
        assert!(drawn.contains(&format!("<title>{function} (")), "{function} is not in the flame graph");
    }
}

#[test]
fn what_cannot_be_is_named() {
    let refused = |arguments: &[&str]| {
        let results = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_profile"))
            .args(arguments)
            .arg("--results")
            .arg(results.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(!results.path().join("profile-memif.svg").exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let missing = refused(&["--programs", "/nonexistent"]);
    assert!(missing.contains("/nonexistent/aoeperf"), "{missing}");
    let seconds = refused(&["--seconds", "0"]);
    assert!(seconds.contains("0.5 to 600 seconds"), "{seconds}");
    let size = refused(&["--size", "1000"]);
    assert!(size.contains("1000") && size.contains("multiple of 512"), "{size}");
}
