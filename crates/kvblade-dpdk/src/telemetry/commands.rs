//! The commands, and their answers from those of RPC methods.
//!
//! An answer of DPDK's is flat: the names of what lies in an object get that of the object in front, as `drops_not_aoe`.

use std::sync::Arc;

use control::{Action, GetHealth, GetStats};
use dpdk::telemetry::{Answer, Command, FIELDS_MAX, Field};
use serde_json::{Map, Value};

/// Names in a list at most: with their quotes they stay within the 16 KiB that DPDK sends.
const NAMES_MAX: usize = 500;

/// Reasons of a verdict that are sent, of at most 127 bytes each.
const REASONS_MAX: usize = 64;

/// The commands. DPDK lists them by name.
pub(super) const ALL: &[Command] = &[
    (c"/kvblade/exports", c"Names of exports. Optional parameter: how many to skip"),
    (c"/kvblade/export", c"Counters of an export. Parameter: its name, as 1.3"),
    (c"/kvblade/ports", c"Numbers of the ports. No parameters"),
    (c"/kvblade/port", c"Counters of a port. Parameter: its number"),
    (c"/kvblade/lcores", c"Numbers of the lcores. No parameters"),
    (c"/kvblade/lcore", c"Load of an lcore. Parameter: its number"),
    (c"/kvblade/health", c"One verdict, and its reasons. No parameters"),
];

/// Answers a command. `call` gives the answer of an RPC method.
pub(super) fn answer(
    command: &str,
    parameter: Option<&str>,
    call: &dyn Fn(Action) -> Option<Arc<Value>>,
) -> Option<Answer> {
    // No command means something else by an empty parameter.
    let parameter = parameter.filter(|parameter| !parameter.is_empty());
    match command {
        "/kvblade/exports" => {
            let skip = parameter.map_or(Ok(0), str::parse::<usize>).ok()?;
            let stats = call(stats())?;
            let names = names(list(&stats, "exports"));
            Some(Answer::Texts(names.into_iter().skip(skip).take(NAMES_MAX).collect()))
        }
        "/kvblade/export" => {
            let (stats, wanted) = (call(stats())?, parameter?);
            let exports = list(&stats, "exports");
            let index = names(exports).iter().position(|name| name == wanted)?;
            fields(exports.get(index)?)
        }
        "/kvblade/ports" if parameter.is_none() => Some(numbers(list(&*call(stats())?, "ports"), "number")),
        "/kvblade/lcores" if parameter.is_none() => Some(numbers(list(&*call(stats())?, "lcores"), "lcore")),
        "/kvblade/port" => one(list(&*call(stats())?, "ports"), "number", parameter?),
        "/kvblade/lcore" => one(list(&*call(stats())?, "lcores"), "lcore", parameter?),
        "/kvblade/health" if parameter.is_none() => Some(verdict(&*call(health())?)),
        _ => None,
    }
}

/// The call that has the counters.
fn stats() -> Action {
    Action::GetStats(GetStats {})
}

/// The call that has the verdict.
fn health() -> Action {
    Action::GetHealth(GetHealth {})
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The names of exports: `SHELF.SLOT`, in a VLAN `SHELF.SLOT,VLAN`. Further exports of the address, on other ports, have `#2` and so on
/// behind it. They are sorted, so that equal addresses are neighbours.
fn names(exports: &[Value]) -> Vec<String> {
    let mut names = Vec::with_capacity(exports.len());
    let (mut before, mut equal) = (String::new(), 1);
    for export in exports {
        let mut name = format!("{}.{}", export["shelf"], export["slot"]);
        if let Some(vlan) = export["vlan"].as_u64() {
            name = format!("{name},{vlan}");
        }
        if name == before {
            equal += 1;
            names.push(format!("{name}#{equal}"));
        } else {
            (before, equal) = (name.clone(), 1);
            names.push(name);
        }
    }
    names
}

fn numbers(of: &[Value], key: &str) -> Answer {
    Answer::Numbers(of.iter().filter_map(|one| one[key].as_u64()).collect())
}

/// The one whose `key` is the number `wanted`.
fn one(of: &[Value], key: &str, wanted: &str) -> Option<Answer> {
    let wanted: u64 = wanted.parse().ok()?;
    fields(of.iter().find(|one| one[key] == wanted)?)
}

fn fields(of: &Value) -> Option<Answer> {
    let mut fields = Vec::new();
    flatten("", of.as_object()?, &mut fields);
    debug_assert!(fields.len() <= FIELDS_MAX, "{} fields", fields.len());
    Some(Answer::Fields(fields))
}

/// What is `null` is left out: telemetry has no such value.
fn flatten(before: &str, object: &Map<String, Value>, fields: &mut Vec<(String, Field)>) {
    for (name, value) in object {
        let name = format!("{before}{name}");
        match value {
            Value::Object(inner) => flatten(&format!("{name}_"), inner, fields),
            Value::String(text) => fields.push((name, Field::Text(text.clone()))),
            Value::Number(number) => {
                fields.extend(number.as_u64().map(|number| (name, Field::Number(number))));
            }
            Value::Bool(is) => fields.push((name, Field::Number(u64::from(*is)))),
            Value::Null | Value::Array(_) => {}
        }
    }
}

/// The verdict, the number of reasons by severity, and the gravest of them as texts.
fn verdict(answer: &Value) -> Answer {
    let reasons = list(answer, "reasons");
    let number = |severity: &str| {
        let number = reasons.iter().filter(|reason| reason["severity"] == severity).count();
        Field::Number(number.try_into().unwrap_or(u64::MAX))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut fields = vec![
        ("verdict".to_owned(), Field::Text(text(&answer["verdict"]))),
        ("failures".to_owned(), number("failure")),
        ("warnings".to_owned(), number("warning")),
        ("notes".to_owned(), number("note")),
    ];
    fields.extend(reasons.iter().take(REASONS_MAX).enumerate().map(|(index, reason)| {
        let [kind, subject, text] = ["kind", "subject", "text"].map(|key| text(&reason[key]));
        (format!("reason_{index}"), Field::Text(format!("{kind} {subject}: {text}")))
    }));
    Answer::Fields(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(command: &str, parameter: Option<&str>) -> Option<Answer> {
        answer(command, parameter, &|action| {
            Some(Arc::new(match action {
                Action::GetHealth(_) => json!({
                    "verdict": "failure",
                    "reasons": [
                        { "severity": "failure", "kind": "export_offline", "subject": "1.1", "text": "gone" },
                        { "severity": "note", "kind": "one_path", "subject": "1.1", "text": "one" },
                    ],
                }),
                _ => json!({
                    "exports": [
                        { "shelf": 1, "slot": 1, "vlan": null, "bdev_name": "a", "reads": 7 },
                        { "shelf": 1, "slot": 1, "vlan": null, "bdev_name": "b", "reads": 8 },
                        { "shelf": 1, "slot": 1, "vlan": 5, "bdev_name": "c", "reads": 9 },
                    ],
                    "ports": [{ "number": 3, "name": "p", "netif": null, "drops": { "not_aoe": 2 } }],
                    "lcores": [{ "lcore": 0, "turns": 1 }, { "lcore": 2, "turns": 4 }],
                }),
            }))
        })
    }

    fn text(of: &str) -> Field {
        Field::Text(of.to_owned())
    }

    #[test]
    fn exports_are_named_by_address_and_each_has_one_name() {
        let names = |skip| match ask("/kvblade/exports", skip) {
            Some(Answer::Texts(names)) => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(names(None), ["1.1", "1.1#2", "1.1,5"]);
        assert_eq!(names(Some("2")), ["1.1,5"]);
        assert_eq!(names(Some("9")), Vec::<String>::new());
        assert_eq!(ask("/kvblade/exports", Some("x")), None);
        for (name, bdev, reads) in [("1.1", "a", 7), ("1.1#2", "b", 8), ("1.1,5", "c", 9)] {
            let Some(Answer::Fields(fields)) = ask("/kvblade/export", Some(name)) else { panic!("{name}") };
            assert!(fields.contains(&("bdev_name".into(), text(bdev))), "{fields:?}");
            assert!(fields.contains(&("reads".into(), Field::Number(reads))), "{fields:?}");
        }
        for none in [None, Some(""), Some("1.2"), Some("1.1,6"), Some("1.1#3")] {
            assert_eq!(ask("/kvblade/export", none), None, "{none:?}");
        }
    }

    #[test]
    fn ports_and_lcores_are_listed_and_looked_up_by_number() {
        assert_eq!(ask("/kvblade/ports", None), Some(Answer::Numbers(vec![3])));
        assert_eq!(ask("/kvblade/lcores", None), Some(Answer::Numbers(vec![0, 2])));
        let port = vec![
            ("number".into(), Field::Number(3)),
            ("name".into(), text("p")),
            ("drops_not_aoe".into(), Field::Number(2)),
        ];
        assert_eq!(ask("/kvblade/port", Some("3")), Some(Answer::Fields(port)));
        let lcore = vec![("lcore".into(), Field::Number(2)), ("turns".into(), Field::Number(4))];
        assert_eq!(ask("/kvblade/lcore", Some("2")), Some(Answer::Fields(lcore)));
        for (command, parameter) in [
            ("/kvblade/port", None),
            ("/kvblade/port", Some("0")),
            ("/kvblade/lcore", Some("-1")),
            ("/kvblade/ports", Some("3")),
            ("/kvblade/other", None),
        ] {
            assert_eq!(ask(command, parameter), None, "{command} {parameter:?}");
        }
    }

    #[test]
    fn a_verdict_has_its_reasons_counted_and_in_words() {
        let Some(Answer::Fields(fields)) = ask("/kvblade/health", None) else { panic!("no verdict") };
        assert_eq!(
            fields,
            [
                ("verdict".into(), text("failure")),
                ("failures".into(), Field::Number(1)),
                ("warnings".into(), Field::Number(0)),
                ("notes".into(), Field::Number(1)),
                ("reason_0".into(), text("export_offline 1.1: gone")),
                ("reason_1".into(), text("one_path 1.1: one")),
            ]
        );
    }

    #[test]
    fn dpdk_takes_each_name_and_each_help() {
        for (command, help) in ALL {
            assert!(command.to_bytes().starts_with(b"/") && command.to_bytes().len() < 56, "{command:?}");
            assert!(help.to_bytes().len() < 64, "{help:?}");
        }
    }
}
