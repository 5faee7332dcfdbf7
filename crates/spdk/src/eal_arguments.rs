//! EAL's arguments, in the form in which SPDK can pass them on.
//!
//! SPDK puts arguments of its own on EAL's command line (`build_eal_cmdline` in lib/env_dpdk/init.c) and the
//! caller's after them, without comparing them. Of two equal arguments DPDK takes the last, but since 25.11 it refuses an
//! argument given twice (lib/eal/common/eal_option_list.h). So arguments for which SPDK has options go through these
//! options.

/// A release, as year and month.
pub(crate) type Release = (u32, u32);

/// The first SPDK that, without hugepages, gives `--legacy-mem` and `--iova-mode=va` as well.
const SPDK_GIVES_LEGACY_MEM: Release = (25, 1);
/// The first DPDK that refuses an argument given twice.
const DPDK_TAKES_ONE_OF_EACH: Release = (25, 11);

/// The caller's arguments, by their way to EAL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EalArguments {
    /// The arguments that SPDK appends unchanged, separated by blanks.
    pub(crate) rest: String,
    /// For `spdk_app_opts.no_huge`.
    pub(crate) no_huge: bool,
    /// For `spdk_app_opts.hugepage_single_segments`.
    pub(crate) single_file_segments: bool,
    /// For `spdk_app_opts.iova_mode`.
    pub(crate) iova_mode: Option<String>,
    /// For `spdk_app_opts.base_virtaddr`.
    pub(crate) base_virtaddr: Option<u64>,
    /// A sentence for each argument without effect.
    pub(crate) warnings: Vec<String>,
}

impl EalArguments {
    /// Sorts `arguments`, which are separated by blanks, for these releases.
    ///
    /// # Errors
    /// One sentence about an argument that can't be passed on, with the reason.
    pub(crate) fn sort(arguments: &str, spdk: Release, dpdk: Release) -> Result<Self, String> {
        let names = format!("SPDK {}.{:02} with DPDK {}.{:02}", spdk.0, spdk.1, dpdk.0, dpdk.1);
        let one_of_each = dpdk >= DPDK_TAKES_ONE_OF_EACH;
        let mut sorted = Self::default();
        let mut rest = Vec::new();
        let mut words = arguments.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let mut value = || {
                attached.or_else(|| words.next()).ok_or_else(|| format!("EAL option {name} lacks its value"))
            };
            match name {
                "--no-huge" => sorted.no_huge = true,
                "--single-file-segments" => sorted.single_file_segments = true,
                "--iova-mode" => sorted.iova_mode = Some(value()?.to_owned()),
                "--base-virtaddr" => {
                    let value = value()?;
                    let address = address(value).ok_or_else(|| {
                        format!("EAL option {name} is '{value}': give an address other than 0, such as 0x200000000000")
                    })?;
                    sorted.base_virtaddr = Some(address);
                }
                // SPDK gives these itself, the second where EAL can do it.
                "--no-shconf" | "--match-allocations" | "--no-telemetry" => {}
                "--in-memory" if one_of_each => {
                    // Without single file segments SPDK would ask EAL to unlink hugepage files, which do not exist.
                    sorted.single_file_segments = true;
                    rest.push(word);
                }
                "--file-prefix" if one_of_each => {
                    let value = value()?;
                    sorted.warnings.push(format!(
                        "{name}={value} has no effect: {names} calls its files spdk_pid and the process's number"
                    ));
                }
                "--huge-unlink" | "--proc-type" | "--telemetry" if one_of_each => {
                    return Err(format!(
                        "EAL option {word} can't be had from {names}, which decides that itself"
                    ));
                }
                _ => rest.push(word),
            }
        }
        if sorted.no_huge && spdk >= SPDK_GIVES_LEGACY_MEM {
            rest.retain(|word| *word != "--legacy-mem");
            sorted.iova_mode = sorted.iova_mode.filter(|mode| mode != "va");
        }
        sorted.rest = rest.join(" ");
        Ok(sorted)
    }
}

/// As strtoull(3) with base 16 reads it for EAL; 0 is SPDK's default and so no address.
fn address(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16).ok().filter(|address| *address > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPDK_22: Release = (22, 11);
    const DPDK_26: Release = (26, 3);

    #[test]
    fn spdk_gets_by_its_options_what_it_has_options_for() {
        let all = "--no-huge --legacy-mem --no-shconf -a 0000:01:00.0 --base-virtaddr 0x2000 --vdev=net_null0,copy=1";
        let sorted = EalArguments::sort(all, (26, 5), DPDK_26).expect("nothing in it is impossible");
        assert_eq!(
            sorted,
            EalArguments {
                rest: "-a 0000:01:00.0 --vdev=net_null0,copy=1".into(),
                no_huge: true,
                base_virtaddr: Some(0x2000),
                ..EalArguments::default()
            }
        );
        // Before 25.01, SPDK does not give --legacy-mem itself.
        let sorted = EalArguments::sort(all, (24, 5), (23, 11)).expect("nothing in it is impossible");
        assert_eq!(sorted.rest, "--legacy-mem -a 0000:01:00.0 --vdev=net_null0,copy=1");
        assert!(sorted.no_huge);
    }

    #[test]
    fn values_may_stand_apart() {
        let sorted = EalArguments::sort("--iova-mode pa --log-level pmd:8", (25, 5), DPDK_22).expect("known");
        assert_eq!(sorted.iova_mode.as_deref(), Some("pa"));
        assert_eq!(sorted.rest, "--log-level pmd:8");
        let missing = EalArguments::sort("--vdev=a --iova-mode", (25, 5), DPDK_22);
        assert_eq!(missing, Err("EAL option --iova-mode lacks its value".into()));
        let bad = EalArguments::sort("--base-virtaddr=zero", (25, 5), DPDK_22).expect_err("no number");
        assert!(bad.contains("'zero'"), "{bad}");
    }

    #[test]
    fn without_hugepages_the_iova_mode_is_given_once() {
        let sorted = EalArguments::sort("--no-huge --iova-mode=va", (26, 5), DPDK_26).expect("known");
        assert_eq!(sorted.iova_mode, None);
        let sorted = EalArguments::sort("--iova-mode=va", (26, 5), DPDK_26).expect("known");
        assert_eq!(sorted.iova_mode.as_deref(), Some("va"));
    }

    #[test]
    fn a_dpdk_that_takes_one_of_each_leaves_some_to_spdk() {
        let sorted =
            EalArguments::sort("--file-prefix=kv --in-memory", (26, 5), DPDK_26).expect("a warning only");
        assert_eq!(sorted.rest, "--in-memory");
        assert!(sorted.single_file_segments);
        assert_eq!(
            sorted.warnings,
            [
                "--file-prefix=kv has no effect: SPDK 26.05 with DPDK 26.03 calls its files spdk_pid and the process's \
              number"
            ]
        );
        let refused = EalArguments::sort("--huge-unlink=never", (26, 5), DPDK_26).expect_err("given twice");
        assert!(refused.contains("--huge-unlink=never") && refused.contains("SPDK 26.05"), "{refused}");
        // An older DPDK lets the caller's win.
        let all = "--file-prefix=kv --in-memory --huge-unlink=never --proc-type=primary";
        let sorted = EalArguments::sort(all, (26, 5), DPDK_22).expect("the last one wins");
        assert_eq!(sorted, EalArguments { rest: all.into(), ..EalArguments::default() });
    }
}
