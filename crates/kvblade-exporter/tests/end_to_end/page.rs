//! The status page: what is served, and what a browser makes of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exporter::{Exporter, namespace};
use crate::fake_target::FakeTarget;
use crate::http::PATIENCE;

/// Where screenshots go, if that is wanted.
const SCREENSHOTS: &str = "KVBLADE_SCREENSHOTS";

/// The browser; `None`, with the test's name on standard error, where it is not installed.
pub(crate) fn chromium(test: &str) -> Option<PathBuf> {
    let found = ["chromium", "chromium-browser"].into_iter().find_map(|name| lab::installed(name).ok());
    if found.is_none() {
        // Not eprintln!, which the harness captures.
        writeln!(std::io::stderr(), "skipped: {test}: needs chromium").unwrap_or_default();
    }
    found
}

/// What the browser has made of the page, after this many milliseconds of its own time.
#[track_caller]
fn browse(exporter: &Exporter<'_>, browser: &Path, options: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = exporter.namespace.command(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ]);
    command.args(["--virtual-time-budget=12000", "--window-size=1280,1700"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(options);
    command.arg(format!("http://{}/", exporter.address)).env("HOME", profile.path());
    String::from_utf8(lab::run(&mut command).unwrap().stdout).unwrap()
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_its_policy_forbids_it() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &[]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/status.css", "text/css"),
        ("/status.js", "text/javascript"),
        ("/changes.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/status.json", "application/json"),
        ("/metrics", "text/plain"),
    ] {
        let answer = exporter.get(path, &[("Host", "localhost:9779")]);
        assert_eq!(answer.status, 200, "{path}");
        for part in [
            &format!("content-type: {kind}"),
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(answer.headers.contains(part), "{path}: {part} is not in {}", answer.headers);
        }
        // The names of XML's and SVG's languages are no addresses to load from.
        let body = answer.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!body.contains("http:") && !body.contains("https:") && !body.contains(" style=\""), "{path}");
    }
    assert!(!exporter.get("/", &[]).body.contains("onclick"), "the policy allows no script in attributes");
}

#[test]
fn the_pages_numbers_come_from_samples_and_not_from_those_who_look() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--initiators", "10"]);
    let status = || -> Value { serde_json::from_str(&exporter.get("/status.json", &[]).body).unwrap() };
    lab::until("two samples", PATIENCE, || !status()["exports"][0]["rates"].is_null());
    (0..50).for_each(|_| drop(status()));
    let first = status();
    // One call for each point, and one that may have been made since.
    let points = first["points"].as_array().unwrap().len() as u64;
    assert!((points..=points + 1).contains(&fake.calls()), "{} calls, {points} points", fake.calls());
    assert_eq!(first["health"]["verdict"], "failure");
    assert_eq!(first["health"]["reasons"][0], "export 1.2: offline");
    assert!(first["exports"][0]["rates"]["reads"].as_f64().unwrap() > 0.0, "{first}");
    assert_eq!(first["exports"][0]["rates"]["read_p99"], 0.003, "{first}");
    assert_eq!(first["initiators"]["shown"][0]["mac"], "02:00:00:00:00:07");
}

#[test]
fn a_browser_shows_health_exports_and_curves_in_both_themes() {
    lab::needs_root!();
    let Some(browser) = chromium("page::a_browser_shows_health_exports_and_curves_in_both_themes") else {
        return;
    };
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--initiators", "10"]);
    lab::until("two samples", PATIENCE, || exporter.get("/status.json", &[]).body.contains("\"read_bytes\""));
    let page = browse(&exporter, &browser, &["--dump-dom"]);
    for part in [
        "data-verdict=\"failure\"",
        "<li>export 1.2: offline</li>",
        ">1.1</th>",
        "offline: its bdev is gone",
        "2 exports",
        "aria-sort=\"ascending\"",
        "aria-label=\"Throughput in the last 5 minutes: read now ",
        "aria-label=\"Latency of reads in the last 5 minutes: p50 now 150 µs, at most 150 µs; p99 now 3.0 ms",
        "Latency of writes in the last 5 minutes: p50 unknown; p99 unknown",
        "id=\"not-timed\" hidden",
        "<section id=\"changes\" aria-labelledby=\"changes-title\" hidden",
        "02:00:00:00:00:07",
        "40.0 %",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    if let Some(directory) = std::env::var_os(SCREENSHOTS) {
        for (name, options) in
            [("light", &[][..]), ("dark", &["--force-dark-mode", "--blink-settings=preferredColorScheme=0"])]
        {
            let path = Path::new(&directory).join(format!("status-{name}.png"));
            let screenshot = format!("--screenshot={}", path.display());
            browse(&exporter, &browser, &[&[screenshot.as_str()], options].concat());
            assert!(path.exists(), "{}", path.display());
        }
    }
}
