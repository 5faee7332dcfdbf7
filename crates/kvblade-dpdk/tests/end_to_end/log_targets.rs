//! The log in a file, as JSON, and at journald; its levels while the target serves.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use lab::Daemon;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, refuses, until};
use crate::rpc::Rpc;

/// A target whose log goes elsewhere than to standard error, once it answers.
fn started(lab: &Lab, options: &[&str]) -> (Daemon, Rpc) {
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0".to_owned()]);
    let options = [&["-e", "1.1=malloc:1M"], options].concat();
    let mut daemon = Daemon::start(&mut lab.command(&eal, &options)).unwrap();
    daemon.wait_ready(PATIENCE, || Ok(UnixStream::connect(lab.socket()).is_ok())).unwrap();
    let mut rpc = Rpc::connect(&lab.socket());
    until("the export to be served", || rpc.state(1, 1).as_deref() == Some("online"));
    (daemon, rpc)
}

/// The records of a file; a line that is being written is left out.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn a_file_has_json_of_the_levels_that_are_asked_for_and_is_opened_anew_at_sighup() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let [path, old] = ["log.json", "log.json.1"].map(|name| lab.path(name));
    let target = format!("file:{}", path.display());
    let (mut daemon, mut rpc) = started(&lab, &["--log-format", "json", "--log-target", &target]);
    until("the line of the start", || {
        records(&path).iter().any(|record| record["message"].as_str().unwrap().starts_with("ready"))
    });
    let scans = |path: &Path| {
        let debug =
            |record: &&Value| record["level"] == "debug" && record["module"] == "kvblade_dpdk::target::stats";
        records(path).iter().filter(debug).count()
    };
    rpc.call("aoe_get_stats", Value::Null);
    assert_eq!(scans(&path), 0);
    let at_start = json!({ "directives": "info", "format": "json", "target": target, "lost": 0 });
    assert_eq!(rpc.call("aoe_get_log_level", Value::Null), at_start);

    rpc.call("aoe_set_log_level", json!({ "directives": "kvblade_dpdk::target::stats=debug" }));
    assert_eq!(
        rpc.call("aoe_get_log_level", Value::Null)["directives"],
        "info,kvblade_dpdk::target::stats=debug"
    );
    rpc.call("aoe_get_stats", Value::Null);
    until("a line of debug", || scans(&path) == 1);
    let scan = records(&path).into_iter().find(|record| record["level"] == "debug").unwrap();
    assert!(scan["fields"]["slices"].is_u64() && scan["time"].as_str().unwrap().ends_with('Z'), "{scan}");
    for (directives, part) in [("loud", "'loud'"), ("datapath=debug", "'datapath' is no module that logs")] {
        rpc.refused("aoe_set_log_level", json!({ "directives": directives }), -32602, &[part]);
    }
    rpc.call("aoe_set_log_level", json!({}));
    assert_eq!(rpc.call("aoe_get_log_level", Value::Null), at_start);

    fs::rename(&path, &old).unwrap();
    daemon.signal(Signal::SIGHUP).unwrap();
    until("the file to be there again", || path.exists());
    until("the line of SIGHUP", || !records(&path).is_empty());
    assert!(!records(&old).is_empty());
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(0));
    assert_eq!(daemon.log().unwrap(), "", "standard error has nothing");
}

/// A datagram socket of this test stands for journald, which the machine of the test may not have.
#[test]
fn journald_gets_records_with_fields() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let path = lab.path("journal");
    let journald = UnixDatagram::bind(&path).unwrap();
    journald.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = format!("journald:{}", path.display());
    let (mut daemon, mut rpc) = started(&lab, &["--log-target", &target]);
    assert_eq!(rpc.call("aoe_get_log_level", Value::Null)["format"], "journal");
    rpc.call("bdev_malloc_create", json!({ "name": "spare", "num_blocks": 8, "block_size": 512 }));
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "spare" }));
    let mut piece = vec![0; 128 << 10];
    let found = loop {
        let length = journald.recv(&mut piece).expect("a record of the export");
        let record = String::from_utf8(piece[..length].to_vec()).unwrap();
        assert!(
            record.starts_with("MESSAGE") && record.contains("SYSLOG_IDENTIFIER=kvblade-dpdk\n"),
            "{record}"
        );
        if record.lines().any(|field| field == "KVBLADE_EXPORT=1.2") {
            break record;
        }
    };
    for field in ["PRIORITY=6", "KVBLADE_MODULE=kvblade_dpdk::"] {
        assert!(found.lines().any(|line| line.starts_with(field)), "{field} is not in {found}");
    }
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn a_target_that_cannot_be_opened_is_refused_with_a_sentence() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    for (target, sentence) in [
        ("file:/nonexistent/log", "give a file in a directory that exists, and that this user may write to"),
        (
            "journald:/nonexistent/socket",
            "is systemd-journald running? Other targets are stderr and file:PATH",
        ),
    ] {
        let sentence = format!("--log-target '{target}': No such file or directory (os error 2): {sentence}");
        let command = lab.command(&lab.eal(), &["-e", "1.1=malloc:1M", "--log-target", target]);
        refuses(&lab, command, 1, true, &sentence);
    }
}
