//! Lines on standard error.

use std::io::Write as _;

/// Writes a line, after the program's name.
pub(crate) fn log(line: &str) {
    // Standard error is the last place where a failure could be reported.
    writeln!(std::io::stderr(), "kvblade-exporter: {line}").unwrap_or_default();
}
