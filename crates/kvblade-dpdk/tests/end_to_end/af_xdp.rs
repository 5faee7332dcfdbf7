//! Ports of DPDK's af_xdp PMD.

use std::io::Write as _;
use std::process::Command;

use aoe_initiator::ShelfSlot;

use crate::lab::{Lab, find};

/// Where Debian keeps libxdp's program for XDP, which the library looks for elsewhere.
const OBJECTS: &str = "/usr/lib/x86_64-linux-gnu/bpf";

/// Whether DPDK has the PMD here.
fn has_driver() -> bool {
    let found = Command::new("sh").args(["-c", "ls /usr/lib/*/dpdk/pmds-*/librte_net_af_xdp.so*"]).output();
    found.is_ok_and(|found| found.status.success())
}

#[test]
fn an_interface_is_served_by_af_xdp() {
    lab::needs_root!();
    if !has_driver() {
        writeln!(std::io::stderr(), "skipped: an_interface_is_served_by_af_xdp: DPDK has no af_xdp PMD here")
            .unwrap_or_default();
        return;
    }
    let lab = Lab::new(1500);
    let mut eal = lab.eal();
    eal.retain(|word| !word.starts_with("--vdev"));
    eal.extend(["-l".to_owned(), "0".to_owned(), "--vdev=net_af_xdp0,iface=t0".to_owned()]);
    let mut command = lab.command(&eal, &["-e", "1.1=malloc:1M", "--mtu", "1500"]);
    command.env("LIBXDP_OBJECT_PATH", OBJECTS);
    let target = lab.start_command(command);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    assert_eq!(export.max_sectors(), 2, "what an MTU of 1500 has room for");
    initiator.write(&export, 7, &[0x5a; 1024]).unwrap();
    let mut back = [0; 1024];
    initiator.read(&export, 7, &mut back).unwrap();
    assert_eq!(back, [0x5a; 1024]);
    target.stop();
}
