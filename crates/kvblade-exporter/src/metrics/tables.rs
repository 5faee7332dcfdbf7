//! Which counter of the target is which series.

use crate::exposition::Kind;

/// A family that is made of counters of the target.
#[derive(Debug)]
pub(crate) struct CounterFamily {
    /// Its name, without `_total`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    /// The label that tells several counters apart; empty if there is one.
    pub(crate) label: &'static str,
    /// The target's name of each counter, and the label's value.
    pub(crate) fields: &'static [(&'static str, &'static str)],
}

/// One counter, under a name of its own.
const fn counter(
    name: &'static str,
    field: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> CounterFamily {
    CounterFamily { name, kind: Kind::Counter, help, label: "", fields: field }
}

/// Those of `ExportCounters`.
pub(crate) const EXPORT_COUNTERS: &[CounterFamily] = &[
    counter("kvblade_export_read_bytes", &[("read_bytes", "")], "Bytes of successful reads."),
    counter("kvblade_export_written_bytes", &[("written_bytes", "")], "Bytes of successful writes."),
    CounterFamily {
        name: "kvblade_export_requests",
        kind: Kind::Counter,
        help: "Requests that were answered or submitted, by command, failed ones included.",
        label: "command",
        fields: &[
            ("reads", "read"),
            ("writes", "write"),
            ("flushes", "flush"),
            ("trims", "trim"),
            ("identifies", "identify"),
            ("power_checks", "check_power"),
            ("health_checks", "smart"),
            ("settings", "settings"),
            ("unsupported", "unsupported"),
            ("configs", "config"),
            ("masks", "mask"),
            ("reserves", "reserve"),
            ("unknown_commands", "unknown"),
        ],
    },
    CounterFamily {
        name: "kvblade_export_errors",
        kind: Kind::Counter,
        help: "Replies that reported a failed ATA command (ata) or an AoE error (aoe).",
        label: "kind",
        fields: &[("ata_errors", "ata"), ("aoe_errors", "aoe")],
    },
    CounterFamily {
        name: "kvblade_export_drops",
        kind: Kind::Counter,
        help: "Requests dropped because too many were in flight, or beyond a limit on rates.",
        label: "reason",
        fields: &[("export_full", "export_full"), ("rate_limited", "rate_limited")],
    },
    CounterFamily {
        name: "kvblade_export_waits",
        kind: Kind::Counter,
        help: "Requests that waited for an earlier one on the same sectors (order) or for a limit on rates (rate).",
        label: "cause",
        fields: &[("order_waits", "order"), ("rate_waits", "rate")],
    },
    counter(
        "kvblade_export_copies",
        &[("copies", "")],
        "Copies of requests in flight, sent again by their initiators.",
    ),
    counter(
        "kvblade_export_write_flushes",
        &[("write_flushes", "")],
        "Flushes that followed a write or a TRIM before its reply.",
    ),
    counter(
        "kvblade_export_fua_writes",
        &[("fua_writes", "")],
        "Writes with Force Unit Access, which need no flush.",
    ),
    counter("kvblade_export_timeouts", &[("timeouts", "")], "Requests that the bdev did not answer in time."),
    counter(
        "kvblade_export_late_completions",
        &[("late_completions", "")],
        "Requests that the bdev answered after their deadline.",
    ),
    counter(
        "kvblade_export_aborts",
        &[("aborts", "")],
        "Requests that the bdev was asked to abort after their deadline.",
    ),
];

/// Those of `PortCounters`, and what waits.
pub(crate) const PORT_COUNTERS: &[CounterFamily] = &[
    counter("kvblade_port_receive_frames", &[("rx_frames", "")], "Frames received, dropped ones included."),
    counter("kvblade_port_transmit_frames", &[("tx_frames", "")], "Frames handed to the port for sending."),
    counter("kvblade_port_receive_bytes", &[("rx_bytes", "")], "Bytes received, without FCS."),
    counter("kvblade_port_transmit_bytes", &[("tx_bytes", "")], "Bytes handed to the port, without FCS."),
    counter("kvblade_port_advertisements", &[("advertisements", "")], "Unsolicited advertisements sent."),
    CounterFamily {
        name: "kvblade_port_transmit_waiting_frames",
        kind: Kind::Gauge,
        help: "Replies that wait for room in the port's ring.",
        label: "",
        fields: &[("tx_waiting", "")],
    },
];

/// Those of an lcore.
pub(crate) const LCORE_COUNTERS: &[CounterFamily] = &[
    counter("kvblade_lcore_turns", &[("turns", "")], "Turns of the lcore."),
    counter("kvblade_lcore_busy_turns", &[("busy_turns", "")], "Turns in which there was work."),
    CounterFamily {
        name: "kvblade_lcore_in_flight_requests",
        kind: Kind::Gauge,
        help: "Requests submitted to bdevs and not completed.",
        label: "",
        fields: &[("in_flight", "")],
    },
    counter("kvblade_lcore_receive_frames", &[("rx_frames", "")], "Frames received by the lcore."),
    counter("kvblade_lcore_transmit_frames", &[("tx_frames", "")], "Frames sent by the lcore."),
    counter(
        "kvblade_lcore_bdev_waits",
        &[("bdev_waits", "")],
        "Requests postponed because SPDK had no memory for them.",
    ),
    counter(
        "kvblade_lcore_bounced",
        &[("bounced", "")],
        "Reads and writes that SPDK copied for their alignment.",
    ),
    counter(
        "kvblade_lcore_compare_faults",
        &[("compare_faults", "")],
        "Writes of a part of a block that failed because the bdev's compare does not work.",
    ),
    CounterFamily {
        name: "kvblade_lcore_handovers",
        kind: Kind::Counter,
        help: "Frames handed to the lcore that owns their export (out), taken from others (in), and replies sent for others (returned).",
        label: "direction",
        fields: &[("handed_over", "out"), ("taken_over", "in"), ("returned", "returned")],
    },
    counter(
        "kvblade_lcore_return_ring_full",
        &[("return_ring_full", "")],
        "Turns at whose end replies waited for room in the ring to the lcore that sends them.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every name of the target has one place, and every name here is one of the target's.
    fn complete<'a>(families: &'a [CounterFamily], of_target: impl IntoIterator<Item = &'a str>) {
        let mut here = BTreeSet::new();
        for (field, _) in families.iter().flat_map(|family| family.fields) {
            assert!(here.insert(*field), "{field} has two places");
        }
        assert_eq!(
            here,
            of_target.into_iter().collect(),
            "give each counter of the target its place in metrics/tables.rs"
        );
    }

    #[test]
    fn every_counter_of_the_target_has_its_series() {
        complete(EXPORT_COUNTERS, aoe_target::ExportCounters::default().fields().map(|(name, _)| name));
        let of_port = aoe_target::PortCounters::default().fields().map(|(name, _)| name);
        complete(PORT_COUNTERS, of_port.into_iter().chain(["tx_waiting"]));
        let stats =
            control::Stats { lcores: vec![control::LcoreStats::default()], ..control::Stats::default() };
        let answer: serde_json::Value = serde_json::from_str(&stats.to_json()).unwrap();
        let of_lcore = answer["lcores"][0].as_object().unwrap().keys().map(String::as_str);
        // The number, which is a label, and a counter's name of the release before.
        complete(LCORE_COUNTERS, of_lcore.filter(|name| !["lcore", "under_way"].contains(name)));
    }

    #[test]
    fn names_keep_prometheus_rules() {
        for family in [EXPORT_COUNTERS, PORT_COUNTERS, LCORE_COUNTERS].into_iter().flatten() {
            let name = family.name;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(
                name.starts_with("kvblade_") && !name.ends_with("_total") && !name.ends_with("_count"),
                "{name}"
            );
            assert_eq!(family.label.is_empty(), family.fields.len() == 1, "{name}");
        }
    }
}
