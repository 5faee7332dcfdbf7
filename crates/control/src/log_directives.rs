//! How much is logged, by module: `info,spdk=debug`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Quoted;

/// The crates and libraries that log. All others have no lines.
const ROOTS: [&str; 4] = ["kvblade_dpdk", "state_store", "spdk", "dpdk"];

/// Most modules with a level of their own.
const MODULES_MAX: usize = 64;

/// What may be written for directives.
pub(crate) const ALLOWED: &str = "a level (off, error, warn, info, debug or trace) or MODULE=LEVEL, several with commas between \
                                  them, such as info,spdk=debug";

/// A level of the log, of which all graver ones are part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What needs attention.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [(&'static str, Self); 6] = [
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The level of that name, in small or capital letters.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, level)| level)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, level)| *level == self).map_or("off", |(name, _)| name)
    }
}

/// The level of each module, and of all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDirectives {
    others: LogLevel,
    modules: BTreeMap<String, LogLevel>,
}

impl LogDirectives {
    /// One level for all.
    #[must_use]
    pub const fn all(level: LogLevel) -> Self {
        Self { others: level, modules: BTreeMap::new() }
    }

    /// Reads a list. Without a level of its own, others log at `info`.
    ///
    /// # Errors
    /// A sentence that names the part that is wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut others, mut modules) = (None, BTreeMap::new());
        for part in text.split(',').map(str::trim) {
            let (module, level) = match part.split_once('=') {
                Some((module, level)) => (Some(module.trim()), level.trim()),
                None => (None, part),
            };
            let level =
                LogLevel::of(level).ok_or_else(|| format!("{}: it must be {ALLOWED}", Quoted(part)))?;
            let twice = match module {
                None => others.replace(level).is_some(),
                Some(module) => modules.insert(known(module)?, level).is_some(),
            };
            if twice {
                return Err(format!("{}: there is a level for it already", Quoted(part)));
            }
        }
        if modules.len() > MODULES_MAX {
            return Err(format!("{} modules: at most {MODULES_MAX} are allowed", modules.len()));
        }
        Ok(Self { others: others.unwrap_or_default(), modules })
    }
}

/// A module, or a part of one.
fn known(module: &str) -> Result<String, String> {
    let (root, parts) = module.split_once("::").unwrap_or((module, "x"));
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if !ROOTS.contains(&root) || !parts.split("::").all(is_name) {
        return Err(format!(
            "{} is no module that logs: there are {}, and parts of the first two such as kvblade_dpdk::target",
            Quoted(module),
            ROOTS.join(", ")
        ));
    }
    Ok(module.to_owned())
}

/// As `parse` reads it.
impl fmt::Display for LogDirectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.others.name())?;
        self.modules.iter().try_for_each(|(module, level)| write!(f, ",{module}={}", level.name()))
    }
}

impl Serialize for LogDirectives {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogDirectives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|sentence| D::Error::custom(format_args!("directives: {sentence}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_and_written() {
        for (text, written) in [
            ("debug", "debug"),
            ("spdk=debug", "info,spdk=debug"),
            (
                " dpdk=OFF , warn,kvblade_dpdk::target::scan=trace",
                "warn,dpdk=off,kvblade_dpdk::target::scan=trace",
            ),
        ] {
            let read = LogDirectives::parse(text).unwrap();
            assert_eq!(read.to_string(), written);
            assert_eq!(LogDirectives::parse(written), Ok(read));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "''"),
            ("loud", "'loud'"),
            ("info,", "''"),
            ("spdk=loud", "'spdk=loud'"),
            ("datapath=debug", "'datapath' is no module that logs"),
            ("kvblade_dpdk::=debug", "'kvblade_dpdk::'"),
            ("spdk[x]=debug", "'spdk[x]'"),
            ("info,debug", "'debug': there is a level"),
            ("spdk=info,spdk=debug", "'spdk=debug': there is a level"),
        ] {
            let sentence = LogDirectives::parse(text).unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }
}
