//! Around it all: SPDK's app without hugepages and devices, with the bdevs asked for.

use std::io::Write;
use std::os::fd::AsRawFd;

use serde_json::{Value, json};
use spdk::{App, app::AppOptions};

/// Runs SPDK's app on this thread, with reactors on `cores` (as EAL's `-l`), until it is stopped; returns its exit
/// code. `bdevs` are calls of SPDK's RPC methods, carried out before `start` runs on the app's SPDK thread.
///
/// # Panics
/// If there is no memory for the configuration, or no temporary directory for the RPC socket.
pub fn run(name: &str, cores: &str, bdevs: &[Value], start: impl FnOnce() + 'static) -> i32 {
    let config = json!({ "subsystems": [{ "subsystem": "bdev", "config": bdevs }] });
    let memfd = nix::sys::memfd::memfd_create("config", nix::sys::memfd::MFdFlags::empty()).expect("a memfd");
    let mut memfd = std::fs::File::from(memfd);
    memfd.write_all(config.to_string().as_bytes()).expect("writing to memory");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = AppOptions {
        name: name.into(),
        reactor_mask: Some(format!("[{cores}]")),
        eal_arguments: "--no-huge --legacy-mem --vdev=net_null0".into(),
        mem_mb: Some(1024),
        no_pci: true,
        rpc_socket: Some(directory.path().join("rpc").display().to_string()),
        config_file: Some(format!("/proc/self/fd/{}", memfd.as_raw_fd())),
        ..AppOptions::default()
    };
    let app = App::new().expect("one app in a process");
    app.run(&options, |_| start()).expect("options without NUL bytes")
}
