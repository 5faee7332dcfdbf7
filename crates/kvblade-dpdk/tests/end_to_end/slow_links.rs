//! Links that are slower than the target: every reply leaves, without another request.

use std::collections::BTreeSet;
use std::process::Command;

use aoe_initiator::initiator::Export;
use aoe_initiator::wire::{AtaRequest, Reply};
use aoe_initiator::{Initiator, Mac, ShelfSlot};
use lab::vdev::af_packet;

use crate::lab::{Lab, PATIENCE, QUIET, Target, find, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);

/// The address of the macvlan.
const MACVLAN: [u8; 6] = [2, 0, 0, 0, 0, 0x55];

/// A target on a macvlan above `t0`, whose link is as fast as `rate` allows. The macvlan has the queue discipline of `t0`
/// below it, as a bridge or a slow NIC has.
fn behind_slow_link(lab: &Lab, rate: &[&str]) -> Target {
    limit(lab, "add", rate);
    add_macvlan(lab);
    let eal: Vec<String> = lab.eal().into_iter().filter(|word| !word.starts_with("--vdev")).collect();
    let eal = [eal, vec![af_packet(0, "m0"), "-l".into(), "0".into()]].concat();
    lab.start_command(lab.command(&eal, &["-e", "1.1=malloc:8M"]))
}

fn add_macvlan(lab: &Lab) {
    let link = "link add m0 link t0 address 02:00:00:00:00:55 mtu 9000 type macvlan mode bridge";
    lab.far.ip(&link.split(' ').collect::<Vec<_>>()).unwrap();
    lab.far.ip(&["link", "set", "m0", "addrgenmode", "none", "up"]).unwrap();
}

fn limit(lab: &Lab, verb: &str, rate: &[&str]) {
    let mut command = Command::new("tc");
    command.args(["-n", lab.far.name(), "qdisc", verb, "dev", "t0", "root", "tbf", "rate"]).args(rate);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends `count` reads of 16 sectors at once, and returns their tags.
fn burst(initiator: &mut Initiator, count: usize) -> BTreeSet<u32> {
    let export = find(initiator, ADDRESS);
    let requests: Vec<(u32, Vec<u8>)> = (0..count)
        .map(|_| {
            let envelope = initiator.envelope(&export);
            (envelope.tag, AtaRequest::read(0, 16).frame(&envelope, &[]))
        })
        .collect();
    requests.iter().for_each(|(_, request)| initiator.send_raw(request).unwrap());
    requests.into_iter().map(|(tag, _)| tag).collect()
}

/// Waits for the replies with these tags.
#[track_caller]
fn collect(initiator: &mut Initiator, mut tags: BTreeSet<u32>) {
    let all = tags.len();
    while !tags.is_empty() {
        let Some(frame) = initiator.receive_raw(PATIENCE).unwrap() else {
            panic!("{} of {all} replies have not come", tags.len())
        };
        tags.remove(&Reply::parse(&frame).unwrap().tag);
    }
}

#[test]
fn replies_beyond_the_send_buffer_leave_without_another_request() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = behind_slow_link(&lab, &["1gbit", "burst", "64kb", "limit", "4mb"]);
    let mut initiator = lab.initiator(0);
    for _ in 0..5 {
        let tags = burst(&mut initiator, 40);
        collect(&mut initiator, tags);
    }
    target.stop();
}

#[test]
fn replies_that_the_queue_below_drops_for_want_of_room_are_sent_later() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = behind_slow_link(&lab, &["100mbit", "burst", "16kb", "limit", "32kb"]);
    let mut initiator = lab.initiator(0);
    let tags = burst(&mut initiator, 40);
    collect(&mut initiator, tags);
    target.stop();
}

/// As behind a switch that sends PAUSE frames: nothing leaves for a while, with more replies than the ring has slots.
#[test]
fn a_link_that_stands_still_holds_up_no_other_port() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    limit(&lab, "add", &["8bit", "burst", "9100", "limit", "4mb"]);
    add_macvlan(&lab);
    let eal = lab
        .eal()
        .into_iter()
        .map(|word| word.replace("iface=t0", "iface=m0").replace("framecnt=512", "framecnt=64"));
    let eal = [eal.collect(), vec!["-l".to_owned(), "0".into()]].concat();
    let target = lab.start_command(lab.command(&eal, &["-e", "1.1=malloc:8M"]));
    let (mut held, mut other) = (lab.initiator(0), lab.initiator(1));
    let export = find(&mut other, ADDRESS);
    // The stalled link brings no answer to a query, so the macvlan gets an address that is known.
    let behind = Export { mac: Mac(MACVLAN), ..export.clone() };
    let received = || {
        let stats = target.rpc().call("aoe_get_stats", serde_json::Value::Null);
        stats["ports"][0]["rx_frames"].as_u64().unwrap()
    };
    let (mut tags, mut sector) = (BTreeSet::new(), [0; 512]);
    for _ in 0..10 {
        // No more at once than the rx ring takes.
        let before = received();
        for _ in 0..40 {
            let envelope = held.envelope(&behind);
            tags.insert(envelope.tag);
            held.send_raw(&AtaRequest::read(0, 16).frame(&envelope, &[])).unwrap();
        }
        until("the requests to be received", || received() >= before + 40);
        other.read(&export, 0, &mut sector).unwrap();
    }
    // Its first frames use up what the limit allows at once; then nothing leaves.
    let mut replies = 0;
    while let Some(frame) = held.receive_raw(QUIET).unwrap() {
        replies += usize::from(tags.remove(&Reply::parse(&frame).unwrap().tag));
    }
    assert!(replies < 100, "{replies} replies have left");
    other.read(&export, 0, &mut sector).unwrap();
    // Slow enough for an initiator on a busy machine.
    limit(&lab, "change", &["20mbit", "burst", "16kb", "limit", "4mb"]);
    collect(&mut held, tags);
    target.stop();
}
