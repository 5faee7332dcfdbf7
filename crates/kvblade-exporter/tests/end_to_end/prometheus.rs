//! A real Prometheus scrapes a real target under load: every query of the dashboard and of the rules has an answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aoe_initiator::load::{LoadSpec, Waiting, Workload};
use aoe_initiator::{Initiator, Link, Retransmit, ShelfSlot, load};
use lab::{Daemon, DpdkFiles, Namespace, Veth, vdev};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::exporter::{Exporter, PROGRAM, namespace};
use crate::fake_target::FakeTarget;
use crate::http::{self, PATIENCE};

/// Where Prometheus listens, in the test's namespace.
const ADDRESS: &str = "127.0.0.1:9090";

/// Sectors of the disk under load.
const SECTORS: u64 = 16 * 1024;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// The target, which `cargo build --bins` has put beside the exporter.
fn target_program() -> PathBuf {
    let program = Path::new(PROGRAM).with_file_name("kvblade-dpdk");
    assert!(program.exists(), "{} is not built: run cargo build --workspace --bins first", program.display());
    program
}

/// A target with one export in memory, and an initiator's end of its link.
struct Setup {
    _target: Daemon,
    directory: TempDir,
    _dpdk: DpdkFiles,
    near: Namespace,
    far: Namespace,
}

impl Setup {
    fn start() -> Self {
        let (near, far) = (Namespace::create("near").unwrap(), namespace());
        Veth::create(&near, "i0", &far, "t0", 9000).unwrap();
        let (directory, dpdk) = (TempDir::new().unwrap(), DpdkFiles::new("kvexporter"));
        let mut command = far.command(target_program());
        command.args(["-l", "0", "--no-pci", "--no-huge", "--legacy-mem", "-m", "1024"]);
        command.args(["--file-prefix", dpdk.prefix(), &vdev::af_packet(0, "t0"), "--"]);
        command.arg("--rpc-socket").arg(directory.path().join("rpc"));
        command.arg("--state-dir").arg(directory.path().join("state"));
        command.args(["--export", "1.1=malloc:8M"]).env_remove("RUST_LOG").current_dir(directory.path());
        let mut target = Daemon::start(&mut command).unwrap();
        target.wait_for_log(" ready ", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let mut client = rpc_client::Client::connect(&directory.path().join("rpc"), PATIENCE).unwrap();
        let timed = client.call::<bool>("aoe_enable_histogram", Some(json!({ "shelf": 1, "slot": 1 })));
        assert!(timed.unwrap());
        Self { _target: target, directory, _dpdk: dpdk, near, far }
    }

    /// Loads the export until `stop` is set.
    fn load(&self, stop: &AtomicBool) {
        let link = || self.near.enter(|| Link::open("i0")).unwrap().unwrap();
        let timing = Retransmit { give_up: PATIENCE, ..Retransmit::default() };
        let mut initiator = Initiator::new(link(), timing);
        let export = initiator.find(ShelfSlot::new(1, 1)).unwrap();
        let spec = LoadSpec {
            workload: Workload::RandomMixed(50),
            sectors_per_io: 8,
            depth: 4,
            duration: Duration::from_secs(1),
            waiting: Waiting::Sleep,
            timing,
            seed: 15,
            ..LoadSpec::default()
        };
        while !stop.load(Ordering::Relaxed) {
            let report = load::run(link(), &export, SECTORS, &spec, stop).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
        }
    }
}

/// Starts Prometheus in `namespace` with our rules, for the exporter at `scraped`.
fn prometheus(namespace: &Namespace, directory: &Path, scraped: &str) -> Daemon {
    let config = directory.join("prometheus.yml");
    let rules = fs::canonicalize(packaging("prometheus/kvblade.rules.yml")).unwrap();
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: kvblade, static_configs: [{{targets: ['{scraped}']}}]}}]\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = namespace.command(lab::installed("prometheus").unwrap());
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()));
    command.arg(format!("--web.listen-address={ADDRESS}"));
    let mut daemon = Daemon::start(&mut command).unwrap();
    daemon.wait_for_log("Server is ready to receive web requests", PATIENCE).unwrap();
    daemon
}

/// What Prometheus' API has under this path.
#[track_caller]
fn api(namespace: &Namespace, path: &str) -> Value {
    let answer = http::get(namespace, ADDRESS, path, &[]);
    let value: Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"));
    assert_eq!(value["status"], "success", "{path}: {value}");
    value["data"].clone()
}

/// The series that an expression gives now.
#[track_caller]
fn query(namespace: &Namespace, expression: &str) -> Vec<Value> {
    let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let data = api(namespace, &format!("/api/v1/query?query={escaped}"));
    data["result"].as_array().unwrap_or_else(|| panic!("{expression}: {data}")).clone()
}

/// The number that an expression gives, which is one.
#[track_caller]
fn number(namespace: &Namespace, expression: &str) -> f64 {
    let series = query(namespace, expression);
    assert_eq!(series.len(), 1, "{expression}: {series:?}");
    series[0]["value"][1].as_str().unwrap().parse().unwrap()
}

/// The queries of the dashboard, as Grafana sends them with everything chosen: of its panels and of its variables.
fn dashboard_queries() -> BTreeSet<String> {
    let text = fs::read_to_string(packaging("grafana/kvblade.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let panels = list(&dashboard["panels"]).into_iter().flat_map(|panel| list(&panel["targets"]));
    let expressions = panels.map(|target| target["expr"].as_str().unwrap().to_owned());
    let variables = list(&dashboard["templating"]["list"]).into_iter().filter(|one| one["type"] == "query");
    let selectors = variables.map(|variable| {
        let definition = variable["query"]["query"].as_str().unwrap();
        let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        inner.rsplit_once(", ").unwrap().0.to_owned()
    });
    let chosen = |expression: String| {
        let chosen =
            expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$export", ".*");
        assert!(!chosen.contains('$'), "{chosen} has a variable that this test does not know");
        chosen
    };
    expressions.chain(selectors).map(chosen).collect()
}

/// What an alert looks at, without the bound: on a healthy target, that has values and the whole has none.
#[track_caller]
fn looked_at(alert: &str) -> String {
    let (left, _) =
        alert.rsplit_once(" > ").or_else(|| alert.rsplit_once(" == ")).unwrap_or_else(|| panic!("{alert}"));
    let absent = left.strip_prefix("absent_over_time(").and_then(|rest| rest.split('[').next());
    absent.unwrap_or(left).to_owned()
}

#[test]
fn every_query_of_the_dashboard_and_the_rules_has_an_answer_from_a_target_under_load() {
    lab::needs_root!();
    let setup = Setup::start();
    let far = &setup.far;
    let exporter = Exporter::start(far, &setup.directory.path().join("rpc"), &["--initiators", "4"]);
    let _prometheus = prometheus(far, setup.directory.path(), &exporter.address);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| setup.load(&stop));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // A rate takes two samples with something between them.
            let reads = r#"rate(kvblade_export_requests_total{command="read"}[1m])"#;
            lab::until("a rate of reads", PATIENCE, || {
                query(far, reads).iter().any(|series| series["value"][1] != "0")
            });
            answered(far);
        }));
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    agrees_with_the_target(&exporter, far);
    let status: Value = serde_json::from_str(&exporter.get("/status.json", &[]).body).unwrap();
    assert!(status["down_since"].is_null() && !status["exports"][0]["rates"].is_null(), "{status}");
    assert_ne!(status["health"]["verdict"], "failure", "{status}");
}

#[track_caller]
fn answered(far: &Namespace) {
    let targets = api(far, "/api/v1/targets");
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    let queries = dashboard_queries();
    assert!(queries.len() > 20, "{queries:?}");
    let has_values = |expression: &str| {
        lab::until(&format!("values of {expression}"), PATIENCE, || !query(far, expression).is_empty());
    };
    queries.iter().for_each(|expression| has_values(expression));
    let groups = api(far, "/api/v1/rules");
    let rules = groups["groups"][0]["rules"].as_array().unwrap().clone();
    let mut alerts = 0;
    for rule in &rules {
        let expression = rule["query"].as_str().unwrap();
        lab::until(expression, PATIENCE, || {
            let now = api(far, "/api/v1/rules");
            let mut all = now["groups"][0]["rules"].as_array().unwrap().iter();
            all.any(|one| one["name"] == rule["name"] && one["health"] == "ok")
        });
        if rule["type"] == "alerting" {
            alerts += 1;
            has_values(&looked_at(expression));
        } else {
            has_values(expression);
            has_values(rule["name"].as_str().unwrap());
        }
    }
    assert!(alerts >= 10, "{rules:?}");
    let firing = query(far, r#"ALERTS{alertstate="firing"}"#);
    assert_eq!(firing, Vec::<Value>::new(), "nothing is wrong");
    assert!((number(far, "sum(kvblade_export_online)") - 1.0).abs() < f64::EPSILON);
    // Each request is in the histogram, and in a bucket with a bound.
    let p99 = r#"export_operation:kvblade_export_request_duration_seconds:p99_rate5m{operation="write"}"#;
    lab::until("a time of writes", PATIENCE, || {
        query(far, p99).iter().any(|series| {
            let seconds: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
            seconds > 0.0 && seconds <= 10.0
        })
    });
}

/// Once the load has ended, Prometheus has the very numbers of the target.
#[track_caller]
fn agrees_with_the_target(exporter: &Exporter<'_>, far: &Namespace) {
    for name in ["kvblade_export_read_bytes_total", "kvblade_export_written_bytes_total"] {
        let metrics = exporter.metrics();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        let bytes: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(bytes > 0.0, "{line}");
        lab::until(line, PATIENCE, || (number(far, name) - bytes).abs() < 0.5);
    }
    let reads = number(far, r#"kvblade_export_requests_total{command="read"}"#);
    let timed = number(far, r#"kvblade_export_request_duration_seconds_count{operation="read"}"#);
    assert!(timed > 0.0 && timed <= reads, "{reads} reads, {timed} of them timed");
}

#[test]
fn promtool_finds_nothing_wrong_with_rules_their_tests_and_metrics() {
    lab::needs_root!();
    let promtool = lab::installed("promtool").unwrap();
    let directory = packaging("prometheus");
    for words in [["check", "rules", "kvblade.rules.yml"], ["test", "rules", "kvblade.rules.test.yml"]] {
        lab::run(std::process::Command::new(&promtool).args(words).current_dir(&directory)).unwrap();
    }
    let fake = FakeTarget::start();
    let metrics = std::process::Command::new(PROGRAM)
        .args(["--once", "--initiators", "4", "--rpc-socket"])
        .arg(fake.socket())
        .output();
    let metrics = metrics.unwrap();
    assert!(metrics.status.success(), "{metrics:?}");
    let mut lint = std::process::Command::new(&promtool);
    let mut lint =
        lint.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut lint.stdin.take().unwrap(), &metrics.stdout).unwrap();
    let found = lint.wait_with_output().unwrap();
    assert!(found.status.success() && found.stderr.is_empty(), "{}", String::from_utf8_lossy(&found.stderr));
}
