//! A snapshot as series of Prometheus.

mod initiators;
mod labels;
mod latency;
mod tables;

use crate::answers::Counts;
use crate::exposition::{Exposition, Format, Kind};
use crate::process::{self, Process};
use crate::snapshot::{Port, Snapshot};
use crate::target::{Answer, TIMED_MAX};
pub(crate) use initiators::InitiatorSeries;
use labels::ExportLabels;
use tables::{CounterFamily, EXPORT_COUNTERS, LCORE_COUNTERS, PORT_COUNTERS};

/// What the exporter counts itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// Connections that were closed at once because there were too many.
    pub(crate) refused_connections: u64,
    /// Scrapes that the target did not answer.
    pub(crate) failed_scrapes: u64,
}

/// The answer to a scrape. `own` is left out where the exporter does not serve.
pub(crate) fn exposition(
    format: Format,
    answer: &Answer,
    initiators: Option<&mut InitiatorSeries>,
    own: Option<Own>,
) -> String {
    let mut out = Exposition::new(format);
    let version = env!("CARGO_PKG_VERSION");
    out.family("kvblade_up", Kind::Gauge, "Whether kvblade-dpdk has answered this scrape.")
        .sample(&[], answer.is_ok());
    out.family("kvblade_exporter_build", Kind::Info, "Version of kvblade-exporter.")
        .sample(&[("version", version)], true);
    if let Ok(snapshot) = answer {
        out.family(
            "kvblade_answer_seconds",
            Kind::Gauge,
            "Time that kvblade-dpdk took for its answers to this scrape.",
        )
        .sample(&[], snapshot.answered_in.as_secs_f64());
        exports(&mut out, snapshot);
        ports(&mut out, &snapshot.ports);
        lcores(&mut out, snapshot);
        let mut bounds = vec![("timed_exports", TIMED_MAX, snapshot.times_left_out)];
        if let (Some(counts), Some(initiators)) = (&snapshot.initiators, initiators) {
            let left_out = initiators.write(&mut out, counts);
            bounds.push(("initiators", initiators.most(), left_out));
        }
        limits(&mut out, &bounds);
        if let Some(process) = &snapshot.process {
            target_process(&mut out, process);
        }
    }
    if let Some(own) = own {
        own_process(&mut out, own);
    }
    out.end()
}

fn exports(out: &mut Exposition, snapshot: &Snapshot) {
    let named: Vec<(ExportLabels, _)> =
        snapshot.exports.iter().map(|(id, export)| (ExportLabels::of(id), export)).collect();
    let mut info = out.family("kvblade_export", Kind::Info, "An export, with the ports that serve it.");
    for (labels, export) in &named {
        let (ports, read_only) = (export.ports.join(","), if export.read_only { "true" } else { "false" });
        info.sample(&labels.with(&[("ports", ports.as_str()), ("read_only", read_only)]), true);
    }
    let mut online = out.family(
        "kvblade_export_online",
        Kind::Gauge,
        "Whether the export is online; kvblade_export_state has the state by name.",
    );
    named.iter().for_each(|(labels, export)| online.sample(&labels.all(), export.is_online()));
    let mut state = out.family(
        "kvblade_export_state",
        Kind::Gauge,
        "1 for the state that the export is in; other states have no series.",
    );
    named
        .iter()
        .for_each(|(labels, export)| state.sample(&labels.with(&[("state", export.state.as_str())]), true));
    let mut size = out.family("kvblade_export_size_bytes", Kind::Gauge, "Size of the export.");
    for (labels, export) in &named {
        if let Some(bytes) = export.size_bytes {
            size.sample(&labels.all(), bytes);
        }
    }
    let all: Vec<(Vec<(&str, &str)>, &Counts)> =
        named.iter().map(|(labels, export)| (labels.all(), &export.counts)).collect();
    EXPORT_COUNTERS.iter().for_each(|family| counters(out, family, &all));
    latency::write(out, &named);
}

/// How many may have series of their own, and how many more there are; each with its word.
fn limits(out: &mut Exposition, bounds: &[(&str, usize, usize)]) {
    let mut most = out.family(
        "kvblade_exporter_series_limit",
        Kind::Gauge,
        "Most initiators, and most exports that are timed, with series of their own.",
    );
    bounds.iter().for_each(|(of, limit, _)| most.sample(&[("of", of)], *limit as u64));
    let mut left_out = out.family(
        "kvblade_exporter_series_left_out",
        Kind::Gauge,
        "Initiators and timed exports beyond that limit. Initiators are counted together as others.",
    );
    bounds.iter().for_each(|(of, _, number)| left_out.sample(&[("of", of)], *number as u64));
}

/// Writes a family of counters, of all that have them.
fn counters(out: &mut Exposition, family: &CounterFamily, all: &[(Vec<(&str, &str)>, &Counts)]) {
    let mut series = out.family(family.name, family.kind, family.help);
    for (labels, counts) in all {
        for (field, value) in family.fields {
            if let Some(count) = counts.get(*field) {
                series.sample(&[labels.as_slice(), &[(family.label, *value)]].concat(), *count);
            }
        }
    }
}

fn ports(out: &mut Exposition, ports: &[Port]) {
    let mut info = out.family("kvblade_port", Kind::Info, "A port.");
    for port in ports {
        let number = port.number.to_string();
        let interface = port.netif.as_deref().unwrap_or_default();
        info.sample(
            &[("port", &port.name), ("interface", interface), ("number", &number), ("mac", &port.mac)],
            true,
        );
    }
    let mut mtu = out.family("kvblade_port_mtu_bytes", Kind::Gauge, "Largest Ethernet payload of the port.");
    ports.iter().for_each(|port| mtu.sample(&[("port", &port.name)], port.mtu));
    let all: Vec<(Vec<(&str, &str)>, &Counts)> =
        ports.iter().map(|port| (vec![("port", port.name.as_str())], &port.counts)).collect();
    PORT_COUNTERS.iter().for_each(|family| counters(out, family, &all));
    let mut drops =
        out.family("kvblade_port_drops", Kind::Counter, "Frames that were not answered, by reason.");
    for port in ports {
        port.drops
            .iter()
            .for_each(|(reason, count)| drops.sample(&[("port", &port.name), ("reason", reason)], *count));
    }
    let mut changes =
        out.family("kvblade_port_changes", Kind::Counter, "Changes of the port's link and Linux interface.");
    for port in ports {
        port.changes
            .iter()
            .for_each(|(change, count)| changes.sample(&[("port", &port.name), ("change", change)], *count));
    }
}

fn lcores(out: &mut Exposition, snapshot: &Snapshot) {
    let named: Vec<(String, &Counts)> =
        snapshot.lcores.iter().map(|(lcore, counts)| (lcore.to_string(), counts)).collect();
    let all: Vec<(Vec<(&str, &str)>, &Counts)> =
        named.iter().map(|(lcore, counts)| (vec![("lcore", lcore.as_str())], *counts)).collect();
    LCORE_COUNTERS.iter().for_each(|family| counters(out, family, &all));
}

fn target_process(out: &mut Exposition, process: &Process) {
    out.family(
        "kvblade_process_cpu_seconds",
        Kind::Counter,
        "CPU time of kvblade-dpdk; an lcore that polls is always busy.",
    )
    .sample(&[], process.cpu_seconds);
    out.family(
        "kvblade_process_start_time_seconds",
        Kind::Gauge,
        "Start of kvblade-dpdk, in seconds since 1970.",
    )
    .sample(&[], process.start_seconds);
    out.family(
        "kvblade_process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory of kvblade-dpdk without hugepages.",
    )
    .sample(&[], process.resident_bytes);
    out.family("kvblade_process_hugepages_bytes", Kind::Gauge, "Memory of kvblade-dpdk in hugepages.")
        .sample(&[], process.hugepage_bytes);
    out.family("kvblade_process_threads", Kind::Gauge, "Threads of kvblade-dpdk.")
        .sample(&[], process.threads);
}

fn own_process(out: &mut Exposition, own: Own) {
    out.family("kvblade_exporter_failed_scrapes", Kind::Counter, "Scrapes that kvblade-dpdk did not answer.")
        .sample(&[], own.failed_scrapes);
    out.family(
        "kvblade_exporter_refused_connections",
        Kind::Counter,
        "Connections closed because there were too many.",
    )
    .sample(&[], own.refused_connections);
    if let Some(process) = Process::this() {
        out.family("process_cpu_seconds", Kind::Counter, "CPU time of kvblade-exporter.")
            .sample(&[], process.cpu_seconds);
        out.family(
            "process_start_time_seconds",
            Kind::Gauge,
            "Start of kvblade-exporter, in seconds since 1970.",
        )
        .sample(&[], process.start_seconds);
        out.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory of kvblade-exporter.")
            .sample(&[], process.resident_bytes);
    }
    if let Some(files) = process::open_files() {
        out.family("process_open_fds", Kind::Gauge, "Open file descriptors of kvblade-exporter.")
            .sample(&[], files as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::tests::example;

    fn scraped(initiators: usize) -> String {
        let own = Own { refused_connections: 0, failed_scrapes: 2 };
        let mut series = InitiatorSeries::new(initiators);
        exposition(Format::Text, &Ok(Arc::new(example(7))), Some(&mut series), Some(own))
    }

    #[test]
    fn a_target_that_does_not_answer_is_down_and_has_no_other_series() {
        let mut series = InitiatorSeries::new(1);
        let text = exposition(Format::OpenMetrics, &Err("silent".into()), Some(&mut series), None);
        assert!(text.contains("\nkvblade_up 0\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(!text.contains("kvblade_export_") && !text.contains("kvblade_port"), "{text}");
    }

    #[test]
    fn each_series_is_there_once_and_each_family_has_its_help() {
        let text = scraped(2);
        for line in [
            "kvblade_up 1",
            r#"kvblade_export_read_bytes_total{export="1.1",bdev="disk"} 32768"#,
            r#"kvblade_export_requests_total{export="1.1",bdev="disk",command="read"} 8"#,
            r#"kvblade_export_online{export="1.2",bdev="a\"b\\c"} 0"#,
            r#"kvblade_export_state{export="1.2",bdev="a\"b\\c",state="waiting"} 1"#,
            r#"kvblade_export_waits_total{export="1.1",bdev="disk",cause="order"} 8"#,
            r#"kvblade_port_info{port="net_af_packet0",interface="eth1",number="0",mac="02:00:00:00:00:01"} 1"#,
            r#"kvblade_port_drops_total{port="net_af_packet0",reason="not_aoe"} 5"#,
            r#"kvblade_lcore_busy_turns_total{lcore="3"} 7"#,
            "kvblade_exporter_failed_scrapes_total 2",
            r#"kvblade_export_request_duration_seconds_bucket{export="1.1",bdev="disk",operation="read",le="5e-05"} 0"#,
            r#"kvblade_export_request_duration_seconds_bucket{export="1.1",bdev="disk",operation="read",le="0.0001"} 7"#,
            r#"kvblade_export_request_duration_seconds_bucket{export="1.1",bdev="disk",operation="read",le="+Inf"} 7"#,
            r#"kvblade_export_request_duration_seconds_sum{export="1.1",bdev="disk",operation="read"} 0.0007"#,
            r#"kvblade_export_request_duration_seconds_count{export="1.1",bdev="disk",operation="flush"} 0"#,
            r#"kvblade_exporter_series_limit{of="initiators"} 2"#,
            r#"kvblade_exporter_series_left_out{of="initiators"} 1"#,
            r#"kvblade_exporter_series_left_out{of="timed_exports"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let mut seen = BTreeSet::new();
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, sentence) = help.split_once(' ').unwrap();
                assert!(families.insert(name), "{name} is there twice");
                assert!(sentence.ends_with('.') && !sentence.contains('\\'), "{line}");
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').unwrap();
                assert!(seen.insert(series), "{series} is there twice");
                let name = series.split('{').next().unwrap();
                let of_histogram =
                    ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part));
                assert!(families.contains(name) || families.contains(of_histogram.unwrap()), "{line}");
            }
        }
    }

    #[test]
    fn series_by_initiator_take_the_option() {
        // The snapshot has them, because someone else wanted them.
        let text = exposition(Format::Text, &Ok(Arc::new(example(7))), None, None);
        assert!(!text.contains("kvblade_initiator") && !text.contains("of=\"initiators\""), "{text}");
    }
}
