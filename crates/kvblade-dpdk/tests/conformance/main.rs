//! Conformance: every rule that a frame can show, asked of this target and of Debian's vblade, over veth.
//!
//! Each rule is a [`case::Case`] with the words that either subject's answer must come to; `docs/conformance.md` is
//! made of them. One daemon of ours has an export for each rule; a vblade is started afresh for each, because some
//! frames kill it. The tests have a main function of their own so that they share the one daemon and that it ends
//! with them. Words on the command line choose the tests whose names have one of them. With
//! `CONFORMANCE_TABLE=print` what is seen is printed as Markdown rows, with `=write` the document is written.
//! Needs root and what `scripts/setup --tests` installs.
#![forbid(unsafe_code)]

mod advertisement;
mod ata;
mod ata_features;
mod bench;
mod case;
mod config;
mod config_set;
mod header;
mod initiators;
mod keyed;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../end_to_end/lab.rs"]
mod lab;
mod mask;
mod reserve;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../end_to_end/rpc.rs"]
mod rpc;
mod subjects;
mod table;
mod traps;
mod vlan;

use std::process::ExitCode;

use case::{Case, Peer, Section};

const SECTIONS: &[Section] = &[
    Section { title: "Header", cases: header::CASES, elsewhere: header::ELSEWHERE },
    Section { title: "ATA", cases: ata::CASES, elsewhere: ata::ELSEWHERE },
    Section { title: "ATA features", cases: ata_features::CASES, elsewhere: ata_features::ELSEWHERE },
    Section { title: "Config", cases: config::CASES, elsewhere: config::ELSEWHERE },
    Section { title: "Config set", cases: config_set::CASES, elsewhere: config_set::ELSEWHERE },
    Section { title: "Mask", cases: mask::CASES, elsewhere: mask::ELSEWHERE },
    Section { title: "Reserve", cases: reserve::CASES, elsewhere: reserve::ELSEWHERE },
    Section { title: "Keyed", cases: keyed::CASES, elsewhere: &[] },
    Section { title: "Advertisement", cases: advertisement::CASES, elsewhere: advertisement::ELSEWHERE },
    Section { title: "VLAN", cases: vlan::CASES, elsewhere: vlan::ELSEWHERE },
    Section { title: "Initiators", cases: initiators::CASES, elsewhere: initiators::ELSEWHERE },
    Section { title: "Traps", cases: &[], elsewhere: traps::ELSEWHERE },
];

/// The use of the table besides checking it.
#[derive(PartialEq)]
enum Table {
    Check,
    Print,
    Write,
}

fn main() -> ExitCode {
    let table = match std::env::var("CONFORMANCE_TABLE").as_deref() {
        Ok("print") => Table::Print,
        Ok("write") => Table::Write,
        Ok(other) => {
            eprintln!("CONFORMANCE_TABLE is '{other}'; allowed are 'print' and 'write'");
            return ExitCode::from(2);
        }
        Err(_) => Table::Check,
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let cases: Vec<&Case> =
        SECTIONS.iter().flat_map(|section| section.cases).filter(|case| chosen(case.name)).collect();
    let checks_table = chosen("the_document_is_what_the_tests_say");
    if arguments.iter().any(|word| word == "--list") {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }

    if table == Table::Write
        && let Err(error) = std::fs::write(table::path(), table::render(SECTIONS))
    {
        eprintln!("{}: {error}", table::path().display());
        return ExitCode::from(2);
    }
    let mut tally = Tally::default();
    let is_root = cases.iter().filter(|case| ::lab::is_skipped(case.name)).count() == 0;
    let faults = if checks_table { table::faults(SECTIONS) } else { Vec::new() };
    if checks_table {
        tally.note("the_document_is_what_the_tests_say", faults.is_empty());
        faults.iter().for_each(|fault| println!("    {fault}"));
    }
    if !cases.is_empty() && is_root {
        subjects::run(&cases, |case, subject, seen| {
            let demanded = match (subject, &case.vblade) {
                ("us", _) | (_, Peer::Same) => case.us,
                (_, Peer::Differs(seen, _)) => seen,
            };
            if table == Table::Print {
                println!("| `{}` | {subject} | {seen} |", case.name);
            }
            tally.note(&format!("{} ({subject})", case.name), seen == demanded);
            if seen != demanded {
                println!("    seen:     {seen}\n    demanded: {demanded}");
            }
        });
    }
    let result = if tally.failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {} passed; {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Counts of passed and failed tests.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn note(&mut self, name: &str, passed: bool) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    }
}
