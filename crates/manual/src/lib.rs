//! The man page and the completion scripts of a program, made from its own clap definition: `PROGRAM --generate man`; and
//! further documents that a program makes from its definitions.
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
    let name = match words {
        [_, name] => name.to_str().unwrap_or_default(),
        _ => "",
    };
    if let Some(extra) = extras.iter().find(|extra| extra.name == name) {
        return Some(Ok((extra.text)()));
    }
    Some(match Document::from_str(name, false) {
        Ok(document) => render(command(), document),
        Err(_) => {
            let given = words.get(1..).unwrap_or_default();
            let given: Vec<_> = given.iter().map(|word| word.to_string_lossy()).collect();
            let names = ["man", "bash", "zsh"].into_iter().chain(extras.iter().map(|extra| extra.name));
            let names: Vec<&str> = names.collect();
            Err(format!("{OPTION} takes one of {} and fish, and got '{}'", names.join(", "), given.join(" ")))
        }
    })
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
