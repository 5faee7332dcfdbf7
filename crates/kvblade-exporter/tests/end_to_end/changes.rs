//! Changes of exports over HTTP: who may ask for them, and what the target is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::browser::Page;
use crate::exporter::{Exporter, namespace};
use crate::fake_target::FakeTarget;
use crate::http::{self, Answer, PATIENCE};
use crate::page::chromium;

const TOKEN: &str = "Bearer a-token-for-changes";
const READER: &str = "Bearer a-token-for-readers";

fn token_file(fake: &FakeTarget, authorization: &str) -> String {
    let token = authorization.strip_prefix("Bearer ").unwrap();
    let path = fake.directory().join(token);
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn post(exporter: &Exporter<'_>, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let length = body.len().to_string();
    let headers = [headers, &[("Content-Length", length.as_str())]].concat();
    let request = http::request("POST", path, &headers) + body;
    http::send(exporter.namespace, &exporter.address, &request)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn without_a_token_for_changes_the_page_only_shows() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--token-file", &token_file(&fake, READER)]);
    let refused = post(&exporter, "/exports/create", &[("Authorization", READER), JSON], "{}");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("--change-token-file"), "{refused:?}");
    let status = exporter.get("/status.json", &[("Authorization", READER)]);
    let status: Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!((&status["changes"], fake.changes().len()), (&json!(false), 0));
}

#[test]
fn a_change_takes_its_token_and_a_page_of_this_site() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let [reader, changer] = [READER, TOKEN].map(|token| token_file(&fake, token));
    let options = ["--token-file", &reader, "--change-token-file", &changer];
    let exporter = Exporter::start(&namespace, &fake.socket(), &options);
    let host = ("Host", exporter.address.as_str());
    let of_this_site = format!("http://{}", exporter.address);
    let admitted = ("Authorization", TOKEN);
    for (status, headers) in [
        (401, &[host, JSON][..]),
        (401, &[host, JSON, ("Authorization", READER)]),
        (403, &[host, JSON, admitted, ("Origin", "http://example.org")]),
        (403, &[host, JSON, admitted, ("Origin", "null")]),
        (403, &[host, JSON, admitted, ("Sec-Fetch-Site", "cross-site")]),
        // A form of another site could send these, if it had the token.
        (415, &[host, admitted, ("Content-Type", "text/plain")]),
        (415, &[host, admitted]),
    ] {
        let refused = post(&exporter, "/exports/limit", headers, "{}");
        assert_eq!(refused.status, status, "{headers:?}: {refused:?}");
    }
    let refused = exporter.get("/exports/limit", &[admitted]);
    assert!(refused.status == 405 && refused.headers.contains("allow: post"), "{refused:?}");
    assert_eq!(post(&exporter, "/exports/other", &[host, JSON, admitted], "{}").status, 405);
    let refused = post(&exporter, "/exports/limit", &[host, JSON, admitted], "[1]");
    assert!(refused.status == 400 && refused.body.contains("an object of parameters"), "{refused:?}");
    assert!(fake.changes().is_empty(), "nothing of this has reached the target");

    let page = [host, JSON, admitted, ("Origin", &of_this_site), ("Sec-Fetch-Site", "same-origin")];
    for (path, method, params) in [
        ("/exports/create", "aoe_create_export", json!({"shelf": 1, "slot": 3, "bdev_name": "disk3"})),
        ("/exports/limit", "aoe_set_qos", json!({"shelf": 1, "slot": 3, "iops": 500})),
        ("/exports/delete", "aoe_delete_export", json!({"shelf": 1, "slot": 3})),
    ] {
        let answer = post(&exporter, path, &page, &params.to_string());
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":true}"#), "{answer:?}");
        assert_eq!(fake.changes().pop(), Some((method.to_owned(), params)));
    }
    // What the target says is passed on as it is, as data.
    let params = json!({"shelf": 1, "slot": 3, "bdev_name": "taken"});
    let answer = post(&exporter, "/exports/create", &page, &params.to_string());
    assert_eq!(answer.status, 422, "{answer:?}");
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(said, json!({"error": "1.3 is already exported: <b>taken</b>"}));
    assert!(answer.headers.contains("content-type: application/json"), "{answer:?}");
    let log = exporter.daemon.log().unwrap();
    for line in [r#"aoe_set_qos {"shelf":1,"slot":3,"iops":500}: done"#, "<b>taken</b>"] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(!log.contains("a-token"), "{log}");
    let status: Value = serde_json::from_str(&exporter.get("/status.json", &[admitted]).body).unwrap();
    assert_eq!(status["changes"], true, "the token for changes admits to all else");
}

/// All of it by keyboard, as someone does who sees no mouse.
#[test]
fn a_browser_creates_limits_and_deletes_by_keyboard() {
    lab::needs_root!();
    let Some(browser) = chromium("changes::a_browser_creates_limits_and_deletes_by_keyboard") else { return };
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let changer = token_file(&fake, TOKEN);
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--change-token-file", &changer]);
    lab::until("a sample", PATIENCE, || exporter.get("/status.json", &[]).body.contains("\"bdev\":\"disk\""));
    let mut page = Page::open(&exporter, &browser);
    // Before it is loaded there is an empty page.
    page.until("document.getElementById('changes')?.hidden === false");
    let outcome = |verdict: &str, part: &str| {
        format!(
            "document.getElementById('outcome').dataset.verdict === '{verdict}' && \
             document.getElementById('outcome').textContent.includes('{part}')"
        )
    };
    let focus = |id: &str| format!("document.getElementById('{id}').focus()");

    // A token that is not the one; then the one.
    let enter = |page: &mut Page, token: &str| {
        page.evaluate(&focus("change-token"));
        page.type_text(token);
        page.press("Enter");
        page.until("document.activeElement.id === 'create-shelf'");
    };
    let create = |page: &mut Page, bdev: &str| {
        page.evaluate(&focus("create-shelf"));
        for text in ["1", "3", bdev] {
            page.type_text(text);
            page.press("Tab");
        }
        page.press("Enter");
    };
    enter(&mut page, "a-token-that-is-wrong");
    create(&mut page, "disk3");
    page.until(&outcome("failure", "That token is refused."));
    page.until("document.activeElement.id === 'change-token' && document.getElementById('forms').hidden");
    page.evaluate("document.getElementById('create').reset()");
    enter(&mut page, TOKEN.strip_prefix("Bearer ").unwrap());
    create(&mut page, "taken");
    page.until(&outcome("failure", "1.3 is already exported: <b>taken</b>"));
    page.evaluate("document.getElementById('create').reset()");
    create(&mut page, "disk3");
    page.until(&outcome("ok", "Export 1.3 is served."));
    let made = json!({"shelf": 1, "slot": 3, "bdev_name": "disk3"});
    assert_eq!(fake.changes().pop(), Some(("aoe_create_export".into(), made)));

    page.evaluate(&focus("limit-iops"));
    page.type_text("500");
    page.press("Enter");
    page.until(&outcome("ok", "Export 1.1 has these limits now."));
    let limited = json!({"shelf": 1, "slot": 1, "iops": 500});
    assert_eq!(fake.changes().pop(), Some(("aoe_set_qos".into(), limited)));

    page.evaluate(&focus("delete-confirm"));
    page.type_text("1.2");
    page.press("Enter");
    page.until(&outcome("failure", "Nothing is deleted: to confirm, type 1.1."));
    page.evaluate("document.getElementById('delete-confirm').value = ''");
    page.type_text("1.1");
    page.press("Enter");
    page.until(&outcome("ok", "Export 1.1 is deleted."));
    assert_eq!(fake.changes().pop(), Some(("aoe_delete_export".into(), json!({"shelf": 1, "slot": 1}))));
    let unnamed = "[...document.querySelectorAll('#changes input, #changes select')]\
                   .filter((one) => one.labels.length === 0).length";
    assert_eq!(page.evaluate(unnamed), 0, "a screen reader has a name for each field");
}
