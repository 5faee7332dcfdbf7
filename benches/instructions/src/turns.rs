//! An lcore's whole turn, from the rx burst to the tx burst: counted in `turns`, by whose code it is.

use std::path::Path;

use crate::callgrind::{self, Function, Profile};

/// Bursts of each kind.
const COUNT: u64 = 20;

/// The loads, bdev and kind with the requests of a burst, in the order in which `turns` goes through them.
pub(crate) const LOADS: [(&str, &str, u64); 6] = [
    ("null", "read-4k", 8),
    ("null", "write-4k", 8),
    ("null", "read-512", 32),
    ("malloc", "read-4k", 8),
    ("malloc", "write-4k", 8),
    ("malloc", "read-512", 32),
];

/// Instructions per request, by whose they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Rust code of this project, with what is inlined into it.
    pub(crate) ours: u64,
    /// DPDK, in C.
    pub(crate) dpdk: u64,
    /// SPDK, in C.
    pub(crate) spdk: u64,
    /// The C library: copying of data.
    pub(crate) libc: u64,
}

impl Shares {
    pub(crate) fn total(self) -> u64 {
        self.ours + self.dpdk + self.spdk + self.libc
    }
}

/// Counts the turns of every load. `directory` is for callgrind's files.
pub(crate) fn count(program: &Path, directory: &Path) -> Result<Vec<Shares>, String> {
    let out = directory.join("turns");
    let file = format!("--callgrind-out-file={}", out.display());
    let options = [
        "--compress-strings=no",
        "--compress-pos=no",
        "--toggle-collect=*measured_turn*",
        "--dump-before=*end_of_part*",
        &file,
    ];
    callgrind::run(&options, program, &[&COUNT.to_string()])?;
    // Parts count from 1; the even ones are what is counted, those before them what leads up to it.
    (1..)
        .zip(LOADS)
        .map(|(load, (.., burst))| part(&out.with_extension((2 * load).to_string()), burst))
        .collect()
}

fn part(path: &Path, burst: u64) -> Result<Shares, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let shares = shares(&callgrind::read(&text)?, COUNT * burst);
    if shares.ours == 0 || shares.spdk == 0 {
        return Err(format!("{}: no turn was counted: {shares:?}", path.display()));
    }
    Ok(shares)
}

fn shares(profile: &Profile, requests: u64) -> Shares {
    let mut sums = Shares::default();
    for (function, cost) in profile {
        *owner(function, &mut sums) += cost;
    }
    let each = |sum: u64| (sum + requests / 2) / requests;
    Shares { ours: each(sums.ours), dpdk: each(sums.dpdk), spdk: each(sums.spdk), libc: each(sums.libc) }
}

/// The program holds our code, whose names are paths, and SPDK's; DPDK is in libraries, and in shims of ours that have
/// nothing in them but its inline functions.
fn owner<'a>(function: &Function, shares: &'a mut Shares) -> &'a mut u64 {
    let object = function.object.rsplit('/').next().unwrap_or_default();
    if object.starts_with("librte_") || function.name.starts_with("dpdk_shim_") {
        &mut shares.dpdk
    } else if object.starts_with("lib") || object.starts_with("ld-") {
        &mut shares.libc
    } else if function.name.contains("::") {
        &mut shares.ours
    } else {
        &mut shares.spdk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_an_owner() {
        let cost =
            |object: &str, name: &str, cost| (Function { object: object.into(), name: name.into() }, cost);
        let profile = Profile::from([
            cost("/t/turns", "datapath::lcore::Lcore::turn", 320),
            cost("/t/turns", "<spdk::channel::IoChannel>::submit", 32),
            cost("/t/turns", "spdk_bdev_readv_blocks", 64),
            cost("/t/turns", "dpdk_shim_rx_burst", 16),
            cost("/usr/lib/librte_net_ring.so.23.0", "0x3960", 17),
            cost("/usr/lib/libc.so.6", "__memcpy_avx_unaligned_erms", 128),
        ]);
        let shares = shares(&profile, 32);
        assert_eq!(shares, Shares { ours: 11, dpdk: 1, spdk: 2, libc: 4 });
        assert_eq!(shares.total(), 18);
    }
}
