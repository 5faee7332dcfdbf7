//! Tests that need root are skipped, by name and count, when another user runs them.
//!
//! Rust's test harness knows no skipped test and hides the output of those that pass, so each skip is written to standard
//! error. Root skips nothing; a suite in which every test was skipped has still shown so, line by line.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Skips the test that names it, unless root runs it. The first line of each test that needs root.
#[macro_export]
macro_rules! needs_root {
    () => {{
        const fn here() {}
        if $crate::is_skipped($crate::test_name(&here)) {
            return;
        }
    }};
}

/// The path of the test in which `here` is defined.
pub fn test_name<T>(_here: &T) -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.strip_suffix("::here").unwrap_or(name);
    // Without the name of the crate, as the harness shows it.
    name.split_once("::").map_or(name, |(_, path)| path)
}

/// Whether a test that needs root is skipped. If so, its name and the number of skipped tests are printed.
pub fn is_skipped(test: &str) -> bool {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Not eprintln!, which the harness captures. A closed standard error leaves no way to report.
    writeln!(std::io::stderr(), "skipped: {test}: needs root\n{count} skipped in this suite so far")
        .unwrap_or_default();
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_knows_its_name() {
        const fn here() {}
        assert_eq!(super::test_name(&here), "skip::tests::a_test_knows_its_name");
    }

    #[test]
    fn only_root_skips_nothing() {
        let skipped = || {
            crate::needs_root!();
            unreachable!("root runs it");
        };
        if nix::unistd::geteuid().is_root() {
            assert!(!super::is_skipped("one"));
        } else {
            skipped();
            assert!(super::is_skipped("one"));
        }
    }
}
