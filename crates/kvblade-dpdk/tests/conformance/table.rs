//! The table itself: Markdown from the rules and their tests.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::case::{Peer, Section};

const HEAD: &str = include_str!("table_head.md");

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The path of the table.
pub(crate) fn path() -> PathBuf {
    root().join("docs/conformance.md")
}

/// The table as it must be. The columns of the two subjects are what the tests demand to see.
pub(crate) fn render(sections: &[Section]) -> String {
    let mut text = HEAD.to_owned();
    for section in sections {
        let id = section.title.to_lowercase().replace(' ', "-");
        write!(
            text,
            "\n## {}\n\n| Rule | What | Source | Test | Us | vblade |\n| --- | --- | --- | --- | --- | --- |\n",
            section.title
        ).expect("a String takes any text");
        for (number, case) in section.cases.iter().enumerate() {
            let vblade = match case.vblade {
                Peer::Same => "same".to_owned(),
                Peer::Differs(seen, why) => format!("**differs**: {} ({why})", cell(seen)),
            };
            let (number, us) = (number + 1, cell(case.us));
            writeln!(
                text,
                "| {id}-{number} | {} | {} | `{}` | {us} | {vblade} |",
                case.rule, case.source, case.name
            )
            .expect("a String takes any text");
        }
        for (number, row) in (section.cases.len() + 1..).zip(section.elsewhere) {
            writeln!(
                text,
                "| {id}-{number} | {} | {} | `{}`: `{}` | as the rule says | not asked |",
                row.rule, row.source, row.file, row.test
            )
            .expect("a String takes any text");
        }
    }
    text
}

fn cell(words: &str) -> String {
    words.replace('|', "\\|")
}

/// Faults of the table: duplicate names, missing tests, a document that differs.
pub(crate) fn faults(sections: &[Section]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names: Vec<&str> =
        sections.iter().flat_map(|section| section.cases).map(|case| case.name).collect();
    names.sort_unstable();
    faults.extend(
        names.windows(2).filter(|two| two[0] == two[1]).map(|two| format!("{} is there twice", two[0])),
    );
    for row in sections.iter().flat_map(|section| section.elsewhere) {
        match std::fs::read_to_string(root().join(row.file)) {
            Ok(text) if text.contains(row.test) => {}
            Ok(_) => faults.push(format!("{} has no '{}'", row.file, row.test)),
            Err(error) => faults.push(format!("{}: {error}", row.file)),
        }
    }
    if std::fs::read_to_string(path()).unwrap_or_default() != render(sections) {
        faults.push(format!(
            "{} is not what these tests say; run them with CONFORMANCE_TABLE=write",
            path().display()
        ));
    }
    faults
}
