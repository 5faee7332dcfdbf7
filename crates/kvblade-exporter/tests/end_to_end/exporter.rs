//! The exporter of a test.

use std::path::Path;
use std::process::Command;

use lab::{Daemon, Namespace};

use crate::http::{self, Answer, PATIENCE};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kvblade-exporter");

/// A running exporter in a namespace; stopped when dropped.
pub(crate) struct Exporter<'a> {
    pub(crate) daemon: Daemon,
    pub(crate) namespace: &'a Namespace,
    pub(crate) address: String,
}

impl<'a> Exporter<'a> {
    /// Starts it on a free port of the loopback interface, for the target at `socket`.
    #[track_caller]
    pub(crate) fn start(namespace: &'a Namespace, socket: &Path, options: &[&str]) -> Self {
        let mut command = Self::command(namespace, socket, options);
        command.args(["--listen", "127.0.0.1:0"]);
        let mut daemon = Daemon::start(&mut command).unwrap();
        daemon.wait_for_log("listening on ", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let log = daemon.log().unwrap();
        let (_, rest) = log.split_once("://").unwrap();
        let address = rest.split([',', '\n']).next().unwrap().to_owned();
        Self { daemon, namespace, address }
    }

    pub(crate) fn command(namespace: &Namespace, socket: &Path, options: &[&str]) -> Command {
        let mut command = namespace.command(PROGRAM);
        command.arg("--rpc-socket").arg(socket).args(options);
        command
    }

    /// Asks for a path.
    #[track_caller]
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::get(self.namespace, &self.address, path, headers)
    }

    /// The metrics; the scrape itself succeeds whatever the target does.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        let answer = self.get("/metrics", &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Repeats scrapes until one has this line.
    #[track_caller]
    pub(crate) fn until(&self, line: &str) {
        lab::until(line, PATIENCE, || self.metrics().lines().any(|found| found == line));
    }
}

/// A namespace in which the loopback interface is up.
pub(crate) fn namespace() -> Namespace {
    let namespace = Namespace::create("exporter").unwrap();
    namespace.ip(&["link", "set", "lo", "up"]).unwrap();
    namespace
}
