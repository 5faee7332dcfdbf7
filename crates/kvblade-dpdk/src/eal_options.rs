//! EAL's options: the words of the command line before `--`.
//!
//! Most go to EAL unchanged. A few go through SPDK's own options, because SPDK writes them onto EAL's command line itself
//! (`build_eal_cmdline` in SPDK's `lib/env_dpdk/init.c`) and EAL refuses some options twice. EAL checks all others.

mod refused;
mod table;

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::args::options::is_own_option;
use crate::launch_error::LaunchError;
use table::{
    Given, LONG_OPTIONS, LONG_OPTIONS_SINCE_24_11, Release, SHORT_WITH_VALUE, SHORT_WITHOUT_VALUE, Value,
    digits, long_options, number,
};

/// Highest lcore number SPDK can express: `SPDK_CPUSET_SIZE` (`spdk/cpuset.h`) less one.
const LCORE_MAX: u32 = 1023;

/// EAL's options, for SPDK and EAL. `Default` is an empty EAL command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EalOptions {
    /// For `spdk_app_opts.reactor_mask`, in SPDK's list form (`[0-3,8]`); `None` leaves SPDK's default, core 0.
    pub(crate) reactor_mask: Option<String>,
    /// The lcores in [`Self::reactor_mask`]; empty when that is `None`.
    pub(crate) lcores: BTreeSet<u32>,
    /// `--main-lcore`, one of [`Self::lcores`] if those are given.
    pub(crate) main_lcore: Option<u32>,
    /// `-m`: memory to reserve at start, in MiB.
    pub(crate) mem_mb: Option<u32>,
    /// `--no-pci`.
    pub(crate) no_pci: bool,
    /// `--huge-unlink` without a value or with `always`; the other values stay in [`Self::passthrough`].
    pub(crate) huge_unlink: bool,
    /// `--file-prefix`, which also stays in [`Self::passthrough`].
    pub(crate) file_prefix: Option<String>,
    /// `--in-memory` was given; it also stays in [`Self::passthrough`].
    pub(crate) in_memory: bool,
    /// `--no-huge` was given; it also stays in [`Self::passthrough`].
    pub(crate) no_huge: bool,
    /// `--telemetry` was given, and no `--no-telemetry` after it. SPDK starts EAL without telemetry, so the program opens its socket.
    pub(crate) telemetry: bool,
    /// All other options, in order, with full names in place of abbreviations. No word holds white space.
    pub(crate) passthrough: Vec<String>,
    /// The known options that were given, in order.
    given: Vec<Given>,
}

impl EalOptions {
    /// The words for `spdk_app_opts.env_context`, which SPDK splits at white space; `None` when there are none.
    #[must_use]
    pub(crate) fn env_context(&self) -> Option<String> {
        (!self.passthrough.is_empty()).then(|| self.passthrough.join(" "))
    }

    /// The values of `--vdev`, as `net_af_packet0,iface=eth1`.
    pub(crate) fn vdevs(&self) -> impl Iterator<Item = &str> {
        self.values_of("--vdev")
    }

    /// The values of `-a` and `--allow`: PCI devices, with what follows their address after a comma.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = &str> {
        let words = &self.passthrough;
        let short = words.iter().enumerate().filter_map(|(at, word)| match word.strip_prefix("-a") {
            Some("") => words.get(at + 1).map(String::as_str),
            Some(value) => Some(value),
            None => None,
        });
        short.chain(self.values_of("--allow"))
    }

    fn values_of<'a>(&'a self, option: &'static str) -> impl Iterator<Item = &'a str> {
        let words = &self.passthrough;
        words.iter().enumerate().filter_map(move |(at, word)| match word.strip_prefix(option) {
            Some("") => words.get(at + 1).map(String::as_str),
            Some(value) => value.strip_prefix('='),
            None => None,
        })
    }

    /// Whether the operator chose the PCI devices to probe.
    pub(crate) fn chooses_pci_devices(&self) -> bool {
        self.no_pci
            || self.allowed().next().is_some()
            || self.passthrough.iter().any(|word| word.starts_with("-b") || word.starts_with("--block"))
    }

    /// Adds a PCI device to those that EAL probes.
    pub(crate) fn allow(&mut self, device: &str) {
        self.passthrough.extend(["-a".to_owned(), device.to_owned()]);
        self.given.push(Given { name: "allow", value: Some(device.to_owned()) });
    }

    /// Adds a virtual device.
    pub(crate) fn add_vdev(&mut self, vdev: &str) {
        self.passthrough.push(format!("--vdev={vdev}"));
    }

    /// Makes `lcore` the only one.
    pub(crate) fn poll_on(&mut self, lcore: u32) {
        self.lcores = BTreeSet::from([lcore]);
        self.reactor_mask = Some(format!("[{lcore}]"));
    }

    /// These options over those of the settings file. The command line's options about lcores replace the file's, and so do
    /// all its other options together.
    #[must_use]
    pub(crate) fn over(self, file: Self) -> Self {
        let lcores_alone = |options: &Self| Self {
            reactor_mask: options.reactor_mask.clone(),
            lcores: options.lcores.clone(),
            main_lcore: options.main_lcore,
            given: options.given.iter().filter(|given| is_about_lcores(given)).cloned().collect(),
            ..Self::default()
        };
        let lcores = if self.lcores.is_empty() { &file } else { &self };
        let (reactor_mask, lcores) = (lcores.reactor_mask.clone(), lcores.lcores.clone());
        let main_lcore = self.main_lcore.or(if self.lcores.is_empty() { file.main_lcore } else { None });
        let rest = if self == lcores_alone(&self) { file } else { self };
        Self { reactor_mask, lcores, main_lcore, ..rest }
    }

    /// Reads the words before `--`, for the DPDK of this release.
    ///
    /// # Errors
    /// A usage error naming the option and what is allowed.
    pub(crate) fn parse(words: &[OsString], dpdk: Release) -> Result<Self, LaunchError> {
        let mut words = Words { words: words.iter().map(text).collect::<Result<Vec<_>, _>>()?, next: 0 };
        let mut options = Self::default();
        while let Some(word) = words.take() {
            if let Some(long) = word.strip_prefix("--") {
                options.long(&word, long, &mut words, dpdk)?;
            } else if word.len() > 1 && word.starts_with('-') {
                options.short(&word, &mut words)?;
            } else {
                return Err(LaunchError::usage(format!(
                    "'{word}' is no EAL option: only EAL options stand before '--'"
                )));
            }
        }
        options.check()?;
        Ok(options)
    }

    /// Refuses a main lcore that is none of the lcores, and options that can't be had together.
    ///
    /// # Errors
    /// A usage error naming them.
    pub(crate) fn check(&self) -> Result<(), LaunchError> {
        match self.main_lcore {
            Some(main) if !self.lcores.is_empty() && !self.lcores.contains(&main) => {
                Err(LaunchError::usage(format!(
                    "--main-lcore {main} is none of the lcores given: it must be one of {}",
                    ranges(&self.lcores)
                )))
            }
            _ => refused::check(&self.given),
        }
    }

    fn long(&mut self, word: &str, long: &str, words: &mut Words, dpdk: Release) -> Result<(), LaunchError> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let Some((name, wants)) = known_long(name, dpdk)? else {
            if is_own_option(name) {
                return Err(LaunchError::usage(format!(
                    "'--{name}' is an option of kvblade-dpdk itself, not of EAL"
                )));
            }
            refused::check_unknown(name, dpdk)?;
            // An option of a later DPDK release: its value, if any, is the next word.
            self.passthrough.push(word.to_owned());
            if attached.is_none() {
                self.passthrough.extend(words.take_value_of_unknown());
            }
            return Ok(());
        };
        let separate = wants == Value::Required && attached.is_none();
        let value = if separate { Some(words.value_of(word)?) } else { attached };
        let meant =
            if name == "huge-unlink" { value.clone().or(Some("always".into())) } else { value.clone() };
        self.given.push(Given { name, value: meant });
        match (name, value.as_deref()) {
            ("lcores", Some(value)) => return self.lcores(word, value),
            ("main-lcore", Some(value)) => {
                self.main_lcore = Some(number(word, value, 0, LCORE_MAX)?);
                return Ok(());
            }
            ("no-pci", None) => {
                self.no_pci = true;
                return Ok(());
            }
            ("huge-unlink", None | Some("always")) => {
                self.huge_unlink = true;
                return Ok(());
            }
            ("telemetry" | "no-telemetry", None) => {
                self.telemetry = name == "telemetry";
                return Ok(());
            }
            ("file-prefix", Some(value)) => self.file_prefix = Some(value.to_owned()),
            ("in-memory", None) => self.in_memory = true,
            ("no-huge", None) => self.no_huge = true,
            _ => {}
        }
        match value {
            Some(value) if separate => self.passthrough.extend([format!("--{name}"), value]),
            Some(value) => self.passthrough.push(format!("--{name}={value}")),
            None => self.passthrough.push(format!("--{name}")),
        }
        Ok(())
    }

    fn short(&mut self, word: &str, words: &mut Words) -> Result<(), LaunchError> {
        let mut characters = word.chars();
        let letter = characters.nth(1).unwrap_or('-');
        let attached = characters.as_str();
        if SHORT_WITHOUT_VALUE.contains(letter) {
            self.passthrough.push(word.to_owned());
            return Ok(());
        }
        if !SHORT_WITH_VALUE.contains(letter) {
            return Err(LaunchError::usage(format!(
                "'{word}' is no EAL option: the options of kvblade-dpdk itself stand after '--'"
            )));
        }
        let separate = attached.is_empty();
        let value = if separate { words.value_of(word)? } else { attached.to_owned() };
        let option = format!("-{letter}");
        if let Some(name) = judged_letter(letter) {
            self.given.push(Given { name, value: Some(value.clone()) });
        }
        match letter {
            'l' => self.lcores(&option, &value),
            'c' => self.mask(&option, &value),
            'm' => {
                self.mem_mb = Some(number(&option, &value, 0, i32::MAX.unsigned_abs())?);
                Ok(())
            }
            _ => {
                self.passthrough.push(word.to_owned());
                if separate {
                    self.passthrough.push(value);
                }
                Ok(())
            }
        }
    }

    fn lcores(&mut self, option: &str, list: &str) -> Result<(), LaunchError> {
        if list.contains(['@', '(', ')']) {
            return Err(LaunchError::usage(format!(
                "{option} '{list}' maps lcores onto other CPUs, which SPDK's reactors cannot do: \
                 give a plain list such as 0-3,8"
            )));
        }
        let bad = |part: &str| {
            LaunchError::usage(format!(
                "{option} '{list}' is no lcore list, see '{part}': give numbers from 0 to {LCORE_MAX} \
                 and ranges of them, such as 0-3,8"
            ))
        };
        let parse = |part: &str| digits(part).filter(|lcore| *lcore <= LCORE_MAX);
        let mut lcores = BTreeSet::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = parse(first).zip(parse(last)).ok_or_else(|| bad(part))?;
            lcores.extend(first.min(last)..=first.max(last));
        }
        self.set_lcores(option, lcores)
    }

    fn mask(&mut self, option: &str, mask: &str) -> Result<(), LaunchError> {
        let digits = mask.strip_prefix("0x").or_else(|| mask.strip_prefix("0X")).unwrap_or(mask);
        let mut lcores = BTreeSet::new();
        for (position, digit) in (0u32..).zip(digits.chars().rev()) {
            let bits = digit.to_digit(16).filter(|bits| *bits == 0 || position * 4 <= LCORE_MAX).ok_or_else(|| {
                LaunchError::usage(format!(
                    "{option} '{mask}' is no lcore mask: give hexadecimal digits for lcores 0 to {LCORE_MAX}, \
                     such as 0xf"
                ))
            })?;
            lcores.extend((0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| position * 4 + bit));
        }
        if lcores.is_empty() {
            return Err(LaunchError::usage(format!(
                "{option} '{mask}' selects no lcore: give at least one, such as 0x1"
            )));
        }
        self.set_lcores(option, lcores)
    }

    fn set_lcores(&mut self, option: &str, lcores: BTreeSet<u32>) -> Result<(), LaunchError> {
        if self.reactor_mask.is_some() {
            return Err(LaunchError::usage(format!(
                "{option} chooses the lcores a second time: give one of -l, -c and --lcores, once"
            )));
        }
        self.reactor_mask = Some(format!("[{}]", ranges(&lcores)));
        self.lcores = lcores;
        Ok(())
    }
}

fn is_about_lcores(given: &Given) -> bool {
    ["lcores", "main-lcore"].contains(&given.name)
}

/// Whether a word is one of EAL's options and, if so, whether its value is the word after it.
#[must_use]
pub(crate) fn value_follows(word: &str) -> Option<bool> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, attached) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        if name.is_empty() {
            return None;
        }
        return match known_long(name, dpdk::eal::release()) {
            Ok(Some((_, wants))) => Some(wants == Value::Required && !attached),
            Ok(None) => None,
            // An ambiguous option, which `parse` refuses.
            Err(_) => Some(false),
        };
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let attached = letters.next().is_some();
    if SHORT_WITH_VALUE.contains(letter) {
        return Some(!attached);
    }
    SHORT_WITHOUT_VALUE.contains(letter).then_some(false)
}

/// The name under which a short option is judged together with others.
fn judged_letter(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "allow",
        'b' => "block",
        'm' => "m",
        'n' => "n",
        'r' => "r",
        _ => return None,
    })
}

/// Whether a word is one of EAL's options, for a hint when it stands after `--` or there is no `--`.
#[must_use]
pub(crate) fn looks_like_eal_option(word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => {
            let name = long.split('=').next().unwrap_or(long);
            let mut known = LONG_OPTIONS.iter().chain(LONG_OPTIONS_SINCE_24_11);
            known.any(|(known, _)| *known == name)
        }
        None => word
            .strip_prefix('-')
            .and_then(|rest| rest.chars().next())
            .is_some_and(|letter| SHORT_WITH_VALUE.contains(letter)),
    }
}

/// Finds a long option by its name or an unambiguous abbreviation, which EAL accepts too (`getopt_long`).
fn known_long(name: &str, dpdk: Release) -> Result<Option<(&'static str, Value)>, LaunchError> {
    if let Some(exact) = long_options(dpdk).find(|(known, _)| *known == name) {
        return Ok(Some(exact));
    }
    let mut matching = long_options(dpdk).filter(|(known, _)| known.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some((first, _)), Some((second, _))) => Err(LaunchError::usage(format!(
            "'--{name}' is ambiguous among EAL's options: it could be --{first} or --{second}"
        ))),
        (only, _) => Ok(only),
    }
}

/// The words of the EAL part, taken one by one.
struct Words {
    words: Vec<String>,
    next: usize,
}

impl Words {
    fn take(&mut self) -> Option<String> {
        let word = self.words.get(self.next).cloned();
        self.next += 1;
        word
    }

    fn value_of(&mut self, option: &str) -> Result<String, LaunchError> {
        self.take().ok_or_else(|| {
            LaunchError::usage(format!("EAL option '{option}' lacks its value: put the value after it"))
        })
    }

    fn take_value_of_unknown(&mut self) -> Option<String> {
        let is_value = self.words.get(self.next).is_some_and(|word| !word.starts_with('-'));
        if is_value { self.take() } else { None }
    }
}

fn text(word: &OsString) -> Result<String, LaunchError> {
    let Some(text) = word.to_str() else {
        return Err(LaunchError::usage(format!(
            "EAL option {word:?} is not UTF-8: only UTF-8 can be passed on"
        )));
    };
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(LaunchError::usage(format!(
            "EAL option '{}' is empty or holds white space, at which SPDK would split it: \
             EAL options must be free of white space",
            text.escape_debug()
        )));
    }
    Ok(text.to_owned())
}

/// Writes lcores as EAL reads them: `0-3,8`.
pub(crate) fn ranges(lcores: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &lcore in lcores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == lcore => *last = lcore,
            _ => parts.push((lcore, lcore)),
        }
    }
    parts
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests;
