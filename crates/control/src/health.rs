//! The answer to `aoe_get_health`: one verdict, and the reasons for it.

use std::collections::BTreeMap;

use aoe_target::{DropReason, ShelfSlot, VlanId};
use serde_json::{Value, json};

use crate::initiators::InitiatorStats;
use crate::lifecycle::Stage;
use crate::registry::Record;
use crate::report::{ExportList, ListedExport, Stats};

/// How much a reason matters. The verdict is that of the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// Worth knowing; all is well.
    Note,
    /// It is served, and may not be for long, or is slower than need be.
    Warning,
    /// Something is not served.
    Failure,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// A reason for the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    severity: Severity,
    /// What it is about, for programs.
    kind: &'static str,
    /// The export, port, lcore or device.
    subject: String,
    /// One sentence.
    text: String,
}

/// Drops of frames by port number and reason.
pub type Drops = BTreeMap<(u16, DropReason), u64>;

/// What is known of the machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Ports without a link, by number.
    pub links_down: Vec<u16>,
    /// Lcores that do not turn.
    pub stuck_lcores: Vec<u32>,
    /// Bytes of free hugepages; `None` where hugepages are not used.
    pub free_hugepages: Option<u64>,
    /// The clock that the kernel uses, where it says so.
    pub clock_source: Option<String>,
    /// NICs and drives on a NUMA node that no lcore is on, each with its node.
    pub across_nodes: Vec<(String, i32)>,
    /// Drops at an earlier moment, and the seconds since then. Without, all since the start count.
    pub drops_before: Option<(Drops, u64)>,
    /// The initiators of exports.
    pub initiators: InitiatorStats,
}

/// Reasons of drops that say something of this target, rather than of who sends.
const TROUBLE: [DropReason; 12] = [
    DropReason::RingFull,
    DropReason::StateUnknown,
    DropReason::DeferredFull,
    DropReason::NotStored,
    DropReason::ExportFull,
    DropReason::RateLimited,
    DropReason::OrderFull,
    DropReason::NotFenced,
    DropReason::FanoutFull,
    DropReason::NoMbuf,
    DropReason::NoRoom,
    DropReason::TxLinkDown,
];

/// The drops of all lcores.
#[must_use]
pub fn drops_of(stats: &Stats) -> Drops {
    let mut drops = Drops::new();
    for port in stats.lcores.iter().flat_map(|lcore| &lcore.ports) {
        for reason in TROUBLE {
            *drops.entry((port.port.0, reason)).or_default() += port.drops.get(reason);
        }
    }
    drops
}

/// The answer.
#[must_use]
pub fn report(list: &ExportList, stats: &Stats, machine: &Machine) -> Value {
    let mut reasons = Vec::new();
    for export in list.exports.iter().flatten() {
        look_at_export(export, list, machine, &mut reasons);
    }
    look_at_frames(list, machine, &mut reasons);
    look_at_ports(list, machine, &mut reasons);
    look_at_drops(list, stats, machine, &mut reasons);
    look_at_machine(machine, &mut reasons);
    reasons.sort_by(|a, b| (b.severity, a.kind, &a.subject).cmp(&(a.severity, b.kind, &b.subject)));
    let worst = reasons.iter().map(|reason| reason.severity).max().unwrap_or(Severity::Note);
    let verdict = match worst {
        Severity::Note => "ok",
        Severity::Warning => "warning",
        Severity::Failure => "failure",
    };
    let shown = |reason: &Reason| {
        json!({
            "severity": reason.severity.name(),
            "kind": reason.kind,
            "subject": reason.subject,
            "text": reason.text,
        })
    };
    json!({ "verdict": verdict, "reasons": reasons.iter().map(shown).collect::<Vec<_>>() })
}

fn look_at_export(export: &ListedExport, list: &ExportList, machine: &Machine, reasons: &mut Vec<Reason>) {
    let record = &export.record;
    let mut add = |severity, kind, text: String| {
        reasons.push(Reason { severity, kind, subject: record.place(), text });
    };
    let why = record.reason().unwrap_or("its bdev was removed");
    let bdev = record.bdev_name();
    match record.stage() {
        _ if !record.life().holds_address() => add(
            Severity::Warning,
            "export_quarantined",
            format!("it was deleted by force, and bdev '{bdev}' has not answered its requests"),
        ),
        Stage::Degraded => add(Severity::Failure, "export_degraded", why.to_owned()),
        Stage::Offline | Stage::Rebinding => {
            add(Severity::Failure, "export_offline", format!("bdev '{bdev}': {why}"));
        }
        Stage::Waiting => add(Severity::Failure, "export_waiting", format!("bdev '{bdev}': {why}")),
        _ => {}
    }
    if let Some((_, Some(closed))) = &export.state {
        add(Severity::Failure, "export_closed", format!("it answers nobody: {closed}"));
    }
    let linked = list.ports.of(record.ports()).filter(|port| !machine.links_down.contains(&port.number));
    match linked.count() {
        0 => add(Severity::Failure, "no_path", "none of its ports has a link".to_owned()),
        1 if !has_twin(record, list) => {
            add(
                Severity::Note,
                "one_path",
                "one port with a link serves it: initiators have one path".to_owned(),
            );
        }
        _ => {}
    }
}

/// Whether another export of the same address gives initiators another path.
fn has_twin(record: &Record, list: &ExportList) -> bool {
    let address =
        |record: &Record| -> (ShelfSlot, Option<VlanId>) { (record.address(), record.options().vlan) };
    let others = list.exports.iter().flatten().map(|export| &export.record);
    others.filter(|other| other.key() != record.key()).any(|other| address(other) == address(record))
}

/// Sectors that a frame of Ethernet's usual MTU of 1500 carries.
const USUAL_SECTORS: u32 = 2;

/// Sampled reads and writes of an initiator from which its frames are judged.
const SAMPLES: u64 = 32;

/// Bytes of a frame before its sectors, beyond the Ethernet header.
const HEADERS: u32 = 36;

/// Initiators whose requests never carry more than the usual MTU allows, on exports of ports that carry more.
fn look_at_frames(list: &ExportList, machine: &Machine, reasons: &mut Vec<Reason>) {
    let sectors = |bytes: u32| bytes.saturating_sub(HEADERS) / 512;
    for export in list.exports.iter().flatten() {
        let record = &export.record;
        let port = list.ports.of(record.ports()).min_by_key(|port| port.mtu);
        let Some(port) = port.filter(|port| sectors(port.mtu.into()) >= 4 * USUAL_SECTORS) else { continue };
        let of_export = machine.initiators.seen().filter(|(key, ..)| *key == record.key());
        for (_, initiator, seen) in of_export {
            if seen.sampled >= SAMPLES && sectors(seen.largest_frame) <= USUAL_SECTORS {
                reasons.push(Reason {
                    severity: Severity::Note,
                    kind: "mtu",
                    subject: record.place(),
                    text: format!(
                        "initiator {initiator} sends requests of at most {} bytes of data, and port {} carries {}: its MTU, or \
                         that of a switch, may be 1500",
                        sectors(seen.largest_frame) * 512,
                        port.name,
                        sectors(port.mtu.into()).min(16) * 512
                    ),
                });
            }
        }
    }
}

fn look_at_ports(list: &ExportList, machine: &Machine, reasons: &mut Vec<Reason>) {
    for port in list.ports.all() {
        if machine.links_down.contains(&port.number) {
            reasons.push(Reason {
                severity: Severity::Warning,
                kind: "link_down",
                subject: port.name.clone(),
                text: "the port has no link".to_owned(),
            });
        }
    }
}

fn look_at_drops(list: &ExportList, stats: &Stats, machine: &Machine, reasons: &mut Vec<Reason>) {
    let none = Drops::new();
    let (before, since) = match &machine.drops_before {
        Some((before, seconds)) => (before, format!("in the last {seconds} s")),
        None => (&none, "since the start".to_owned()),
    };
    for ((number, reason), now) in drops_of(stats) {
        let count = now.saturating_sub(before.get(&(number, reason)).copied().unwrap_or_default());
        if count == 0 {
            continue;
        }
        let port = list.ports.all().iter().find(|port| port.number == number);
        reasons.push(Reason {
            severity: Severity::Warning,
            kind: "drops",
            subject: port.map_or_else(|| number.to_string(), |port| port.name.clone()),
            text: format!("{count} frames were dropped as {} {since}: {}", reason.name(), reason.describe()),
        });
    }
}

fn look_at_machine(machine: &Machine, reasons: &mut Vec<Reason>) {
    for lcore in &machine.stuck_lcores {
        reasons.push(Reason {
            severity: Severity::Failure,
            kind: "lcore_stuck",
            subject: lcore.to_string(),
            text: "the lcore does not turn: its requests are not answered".to_owned(),
        });
    }
    if machine.free_hugepages == Some(0) {
        reasons.push(Reason {
            severity: Severity::Warning,
            kind: "hugepages",
            subject: "machine".to_owned(),
            text: "no hugepage is free: further bdevs and ports may find no memory".to_owned(),
        });
    }
    if let Some(source) = machine.clock_source.as_deref().filter(|source| *source != "tsc") {
        reasons.push(Reason {
            severity: Severity::Warning,
            kind: "clock",
            subject: "machine".to_owned(),
            text: format!(
                "the kernel's clock is {source} and not tsc, which it does not trust: deadlines and limits on rates are by the \
                 CPU's counter"
            ),
        });
    }
    for (device, node) in &machine.across_nodes {
        reasons.push(Reason {
            severity: Severity::Warning,
            kind: "numa",
            subject: device.clone(),
            text: format!("it is on NUMA node {node}, and no lcore is"),
        });
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::{DropCounters, PortCounters, PortId};

    use super::*;
    use crate::lifecycle::Event;
    use crate::registry::tests::{happens, with_one_export};
    use crate::report::{LcoreStats, PortStats};

    fn stats(port: u16, reason: DropReason, drops: u64) -> Stats {
        let mut counted = DropCounters::default();
        counted.add(reason, drops);
        let port = PortStats {
            port: PortId(port),
            queue: Some(0),
            counters: PortCounters::default(),
            drops: counted,
            tx_waiting: 0,
            handed_over: 0,
            taken_over: 0,
            returned: 0,
            return_ring_full: 0,
        };
        Stats { lcores: vec![LcoreStats { ports: vec![port], ..LcoreStats::default() }], ..Stats::default() }
    }

    fn kinds(report: &Value) -> Vec<&str> {
        report["reasons"].as_array().unwrap().iter().map(|reason| reason["kind"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_target_that_serves_everything_is_well() {
        let (registry, _) = with_one_export();
        let machine =
            Machine { clock_source: Some("tsc".into()), free_hugepages: Some(1 << 21), ..Machine::default() };
        let report = report(&ExportList::of(&registry), &Stats::default(), &machine);
        assert_eq!(report, json!({ "verdict": "ok", "reasons": [] }));
    }

    #[test]
    fn each_trouble_is_a_reason_and_the_gravest_decides() {
        let (mut registry, key) = with_one_export();
        let list = ExportList::of(&registry);
        let with = |machine: &Machine| report(&list, &Stats::default(), machine);
        for (machine, verdict, expected) in [
            (
                Machine { links_down: vec![1, 2], ..Machine::default() },
                "warning",
                &["link_down", "link_down", "one_path"][..],
            ),
            (
                Machine { links_down: vec![0, 1, 2], ..Machine::default() },
                "failure",
                &["no_path", "link_down", "link_down", "link_down"],
            ),
            (Machine { stuck_lcores: vec![3], ..Machine::default() }, "failure", &["lcore_stuck"]),
            (Machine { free_hugepages: Some(0), ..Machine::default() }, "warning", &["hugepages"]),
            (Machine { clock_source: Some("hpet".into()), ..Machine::default() }, "warning", &["clock"]),
            (Machine { across_nodes: vec![("eth1".into(), 1)], ..Machine::default() }, "warning", &["numa"]),
        ] {
            let report = with(&machine);
            assert_eq!(
                (report["verdict"].as_str(), kinds(&report)),
                (Some(verdict), expected.to_vec()),
                "{report}"
            );
        }
        for (event, kind) in [(Event::Degraded, "export_degraded"), (Event::BdevRemoved, "export_offline")] {
            happens(&mut registry, key, event);
            let report = report(&ExportList::of(&registry), &Stats::default(), &Machine::default());
            assert_eq!((report["verdict"].as_str(), kinds(&report)), (Some("failure"), vec![kind]));
            assert_eq!(report["reasons"][0]["subject"], "1.1");
        }
    }

    #[test]
    fn initiators_with_small_frames_on_ports_with_large_ones_are_noted() {
        let (registry, key) = with_one_export();
        let list = ExportList::of(&registry);
        let mac = aoe_target::MacAddr([2, 0, 0, 0, 0, 9]);
        for (sampled, largest_frame, noted) in [(32, 1060, true), (31, 1060, false), (500, 4132, false)] {
            let mut initiators = InitiatorStats::default();
            initiators.add_seen(key, mac, &crate::Seen { sampled, largest_frame, ..crate::Seen::default() });
            let report = report(&list, &Stats::default(), &Machine { initiators, ..Machine::default() });
            assert_eq!(kinds(&report), if noted { &["mtu"][..] } else { &[] }, "{report}");
            assert_eq!(report["verdict"], "ok");
        }
    }

    #[test]
    fn drops_that_are_this_targets_count_from_the_earlier_moment_on() {
        let (registry, _) = with_one_export();
        let list = ExportList::of(&registry);
        let now = stats(1, DropReason::NoMbuf, 5);
        let since_start = report(&list, &now, &Machine::default());
        assert_eq!(kinds(&since_start), ["drops"]);
        let text = since_start["reasons"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("5 frames were dropped as no_mbuf since the start"), "{text}");
        assert_eq!(since_start["reasons"][0]["subject"], "net_af_packet1");
        let machine = Machine { drops_before: Some((drops_of(&now), 60)), ..Machine::default() };
        assert_eq!(kinds(&report(&list, &now, &machine)), Vec::<&str>::new());
        let foreign = stats(1, DropReason::NotOurMac, 5);
        assert_eq!(kinds(&report(&list, &foreign, &Machine::default())), Vec::<&str>::new());
    }
}
