//! EAL options that can't be carried out, alone or together.
//!
//! EAL answers each of these with a page of usage text, SPDK with a line without remedy, and `--proc-type=secondary` hangs.
//! Here each gets one sentence.

use super::table::{Given, Release, long_options, number};
use crate::launch_error::LaunchError;

/// The latest DPDK release whose options [`long_options`] lists completely.
const LAST_KNOWN_RELEASE: Release = (24, 11);

/// Options about the use of hugepages. SPDK or EAL refuses them without hugepages.
const ABOUT_HUGEPAGES: [&str; 4] = ["in-memory", "single-file-segments", "socket-mem", "huge-worker-stack"];

/// Two options, each with the value that matters, and why they can't be had together.
type Pair = ((&'static str, Option<&'static str>), (&'static str, Option<&'static str>), &'static str);

const EXCLUSIVE: [Pair; 6] = [
    (("m", None), ("socket-mem", None), "both say how much memory to reserve"),
    (
        ("allow", None),
        ("block", None),
        "the first names the only devices to take, the second the only ones to leave",
    ),
    (
        ("legacy-mem", None),
        ("in-memory", None),
        "the first keeps files in a hugetlbfs, the second makes none",
    ),
    (("in-memory", None), ("huge-unlink", Some("never")), "the first makes no file that could be kept"),
    (
        ("single-file-segments", None),
        ("huge-unlink", Some("always")),
        "EAL can't unlink a file that it is still to enlarge",
    ),
    (
        ("no-huge", None),
        ("iova-mode", Some("pa")),
        "memory outside of hugepages has no physical address that stays the same",
    ),
];

/// Checks the values of single options, then combinations.
///
/// # Errors
/// A usage error that names the options and what is allowed.
pub(super) fn check(given: &[Given]) -> Result<(), LaunchError> {
    for option in given {
        check_value(option)?;
    }
    let find = |name: &str| given.iter().rev().find(|option| option.name == name);
    if let Some(about) = find("no-huge").and_then(|_| ABOUT_HUGEPAGES.into_iter().find_map(find)) {
        return Err(LaunchError::usage(format!(
            "EAL option {about} is about hugepages, and --no-huge does without them: leave out one of the two"
        )));
    }
    for (first, second, why) in EXCLUSIVE {
        // --in-memory makes no files, so options that conflict about a file are allowed together.
        if first.0 == "single-file-segments" && find("in-memory").is_some() {
            continue;
        }
        let find = |(name, value): (&str, Option<&str>)| {
            find(name).filter(|option| value.is_none_or(|value| option.value.as_deref() == Some(value)))
        };
        if let Some((first, second)) = find(first).zip(find(second)) {
            return Err(LaunchError::usage(format!(
                "EAL options {first} and {second} exclude each other: {why}; leave out one of the two"
            )));
        }
    }
    if find("no-huge").is_some() && find("m").is_none() {
        return Err(LaunchError::usage(
            "EAL option --no-huge needs -m, the memory to take in place of hugepages, in MiB: for example -m 1024",
        ));
    }
    Ok(())
}

fn check_value(option: &Given) -> Result<(), LaunchError> {
    let Some(value) = option.value.as_deref() else { return Ok(()) };
    let allowed = match option.name {
        "iova-mode" if !["pa", "va"].contains(&value) => "pa or va",
        "huge-unlink" if !["existing", "always", "never"].contains(&value) => "existing, always or never",
        "proc-type" if !["primary", "auto"].contains(&value) => {
            "primary or auto: the program shares its memory with no other process"
        }
        "vfio-intr" if !["legacy", "msi", "msix"].contains(&value) => "legacy, msi or msix",
        "file-prefix" if value.contains('%') => "a name without '%'",
        "base-virtaddr" if !is_address(value) => "an address other than 0, such as 0x200000000000",
        "force-max-simd-bitwidth" if !is_simd_bitwidth(value) => {
            "0 for no limit, or a power of two from 64 to 32768"
        }
        "n" => return number("-n", value, 1, i32::MAX.unsigned_abs()).map(drop),
        "r" => return number("-r", value, 1, 16).map(drop),
        _ => return Ok(()),
    };
    Err(LaunchError::usage(format!("EAL option --{} has '{value}': it takes {allowed}", option.name)))
}

/// As strtoull(3) with base 16 reads it for EAL; 0 is EAL's word for "anywhere".
fn is_address(text: &str) -> bool {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16).is_ok_and(|address| address > 0)
}

fn is_simd_bitwidth(text: &str) -> bool {
    text.parse::<u32>()
        .is_ok_and(|bits| bits == 0 || (bits.is_power_of_two() && (64..=32768).contains(&bits)))
}

/// Refuses an unlisted long option if the lists are those of the running DPDK.
///
/// # Errors
/// A usage error that names it.
pub(super) fn check_unknown(name: &str, dpdk: Release) -> Result<(), LaunchError> {
    if dpdk > LAST_KNOWN_RELEASE {
        return Ok(());
    }
    Err(LaunchError::usage(format!(
        "'--{name}' is no EAL option of DPDK {}.{:02}: it has --{}",
        dpdk.0,
        dpdk.1,
        long_options(dpdk).map(|(name, _)| name).collect::<Vec<_>>().join(", --")
    )))
}
