//! Scrapes of a target that answers, is silent, goes away and comes back.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::exporter::{Exporter, PROGRAM, namespace};
use crate::fake_target::FakeTarget;
use crate::http::{self, PATIENCE};

#[test]
fn a_target_that_answers_is_up_and_both_formats_are_served() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--initiators", "1"]);
    let text = exporter.get("/metrics", &[("Accept", "*/*")]);
    assert!(text.headers.contains("content-type: text/plain; version=0.0.4"), "{text:?}");
    for line in [
        "kvblade_up 1",
        r#"kvblade_export_online{export="1.2",bdev="gone"} 0"#,
        r#"kvblade_initiator_drops_total{export="1.1",initiator="02:00:00:00:00:07",reason="export_full"} 3"#,
        "kvblade_exporter_failed_scrapes_total 0",
    ] {
        assert!(text.body.lines().any(|found| found == line), "{line} is not in {}", text.body);
    }
    // The process at the other end of the socket is this one.
    assert!(text.body.contains("\nkvblade_process_threads "), "{}", text.body);
    let open = exporter
        .get("/metrics", &[("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")]);
    assert!(open.headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
}

#[test]
fn a_scrape_has_initiators_if_it_asks_for_them_and_latencies_of_exports_that_are_timed() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &[]);
    let [without, with] = ["/metrics", "/metrics?initiators=1"].map(|path| exporter.get(path, &[]));
    assert_eq!((without.status, with.status), (200, 200));
    assert!(
        !without.body.contains("initiator=") && !without.body.contains("of=\"initiators\""),
        "{without:?}"
    );
    for line in [
        r#"kvblade_initiator_drops_total{export="1.1",initiator="02:00:00:00:00:07",reason="export_full"} 3"#,
        r#"kvblade_exporter_series_limit{of="initiators"} 100"#,
        r#"kvblade_exporter_series_left_out{of="initiators"} 0"#,
    ] {
        assert!(with.body.lines().any(|found| found == line), "{line} is not in {}", with.body);
    }
    let buckets =
        r#"kvblade_export_request_duration_seconds_bucket{export="1.1",bdev="disk",operation="read",le=""#;
    let of = |bound: &str| {
        let start = format!("{buckets}{bound}\"}} ");
        let number = without.body.lines().find_map(|line| line.strip_prefix(&start));
        number.unwrap_or_else(|| panic!("{start} is not in {}", without.body)).parse::<u64>().unwrap()
    };
    let all = of("+Inf");
    assert!(all > 0 && of("0.0001") == 0, "{}", without.body);
    assert_eq!((of("0.0002") * 100, of("0.005")), (all * 98, all));
    assert!(!without.body.contains("duration_seconds_count{export=\"1.2\""), "it is not timed");
    for query in ["initiators=2", "initiators", "x=1", "initiators=1&x"] {
        let refused = exporter.get(&format!("/metrics?{query}"), &[]);
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        assert!(refused.body.contains("initiators=1 and initiators=0"), "{refused:?}");
    }
}

#[test]
fn a_silent_target_is_down_by_the_deadline_and_up_when_it_answers() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--timeout", "0.5"]);
    exporter.until("kvblade_up 1");
    fake.set_silent(true);
    exporter.until("kvblade_up 0");
    assert!(!exporter.metrics().contains("kvblade_export_"), "nothing old is shown as new");
    fake.set_silent(false);
    exporter.until("kvblade_up 1");
}

#[test]
fn the_scrapers_own_deadline_counts_if_it_is_earlier() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    fake.set_silent(true);
    // The test would take a minute for each of the two scrapes otherwise, and end with the lab's patience.
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--timeout", "60"]);
    let answer = exporter.get("/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "0.4")]);
    assert!(answer.body.contains("\nkvblade_up 0\n"), "{answer:?}");
}

#[test]
fn a_target_that_closed_its_connections_is_up_in_the_next_scrape() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &[]);
    exporter.until("kvblade_up 1");
    fake.set_closing(true);
    exporter.until("kvblade_up 0");
    fake.set_closing(false);
    assert!(exporter.metrics().contains("\nkvblade_up 1\n"));
}

#[test]
fn a_target_that_is_not_there_is_down_and_the_log_has_the_reason_once() {
    lab::needs_root!();
    let namespace = namespace();
    let mut exporter = Exporter::start(&namespace, Path::new("/nowhere/rpc.sock"), &[]);
    exporter.daemon.wait_for_log("cannot reach kvblade-dpdk at '/nowhere/rpc.sock'", PATIENCE).unwrap();
    let metrics = exporter.metrics();
    assert!(metrics.contains("\nkvblade_up 0\n") && !metrics.contains("kvblade_process_"), "{metrics}");
    let log = exporter.daemon.log().unwrap();
    assert_eq!(log.matches("cannot reach").count(), 1, "{log}");
    exporter.daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(exporter.daemon.wait(PATIENCE).unwrap().code(), Some(0), "{log}");
}

#[test]
fn once_prints_the_metrics_or_the_reason() {
    let fake = FakeTarget::start();
    let once =
        |socket: &Path| Command::new(PROGRAM).arg("--once").arg("--rpc-socket").arg(socket).output().unwrap();
    let printed = once(&fake.socket());
    assert!(printed.status.success(), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("\nkvblade_up 1\n") && text.contains("command=\"read\"} 1000\n"), "{text}");
    let refused = once(Path::new("/nowhere/rpc.sock"));
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/nowhere/rpc.sock"), "{refused:?}");
}

#[test]
fn requests_for_anything_else_are_refused() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &[]);
    assert_eq!(exporter.get("/nothing", &[]).status, 404);
    assert_eq!(exporter.get("/metrics/", &[]).status, 404);
    let long = "x".repeat(20_000);
    assert!([400, 431].contains(&exporter.get("/metrics", &[("Long", &long)]).status));
    for method in ["POST", "PUT", "DELETE"] {
        let answer = http::send(&namespace, &exporter.address, &http::request(method, "/metrics", &[]));
        assert_eq!(answer.status, 405, "{answer:?}");
        assert!(answer.headers.contains("allow: get, head"), "{answer:?}");
    }
    let head = http::send(&namespace, &exporter.address, &http::request("HEAD", "/", &[]));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(exporter.get("/status.json", &[("Host", "example.org")]).status, 421);
    assert_eq!(http::send(&namespace, &exporter.address, "nonsense\r\n\r\n").status, 400);
}
