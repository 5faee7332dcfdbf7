//! The man page and the completion scripts of a program, made from its own clap definition: `PROGRAM --generate man`; and
//! further documents that a program makes from its definitions.
//!
//! A program with subcommands has a page for each: `--generate pages` names them, a line for each, and `--generate man NAME`
//! is one of them.
//!
//! The programs print them, so that they cannot differ from `--help`. Packages are built from this output
//! (`debian/rules`), and an installation from source can use it as well.
#![forbid(unsafe_code)]

mod typeset;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

/// The option that asks for a document: the first of two words. No `--help` shows it.
const OPTION: &str = "--generate";

/// The document that names the pages of subcommands.
const PAGES: &str = "pages";

/// Section of the manual: commands for the administrator.
const SECTION: &str = "8";

/// What a program prints about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Document {
    /// Its man page.
    Man,
    /// Its completion for bash.
    Bash,
    /// Its completion for zsh.
    Zsh,
    /// Its completion for fish.
    Fish,
}

/// A document that a program has beside its manual.
#[derive(Debug, Clone, Copy)]
pub struct Extra {
    /// The word after `--generate`.
    pub name: &'static str,
    /// Makes it.
    pub text: fn() -> String,
}

/// Looks whether a command line, without the program's name, asks for a document. If so, returns the document, or one
/// sentence naming the documents there are. `command` is called only then.
pub fn answer(words: &[OsString], command: impl FnOnce() -> Command) -> Option<Result<String, String>> {
    answer_with(words, command, &[])
}

/// As [`answer`], for a program with further documents.
pub fn answer_with(
    words: &[OsString],
    command: impl FnOnce() -> Command,
    extras: &[Extra],
) -> Option<Result<String, String>> {
    if words.first()? != OPTION {
        return None;
    }
    let given: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let given: Vec<&str> = given.iter().map(|word| word.as_ref()).collect();
    if let [name] = given.as_slice()
        && let Some(extra) = extras.iter().find(|extra| extra.name == *name)
    {
        return Some(Ok((extra.text)()));
    }
    let command = command();
    let pages = pages_of(&command);
    let found = match given.as_slice() {
        [name] if *name == PAGES && !pages.is_empty() => {
            return Some(Ok(pages.iter().map(|(name, _)| format!("{name}\n")).collect()));
        }
        [name] => Document::from_str(name, false).ok().map(|document| (command, document)),
        ["man", page] => {
            let page = pages.iter().find(|(name, _)| name == page);
            page.map(|(_, subcommand)| (subcommand.clone(), Document::Man))
        }
        _ => None,
    };
    Some(match found {
        Some((command, document)) => render(command, document),
        None => {
            let further = (!pages.is_empty()).then_some(PAGES);
            let names = ["man", "bash", "zsh"].into_iter().chain(further);
            let names: Vec<&str> = names.chain(extras.iter().map(|extra| extra.name)).collect();
            Err(format!("{OPTION} takes one of {} and fish, and got '{}'", names.join(", "), given.join(" ")))
        }
    })
}

/// The subcommands, those of subcommands included, each with the name of its page behind the program's: `add`, `config-save`.
fn pages_of(command: &Command) -> Vec<(String, Command)> {
    fn gather(command: &Command, prefix: &str, pages: &mut Vec<(String, Command)>) {
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let name = format!("{prefix}{}", subcommand.get_name());
            pages.push((name.clone(), subcommand.clone()));
            gather(subcommand, &format!("{name}-"), pages);
        }
    }
    let mut built = command.clone();
    // Gives each subcommand the name of its page, and the options of all subcommands.
    built.build();
    let mut pages = Vec::new();
    gather(&built, "", &mut pages);
    pages
}

/// Prints `text` to standard output, which may be full, or a pipe whose reader has gone.
///
/// # Errors
/// One sentence, if not all of it could be written.
pub fn print(text: &str) -> Result<(), String> {
    write_to(&mut io::stdout(), text)
}

fn write_to(out: &mut impl Write, text: &str) -> Result<(), String> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output can't be written: {error}"))
}

fn render(mut command: Command, document: Document) -> Result<String, String> {
    let mut text = Vec::new();
    let shell = match document {
        Document::Man => None,
        Document::Bash => Some(Shell::Bash),
        Document::Zsh => Some(Shell::Zsh),
        Document::Fish => Some(Shell::Fish),
    };
    match shell {
        Some(shell) => {
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut text);
        }
        None => Man::new(command)
            .section(SECTION)
            .manual("AoE targets")
            .render(&mut text)
            .map_err(|error| format!("the man page can't be made: {error}"))?,
    }
    let text = String::from_utf8(text).map_err(|error| format!("what was generated is no UTF-8: {error}"))?;
    Ok(if document == Document::Man { typeset::typeset(&text) } else { text })
}

#[cfg(test)]
mod tests;
