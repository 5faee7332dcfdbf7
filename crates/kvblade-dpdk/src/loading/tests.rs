//! Order, mistakes and what is awaited, with made-up methods.

use serde_json::{Value, json};

use super::*;
use crate::launch_config::{Condition, Origin};

fn entry(number: u32, subsystem: &str, method: &str, params: Value) -> Entry {
    Entry {
        subsystem: subsystem.into(),
        origin: Origin::Config {
            file: "--config 'c'".into(),
            subsystem: subsystem.into(),
            number: number.to_string(),
        },
        method: method.into(),
        params: Some(params),
        condition: Condition::Nothing,
    }
}

fn phases(method: &str) -> Option<Phases> {
    match method {
        "bdev_set_options" => Some(Phases::STARTUP),
        "log_set_flag" => Some(Phases { startup: true, runtime: true }),
        "bdev_aio_create" | "bdev_malloc_create" | "aoe_create_export" => Some(Phases::RUNTIME),
        _ => None,
    }
}

fn loader(entries: Vec<Entry>, strict: bool) -> Loader {
    Loader::new(entries, strict, phases, |subsystem| subsystem == "bdev" || subsystem == "aoe").0
}

fn refusal(code: i64, message: &str) -> Refusal {
    Refusal { code, message: message.into() }
}

fn take(loader: &mut Loader, phase: Phase) -> Vec<String> {
    std::iter::from_fn(|| loader.next(phase)).map(|entry| entry.method).collect()
}

#[test]
fn each_entry_is_carried_out_once_in_its_phase_and_in_order() {
    let methods = ["bdev_malloc_create", "bdev_set_options", "bdev_aio_create", "log_set_flag"];
    let entries = methods.map(|method| entry(1, "bdev", method, json!({})));
    let mut loader = loader(entries.into(), false);
    assert_eq!(take(&mut loader, Phase::Startup), ["bdev_set_options", "log_set_flag"]);
    assert_eq!(take(&mut loader, Phase::Runtime), ["bdev_malloc_create", "bdev_aio_create"]);
    assert_eq!((take(&mut loader, Phase::Startup), loader.failure()), (vec![], None));
}

#[test]
fn an_unknown_method_is_named_with_the_nearest_and_one_of_a_subsystem_that_is_not_linked_is_passed_over() {
    let entries = vec![
        entry(1, "bdev", "bdev_malloc_creat", json!({ "name": "x" })),
        entry(2, "nvmf", "nvmf_create_transport", json!({})),
        entry(3, "bdev", "quite_something_else", json!({})),
    ];
    let (mut loader, passed_over) = Loader::new(entries, false, phases, |subsystem| subsystem == "bdev");
    assert_eq!(passed_over.len(), 1);
    assert!(loader.has_unknown());
    loader.refuse_unknown(&["bdev_malloc_delete", "bdev_malloc_create", "bdev_null_create"].map(Into::into));
    assert_eq!(
        loader.failure().unwrap(),
        "2 entries were refused:\n  \
         --config 'c': entry 1 of subsystem 'bdev': bdev_malloc_creat of 'x': there is no method 'bdev_malloc_creat'; \
         the nearest is 'bdev_malloc_create'\n  \
         --config 'c': entry 3 of subsystem 'bdev': quite_something_else: there is no method 'quite_something_else'"
    );
}

#[test]
fn a_mistake_ends_the_start_and_a_missing_disk_does_not() {
    let aio = entry(4, "bdev", "bdev_aio_create", json!({ "name": "a", "filname": "/x" }));
    let export = entry(1, "aoe", "aoe_create_export", json!({ "shelf": 1, "slot": 1, "bdev_name": "a" }));
    for (entry, phase, refusal, fate) in [
        (&aio, Phase::Runtime, refusal(-2, "No such file or directory"), Fate::Awaits),
        (&aio, Phase::Runtime, refusal(-22, "Invalid argument"), Fate::Awaits),
        (&aio, Phase::Runtime, refusal(-32602, "The requested bdev does not exist."), Fate::Awaits),
        (&aio, Phase::Runtime, refusal(-32603, "spdk_json_decode_object failed"), Fate::Ends),
        (&aio, Phase::Runtime, refusal(-32602, "Invalid parameters"), Fate::Ends),
        (&aio, Phase::Runtime, refusal(-32601, "Method not found"), Fate::Ends),
        (&aio, Phase::Runtime, refusal(-17, "File exists"), Fate::Ends),
        (&aio, Phase::Runtime, refusal(-114, "A controller named N0 already exists"), Fate::Ends),
        (&aio, Phase::Startup, refusal(-2, "No such file or directory"), Fate::Ends),
        (&export, Phase::Runtime, refusal(-19, "no bdev 'a'"), Fate::Awaits),
        (&export, Phase::Runtime, refusal(-32602, "shelf is 70000"), Fate::Ends),
        (&export, Phase::Runtime, refusal(-17, "1.1 is already exported"), Fate::Ends),
    ] {
        let mut lenient = loader(Vec::new(), false);
        assert_eq!(lenient.refused(phase, entry, &refusal), fate, "{refusal:?}");
        assert_eq!(lenient.failure().is_some(), fate == Fate::Ends, "{refusal:?}");
        let mut strict = loader(Vec::new(), true);
        assert_eq!(strict.refused(phase, entry, &refusal), Fate::Ends);
        assert!(strict.failure().unwrap().starts_with(&format!("{entry}: {}", refusal.message)));
    }
}

#[test]
fn a_failure_says_what_was_given_where_spdk_does_not_say_what_is_wrong() {
    let mut loader = loader(Vec::new(), false);
    let aio = entry(4, "bdev", "bdev_aio_create", json!({ "name": "a", "filname": "/x" }));
    loader.refused(Phase::Runtime, &aio, &refusal(-32603, "spdk_json_decode_object failed"));
    assert_eq!(
        loader.failure().unwrap(),
        "--config 'c': entry 4 of subsystem 'bdev': bdev_aio_create of 'a': spdk_json_decode_object failed: a parameter is \
         missing, has the wrong type or is not known to the method; given are name, filname"
    );
    assert_eq!(reason(&aio, &refusal(-5, " ")), "it was refused with code -5 and no message");
}

#[test]
fn a_program_that_is_to_end_carries_out_no_more_and_has_not_failed() {
    let mut loader = loader(vec![entry(1, "bdev", "bdev_malloc_create", json!({}))], false);
    loader.fail(&entry(2, "bdev", "bdev_aio_create", json!({})), "why");
    loader.give_up();
    assert_eq!((loader.next(Phase::Runtime), loader.failure()), (None, None));
}

#[test]
fn what_a_retry_finds_there_is_awaited_no_more() {
    assert!(is_there(&refusal(-17, "File exists")) && is_there(&refusal(-114, "already")));
    assert!(!is_there(&refusal(-2, "No such file or directory")));
}
