//! The documents that `--generate` prints beside the man page.

use clap::{Arg, ArgAction, CommandFactory};
use control::reference;
use manual::Extra;

use super::options::Options;

/// Their names and how they are made.
pub(super) const DOCUMENTS: [Extra; 3] = [
    Extra { name: "rpc", text: reference::rpc_page },
    Extra { name: "options", text: options_page },
    Extra { name: "schema", text: reference::schema },
];

/// The page on the options of the program and of its exports.
fn options_page() -> String {
    let mut page = reference::generated_by("options");
    page.push_str(
        "# Options\n\n## Options of the program\n\nThe command line of `kvblade-dpdk`. A settings file (`--settings`) has the same options as keys of \
         the same names; the command line takes precedence.\n",
    );
    let command = Options::command();
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        page.push_str(&described(option));
    }
    page.push('\n');
    page.push_str(&reference::export_options());
    page
}

fn described(option: &Arg) -> String {
    let long = option.get_long().unwrap_or_default();
    let letter = option.get_short().map_or_else(String::new, |letter| format!("-{letter}, "));
    let takes_value =
        !matches!(option.get_action(), ArgAction::SetTrue | ArgAction::Help | ArgAction::Version);
    let form = option.get_value_names().filter(|_| takes_value);
    let form = form.map_or_else(String::new, |names| format!(" {}", names.join(" ")));
    let help = option.get_long_help().or(option.get_help()).map(ToString::to_string).unwrap_or_default();
    format!("\n### `--{long}`\n\n`{letter}--{long}{form}`\n\n{}\n", as_markdown(&help))
}

/// A help text in Markdown: its indented lists become lists.
fn as_markdown(help: &str) -> String {
    let mut lines = Vec::new();
    let mut in_list = false;
    for line in help.lines() {
        let entry = line.strip_prefix("  ");
        if entry.is_some() != in_list
            && !line.is_empty()
            && lines.last().is_some_and(|last: &String| !last.is_empty())
        {
            lines.push(String::new());
        }
        in_list = entry.is_some();
        lines.push(match entry.map(|entry| entry.split_once("  ").unwrap_or((entry, ""))) {
            Some((tag, meaning)) => format!("- `{}`: {}", tag.trim(), meaning.trim()),
            // Addresses such as <PATH> would be read as HTML.
            None => line.replace('<', "&lt;"),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_that_of_the_definitions() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/options.md");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == options_page(),
            "docs/reference/options.md is stale: run \
             cargo run -p kvblade-dpdk -- --generate options >docs/reference/options.md"
        );
    }

    #[test]
    fn lists_of_a_help_text_become_lists() {
        assert_eq!(
            as_markdown("One of\n  a=B   the <first>\n  b\nEnd."),
            "One of\n\n- `a=B`: the <first>\n- `b`: \n\nEnd."
        );
    }
}
