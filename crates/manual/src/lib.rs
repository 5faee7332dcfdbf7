//! The man page and the completion scripts of a program, made from its own clap definition: `PROGRAM --generate man`.
//!
//! The programs print them themselves, so that neither can say anything else than `--help` does. Packages are built
//! from this output (`debian/rules`); who installed a program from source can use it as well.
#![forbid(unsafe_code)]

mod typeset;

use std::ffi::OsString;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

/// The option that asks for it: the first word of a command line of two. No `--help` shows it.
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

/// Looks whether a command line, without the program's name, asks for a document. If so, it is the answer: the
/// document, or one sentence about what it should have been.
///
/// `command` is asked for only then.
pub fn answer(words: &[OsString], command: impl FnOnce() -> Command) -> Option<Result<String, String>> {
    if words.first()? != OPTION {
        return None;
    }
    let named = match words {
        [_, name] => name.to_str().and_then(|name| Document::from_str(name, false).ok()),
        _ => None,
    };
    Some(match named {
        Some(document) => render(command(), document),
        None => {
            let given = words.get(1..).unwrap_or_default();
            let given: Vec<_> = given.iter().map(|word| word.to_string_lossy()).collect();
            Err(format!("{OPTION} takes one of man, bash, zsh and fish, and got '{}'", given.join(" ")))
        }
    })
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
