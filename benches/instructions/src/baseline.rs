//! The counts that are in the tree, and how new ones compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Counts by what is counted.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Counts by compiler: another one, or another architecture, comes to other counts.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline(BTreeMap<String, Counts>);

/// The highest count that passes: a hundredth more than that of the same compiler, where a few are always allowed; a tenth
/// more than that of another one, for only what is far off is a mistake of ours.
fn limit(count: u64, is_same: bool) -> u64 {
    count + (count / if is_same { 100 } else { 10 }).max(3)
}

/// Where the baseline is.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
}

/// The compiler that is used here, as "1.95.0 x86_64".
pub(crate) fn compiler() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).arg("--version").output();
    let output = output.map_err(|error| format!("{}: {error}", rustc.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version =
        said.split_whitespace().nth(1).ok_or_else(|| format!("rustc says its version is '{said}'"))?;
    Ok(format!("{version} {}", std::env::consts::ARCH))
}

impl Baseline {
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn store(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Puts a compiler's counts in place of those it had.
    pub(crate) fn put(&mut self, compiler: String, counts: Counts) {
        self.0.insert(compiler, counts);
    }

    /// The counts to compare those of `compiler` with, and whose they are: its own, or else those of the last compiler
    /// for the same architecture.
    fn reference(&self, compiler: &str) -> Option<(&String, &Counts)> {
        let architecture = compiler.split(' ').nth(1)?;
        let mut alike = self.0.iter().filter(|(name, _)| name.split(' ').nth(1) == Some(architecture));
        self.0.get_key_value(compiler).or_else(|| alike.next_back())
    }

    /// Compares a compiler's counts; the lines to print, and whether none grew beyond what is allowed.
    pub(crate) fn compare(&self, compiler: &str, counts: &Counts) -> Result<(Vec<String>, bool), String> {
        let (whose, reference) = self.reference(compiler).ok_or_else(|| {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            format!(
                "no baseline for rustc {compiler}, nor for its architecture; there are: {}",
                known.join(", ")
            )
        })?;
        let is_same = whose == compiler;
        let percent = if is_same { 1 } else { 10 };
        let mut lines = vec![format!("compared with rustc {whose}; {percent} % more is allowed")];
        let mut good = true;
        for (what, count) in counts {
            let Some(was) = reference.get(what) else {
                lines.push(format!("FAIL {what}: {count}, which has no count in the baseline"));
                good = false;
                continue;
            };
            let limit = limit(*was, is_same);
            let verdict = if *count > limit { "FAIL" } else { "ok  " };
            good &= *count <= limit;
            lines.push(format!("{verdict} {what}: {count}, in the baseline {was}, at most {limit}"));
        }
        for gone in reference.keys().filter(|what| !counts.contains_key(*what)) {
            lines.push(format!("FAIL {gone}: in the baseline, but not counted"));
            good = false;
        }
        Ok((lines, good))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
    }

    fn baseline() -> Baseline {
        let mut baseline = Baseline::default();
        baseline.put("1.90.0 x86_64".into(), counts(&[("read", 500)]));
        baseline.put("1.95.0 x86_64".into(), counts(&[("read", 1000)]));
        baseline.put("1.96.0 aarch64".into(), counts(&[("read", 1)]));
        baseline
    }

    fn good(compiler: &str, read: u64) -> bool {
        baseline().compare(compiler, &counts(&[("read", read)])).unwrap().1
    }

    #[test]
    fn a_hundredth_more_of_the_same_compiler_is_too_much() {
        assert!(good("1.95.0 x86_64", 1010) && good("1.95.0 x86_64", 1));
        assert!(!good("1.95.0 x86_64", 1011));
        assert!(good("1.90.0 x86_64", 505) && !good("1.90.0 x86_64", 506));
        assert_eq!(limit(100, true), 103, "a few instructions");
    }

    #[test]
    fn another_compiler_is_held_against_the_last_one_with_a_tenth() {
        assert!(good("1.97.0 x86_64", 1100) && !good("1.97.0 x86_64", 1101));
        let (lines, _) = baseline().compare("1.97.0 x86_64", &counts(&[("read", 1)])).unwrap();
        assert_eq!(lines[0], "compared with rustc 1.95.0 x86_64; 10 % more is allowed");
        let error = baseline().compare("1.97.0 riscv64", &counts(&[("read", 1)])).unwrap_err();
        assert!(error.contains("1.97.0 riscv64") && error.contains("1.95.0 x86_64"), "{error}");
    }

    #[test]
    fn what_is_counted_and_what_is_in_the_baseline_must_be_the_same() {
        for other in [counts(&[("write", 1), ("read", 1)]), counts(&[])] {
            let (lines, good) = baseline().compare("1.95.0 x86_64", &other).unwrap();
            assert!(!good && lines.iter().any(|line| line.starts_with("FAIL")), "{lines:?}");
        }
    }
}
