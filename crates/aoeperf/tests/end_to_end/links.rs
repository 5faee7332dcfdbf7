//! The two kinds of link, each with the target at its far end.

use lab::vdev::{JUMBO_ROOM, Role, af_packet, memif};
use lab::{Namespace, Veth};
use tempfile::TempDir;

use crate::Target;

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

/// A target at a memif socket. It waits ten seconds for the other side before it serves, so the program is to be
/// started at once.
pub(crate) struct OverMemif {
    pub(crate) target: Target,
    socket: std::path::PathBuf,
}

impl OverMemif {
    #[track_caller]
    pub(crate) fn start(exports: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("memif");
        let target = Target::start(
            None,
            directory,
            &[memif(0, &socket, Role::Server, JUMBO_ROOM, 10)],
            exports,
            " port started ",
        );
        Self { target, socket }
    }

    pub(crate) fn aoeperf(&self, options: &str) -> std::process::Command {
        let options: Vec<&str> = ["--mtu", "9000"].into_iter().chain(options.split_whitespace()).collect();
        self.target.aoeperf(None, &[memif(0, &self.socket, Role::Client, JUMBO_ROOM, 10)], &options)
    }
}
