//! The two kinds of link, each with the target at its far end.

use lab::vdev::{JUMBO_ROOM, Role, af_packet, memif};
use lab::{Daemon, Namespace, Veth};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, Target};

/// A target behind veth pairs `i0`-`t0`, `i1`-`t1`...
pub(crate) struct OverVeth {
    pub(crate) target: Target,
    pub(crate) near: Namespace,
    _far: Namespace,
    ports: usize,
}

impl OverVeth {
    #[track_caller]
    pub(crate) fn start(mtu: u16, ports: usize, exports: &[&str]) -> Self {
        let (near, far) = (Namespace::create("near").unwrap(), Namespace::create("far").unwrap());
        for port in 0..ports {
            Veth::create(&near, &format!("i{port}"), &far, &format!("t{port}"), mtu).unwrap();
        }
        let vdevs: Vec<String> = (0..ports).map(|port| af_packet(port, &format!("t{port}"))).collect();
        let target = Target::start(Some(&far), TempDir::new().unwrap(), &vdevs, exports, " ready ");
        Self { target, near, _far: far, ports }
    }

    pub(crate) fn aoeperf(&self, options: &str) -> std::process::Command {
        let vdevs: Vec<String> = (0..self.ports).map(|port| af_packet(port, &format!("i{port}"))).collect();
        let options: Vec<&str> = options.split_whitespace().collect();
        self.target.aoeperf(Some(&self.near), &vdevs, &options)
    }
}

/// Runs aoeperf over memif against a target of its own, and returns its table and its JSON.
///
/// The target ends first, while aoeperf still holds its port open (`--hold`). Every step waits for an event: the target's port,
/// the report, the ends.
#[track_caller]
pub(crate) fn measure_over_memif(exports: &[&str], options: &str) -> (String, Value) {
    let directory = TempDir::new().unwrap();
    let (socket, json) = (directory.path().join("memif"), directory.path().join("out"));
    let server = memif(0, &socket, Role::Server, JUMBO_ROOM, 10);
    let target = Target::start(None, directory, &[server], exports, " port started ");
    let options: Vec<&str> = ["--mtu", "9000", "--hold", "--no-progress", "--json", "out"]
        .into_iter()
        .chain(options.split_whitespace())
        .collect();
    let client = memif(0, &socket, Role::Client, JUMBO_ROOM, 10);
    let mut initiator = Daemon::start(&mut target.aoeperf(None, &[client], &options)).unwrap();
    // The table comes last.
    initiator.wait_for_log(" total ", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let (text, report) = (initiator.log().unwrap(), std::fs::read(json).unwrap());
    target.stop();
    let status = initiator.stop().unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
    (text, serde_json::from_slice(&report).unwrap())
}
