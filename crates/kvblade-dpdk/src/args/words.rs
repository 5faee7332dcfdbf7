//! Divides the command line between EAL and the program.
//!
//! The words before a `--` are EAL's and those after it are ours. Before it, or where there is none, an option goes to
//! the one that has it. A few names are both's (`-c`, `-r`, `--log-level`): they are EAL's before a `--`, and ours
//! where there is none.

use std::ffi::OsString;

use clap::CommandFactory;

use super::options::Options;
use crate::eal_options;

/// A command line without the program's name, divided.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) eal: Vec<OsString>,
    pub(super) ours: Vec<OsString>,
}

/// The owner of an option that both have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Eal,
    Ours,
}

impl Words {
    /// Divides them.
    pub(super) fn divide(words: &[OsString]) -> Self {
        let mut divided = Self::default();
        match words.iter().position(|word| word == "--") {
            Some(at) => {
                divided.sort(words.get(..at).unwrap_or_default(), First::Eal);
                divided.ours.extend_from_slice(words.get(at + 1..).unwrap_or_default());
            }
            None => divided.sort(words, First::Ours),
        }
        divided
    }

    fn sort(&mut self, words: &[OsString], first: First) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let (eal, ours) = (eal_options::value_follows(text), own_value_follows(text));
            let (taker, value_follows) = match (eal, ours, first) {
                (Some(follows), None, _) | (Some(follows), Some(_), First::Eal) => (&mut self.eal, follows),
                (_, Some(follows), _) => (&mut self.ours, follows),
                (None, None, First::Eal) => (&mut self.eal, false),
                (None, None, First::Ours) => (&mut self.ours, false),
            };
            taker.push(word.clone());
            if value_follows {
                taker.extend(words.next().cloned());
            }
        }
    }
}

/// Whether a word is one of our options and, if so, whether its value is the word after it.
fn own_value_follows(word: &str) -> Option<bool> {
    let command = Options::command();
    let takes_value = |argument: &clap::Arg| argument.get_action().takes_values();
    let mut arguments = command.get_arguments();
    if let Some(long) = word.strip_prefix("--") {
        let (name, attached) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        let argument = arguments.find(|argument| argument.get_long() == Some(name))?;
        return Some(takes_value(argument) && !attached);
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let argument = arguments.find(|argument| argument.get_short() == Some(letter))?;
    Some(takes_value(argument) && letters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn divides(line: &str, eal: &str, ours: &str) {
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(Words::divide(&words(line)), Words { eal: words(eal), ours: words(ours) }, "{line}");
    }

    #[test]
    fn without_a_double_dash_each_option_goes_to_the_one_that_has_it() {
        divides("-l 2 --interface eth1 -e 1.1=/a", "-l 2", "--interface eth1 -e 1.1=/a");
        divides(
            "--interface=eth1 --vdev net_null0 --no-pci --mtu 9000",
            "--vdev net_null0 --no-pci",
            "--interface=eth1 --mtu 9000",
        );
        divides("-c /etc/kv.json --log-level debug -r /s", "", "-c /etc/kv.json --log-level debug -r /s");
        divides("1 1 eth1 /srv/disk -l0", "-l0", "1 1 eth1 /srv/disk");
        divides("--nosuch x", "", "--nosuch x");
        // A value is no option.
        divides("--config -l --export --vdev", "", "--config -l --export --vdev");
    }

    #[test]
    fn before_a_double_dash_options_of_both_are_eals() {
        divides("-c 0x3 --log-level pmd:8 -- -c /etc/kv.json", "-c 0x3 --log-level pmd:8", "-c /etc/kv.json");
        divides("-l 2 --interface eth1 --nosuch --", "-l 2 --nosuch", "--interface eth1");
        divides("-l 2 -- --export 1.1=a -l 3", "-l 2", "--export 1.1=a -l 3");
    }
}
