//! EAL's options by name, and whether a value follows.

use std::fmt;

use crate::launch_error::LaunchError;

/// A DPDK release, as year and month.
pub(super) type Release = (u32, u32);

/// EAL's long options and whether a value follows; `Optional` values come only after `=`
/// (`lib/eal/common/eal_common_options.c`, DPDK 22.11 and 24.11). Options of later releases pass as unknown ones.
pub(super) const LONG_OPTIONS: &[(&str, Value)] = &[
    ("allow", Value::Required),
    ("base-virtaddr", Value::Required),
    ("block", Value::Required),
    ("create-uio-dev", Value::None),
    ("file-prefix", Value::Required),
    ("force-max-simd-bitwidth", Value::Required),
    ("help", Value::None),
    ("huge-dir", Value::Required),
    ("huge-unlink", Value::Optional),
    ("huge-worker-stack", Value::Optional),
    ("in-memory", Value::None),
    ("iova-mode", Value::Required),
    ("lcores", Value::Required),
    ("legacy-mem", Value::None),
    ("log-level", Value::Required),
    ("main-lcore", Value::Required),
    ("match-allocations", Value::None),
    ("mbuf-pool-ops-name", Value::Required),
    ("no-hpet", Value::None),
    ("no-huge", Value::None),
    ("no-pci", Value::None),
    ("no-shconf", Value::None),
    ("no-telemetry", Value::None),
    ("proc-type", Value::Required),
    ("single-file-segments", Value::None),
    ("socket-limit", Value::Required),
    ("socket-mem", Value::Required),
    ("telemetry", Value::None),
    ("trace", Value::Required),
    ("trace-bufsz", Value::Required),
    ("trace-dir", Value::Required),
    ("trace-mode", Value::Required),
    ("vdev", Value::Required),
    ("vfio-intr", Value::Required),
    ("vfio-vf-token", Value::Required),
    ("vmware-tsc-map", Value::None),
];

/// Further options of releases before 24.11.
pub(super) const LONG_OPTIONS_BEFORE_24_11: &[(&str, Value)] = &[("syslog", Value::Required)];

/// Further options of releases from 24.11 on.
pub(super) const LONG_OPTIONS_SINCE_24_11: &[(&str, Value)] =
    &[("log-color", Value::Optional), ("log-timestamp", Value::Optional), ("syslog", Value::Optional)];

pub(super) fn long_options(dpdk: Release) -> impl Iterator<Item = (&'static str, Value)> {
    let besides = if dpdk < (24, 11) { LONG_OPTIONS_BEFORE_24_11 } else { LONG_OPTIONS_SINCE_24_11 };
    LONG_OPTIONS.iter().chain(besides).copied()
}

/// EAL's short options that take a value.
pub(super) const SHORT_WITH_VALUE: &str = "abcdlmnrsS";
/// EAL's short options that take none.
pub(super) const SHORT_WITHOUT_VALUE: &str = "hv";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Optional,
    Required,
}

/// One of EAL's options as it was given: its full long name, or its letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) name: &'static str,
    pub(super) value: Option<String>,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.len(), &self.value) {
            (1, _) => write!(f, "-{}", self.name),
            (_, Some(value)) => write!(f, "--{}={value}", self.name),
            (_, None) => write!(f, "--{}", self.name),
        }
    }
}

pub(super) fn number(option: &str, value: &str, min: u32, max: u32) -> Result<u32, LaunchError> {
    digits(value).filter(|number| (min..=max).contains(number)).ok_or_else(|| {
        LaunchError::usage(format!(
            "EAL option {option} has '{value}': it takes a number from {min} to {max}"
        ))
    })
}

pub(super) fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
