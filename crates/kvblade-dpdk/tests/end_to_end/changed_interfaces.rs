//! The interface behind a port changes while the target runs: its link, MTU, address and name, and whether it is there.

use aoe_initiator::wire::{AtaRequest, Body, Reply, SECTOR};
use aoe_initiator::{Initiator, Mac, ShelfSlot};
use lab::Veth;
use serde_json::Value;

use crate::lab::{Lab, Target, answer, find, hear, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);
const EXPORT: [&str; 2] = ["-e", "1.1=malloc:8M"];

/// The status register of the answer to a READ of `sectors` sectors.
#[track_caller]
fn status_of_read(initiator: &mut Initiator, sectors: u8) -> u8 {
    let export = find(initiator, ADDRESS);
    let request = AtaRequest::read(0, sectors).frame(&initiator.envelope(&export), &[]);
    let frame = answer(initiator, &request);
    let reply = Reply::parse(&frame).unwrap();
    let Body::Ata(registers) = &reply.body else { panic!("{reply:?}") };
    registers.status
}

/// Waits until the export is advertised with this many sectors a request.
#[track_caller]
fn advertised(initiator: &mut Initiator, sectors: u8) {
    until("an advertisement of another size", || {
        hear(initiator, &[ADDRESS]).iter().any(|export| export.max_sectors() == sectors)
    });
}

fn set(lab: &Lab, what: &[&str]) {
    lab.far.ip(&[&["link", "set", "dev", "t0"], what].concat()).unwrap();
}

/// The port in `aoe_get_stats`.
fn port(target: &Target) -> Value {
    target.rpc().call("aoe_get_stats", Value::Null)["ports"][0].clone()
}

#[test]
fn an_interface_that_is_set_down_at_the_start_is_served_when_it_comes_up() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    lab.set_far(0, "down");
    let target = lab.start(&EXPORT);
    let warning = "port net_af_packet0 is down: bring its interface up with 'ip link set t0 up', and the other end of a \
                   veth pair too: it is served when it is up";
    assert!(target.log().contains(warning), "{}", target.log());
    let mut initiator = lab.initiator(0);
    lab.set_far(0, "up");
    hear(&mut initiator, &[ADDRESS]);
    find(&mut initiator, ADDRESS);
    target.stop();
}

#[test]
fn an_mtu_that_is_lowered_and_raised_changes_what_is_advertised_and_taken() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&EXPORT);
    let mut initiator = lab.initiator(0);
    assert_eq!(find(&mut initiator, ADDRESS).max_sectors(), 16);
    assert_eq!(status_of_read(&mut initiator, 16) & 1, 0);

    set(&lab, &["mtu", "1500"]);
    advertised(&mut initiator, 2);
    assert_eq!(find(&mut initiator, ADDRESS).max_sectors(), 2);
    assert_eq!(status_of_read(&mut initiator, 16) & 1, 1, "refused, and so not sent again for minutes");
    assert_eq!(status_of_read(&mut initiator, 2) & 1, 0);
    assert_eq!(port(&target)["mtu"], 1500);

    set(&lab, &["mtu", "9000"]);
    advertised(&mut initiator, 16);
    assert_eq!(status_of_read(&mut initiator, 16) & 1, 0);
    // More than the rings have room for, and less than a sector.
    set(&lab, &["mtu", "40000"]);
    until("the log to name the room", || target.log().contains("the port's buffers have room for 16292"));
    assert_eq!(find(&mut initiator, ADDRESS).max_sectors(), 16);
    set(&lab, &["mtu", "547"]);
    until("the log to name the least", || target.log().contains("AoE needs at least 548"));
    set(&lab, &["mtu", "1500"]);
    advertised(&mut initiator, 2);
    assert_eq!(port(&target)["changes"]["mtu"], 5);
    target.stop();
}

#[test]
fn a_new_mac_address_and_a_new_name_are_served() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&EXPORT);
    let mut initiator = lab.initiator(0);
    let before = find(&mut initiator, ADDRESS);
    set(&lab, &["address", "02:00:00:00:00:77"]);
    let new = Mac([2, 0, 0, 0, 0, 0x77]);
    assert_ne!(before.mac, new);
    until("an advertisement from the new address", || hear(&mut initiator, &[ADDRESS])[0].mac == new);
    let export = find(&mut initiator, ADDRESS);
    assert_eq!(export.mac, new);
    initiator.write(&export, 3, &[0x33; SECTOR]).unwrap();

    set(&lab, &["name", "renamed0"]);
    until("the port to be shown under the new name", || port(&target)["netif"] == "renamed0");
    let mut data = [0; SECTOR];
    initiator.read(&export, 3, &mut data).unwrap();
    assert_eq!(data, [0x33; SECTOR]);
    let changes = &port(&target)["changes"];
    assert_eq!((changes["mac"].as_u64(), changes["renamed"].as_u64()), (Some(1), Some(1)), "{changes}");
    target.stop();
}

/// Deletes the veth pair and creates it again, after the target has seen it gone.
fn replace(lab: &Lab, target: &Target, round: usize, mtu: u16, mac: Option<&str>) {
    lab.far.ip(&["link", "delete", "t0"]).unwrap();
    until("the interface to be seen gone", || target.log().matches("was deleted").count() == round);
    Veth::create(&lab.near, "i0", &lab.far, "t0", mtu).unwrap();
    if let Some(mac) = mac {
        set(lab, &["address", mac]);
    }
    until("the interface to be seen again", || target.log().matches("is there again").count() == round);
}

/// Writes, deletes and creates the interface again several times, and reads on another port meanwhile.
fn replaced_interfaces_are_served_on(lcores: &str, queues: usize) {
    let lab = Lab::with_ports(9000, 2);
    let mut eal = lab
        .eal()
        .iter()
        .map(|word| word.replace("iface=", &format!("qpairs={queues},iface=")))
        .collect::<Vec<_>>();
    eal.extend(["-l".to_owned(), lcores.to_owned()]);
    let target = lab.start_command(lab.command(&eal, &EXPORT));
    let mut other = lab.initiator(1);
    let on_other = find(&mut other, ADDRESS);
    let export = find(&mut lab.initiator(0), ADDRESS);
    lab.initiator(0).write(&export, 9, &[0x99; SECTOR]).unwrap();
    for (round, mtu, sectors, mac) in
        [(1, 9000, 16, None), (2, 1500, 2, Some("02:00:00:00:00:88")), (3, 9000, 16, None)]
    {
        replace(&lab, &target, round, mtu, mac);
        let mut data = [0; SECTOR];
        other.read(&on_other, 9, &mut data).unwrap();
        assert_eq!(data, [0x99; SECTOR], "the other port is served on");
        let mut initiator = lab.initiator(0);
        until("the port to be served as it is now", || {
            let export = find(&mut initiator, ADDRESS);
            export.max_sectors() == sectors && mac.is_none_or(|mac| export.mac.to_string() == mac)
        });
        let export = find(&mut initiator, ADDRESS);
        data = [0; SECTOR];
        initiator.read(&export, 9, &mut data).unwrap();
        assert_eq!(data, [0x99; SECTOR]);
        let port = port(&target);
        assert_eq!(port["mtu"], mtu);
        let counts = (&port["changes"]["deleted"], &port["changes"]["remade"]);
        assert_eq!(counts, (&Value::from(round), &Value::from(round)));
    }
    target.stop();
}

#[test]
fn an_interface_that_is_deleted_and_created_again_is_served_again() {
    lab::needs_root!();
    replaced_interfaces_are_served_on("0", 1);
}

#[test]
fn an_interface_with_a_queue_for_each_of_two_lcores_is_served_again() {
    lab::needs_root!();
    replaced_interfaces_are_served_on("0-1", 2);
}
