//! Reserves the missing hugepages of 2 MiB before EAL starts, for `--hugepages`.
//!
//! `nr_hugepages` is raised by the number of missing pages and never set below its former value: other programs have pages
//! too. All our programs and scripts that change it hold one lock meanwhile.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{host::Host, hugepages};
use crate::command_line::CommandLine;
use crate::hugepages::{Hugepages, PAGE};
use crate::launch_config::LaunchConfig;
use crate::launch_error::LaunchError;

/// The kernel's figures of the pages of 2 MiB.
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const MIB: u64 = 1 << 20;

/// Held by whoever changes the number of hugepages; `scripts/quickstart` and the tests do, too.
const LOCK: &str = "/run/lock/kvblade-dpdk-hugepages";

/// Timeout for the lock: a change takes the kernel some seconds at most.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Hugepage memory of an idle target with one lcore, without mbufs and the exports' memory: SPDK's pools, EAL, DMA buffers.
/// The move to SPDK 26.01 measured 120 MB; the rest is a reserve for NVMe queues and rpc.py's bdevs.
const PROGRAM: u64 = 160 * MIB;

/// Further memory of SPDK's pools for each further lcore. By the sizes in `launch_config/spdk_options.rs`: 256 small bounce
/// buffers of 12 KiB (3 MiB), 32 large ones of 132 KiB (4.1 MiB), 2048 I/O requests of some 1.3 KiB (2.6 MiB); rounded up,
/// since each pool ends in a page of 2 MiB that it does not fill.
const FURTHER_LCORE: u64 = 16 * MIB;

/// Memory of an mbuf beside its data room, with data at multiples of 4096. By the layout in `dpdk` `layout.rs`, headers,
/// private area and head room take about 620 bytes, and the stride is rounded up to an odd multiple of 4096: a data room of
/// 9216 bytes takes 12288, so 3072 more. This is 1.5 times that, for rooms that fit a stride less well.
const MBUF_OVERHEAD: u64 = 4608;

/// A frame of a port whose frames are not known before EAL starts: one of 9000 bytes.
const UNKNOWN_FRAME: u64 = 9216;

/// Bytes of hugepages that this configuration takes, roughly: `frames` are those of the ports for interfaces.
pub(crate) fn needed(command: &CommandLine, launch: &LaunchConfig, frames: &[u32]) -> u64 {
    let eal = &command.eal;
    let of_vdev = |vdev: &str| match vdev.split(',').find_map(|word| word.strip_prefix("framesz=")) {
        Some(frame) => frame.parse().unwrap_or(UNKNOWN_FRAME),
        None => UNKNOWN_FRAME,
    };
    // Those for interfaces are among the options once EAL is to make them.
    let vdevs = eal
        .vdevs()
        .filter(|vdev| vdev.starts_with("net_") && !is_for(vdev, &command.interfaces))
        .map(of_vdev);
    let is_drive = |device: &&str| launch.nvme.iter().any(|drive| drive.to_string().ends_with(device));
    let nics = eal.allowed().filter(|device| !is_drive(device)).map(|_| UNKNOWN_FRAME);
    let frames = frames.iter().map(|frame| u64::from(*frame)).chain(vdevs).chain(nics);
    let lcores = u64::try_from(eal.lcores.len().max(1)).unwrap_or(1);
    let mbufs: u64 = frames.map(|frame| (frame + MBUF_OVERHEAD) * u64::from(command.mbufs) * lcores).sum();
    let asked = eal.mem_mb.map_or(0, |mb| u64::from(mb) * MIB);
    (PROGRAM + FURTHER_LCORE * (lcores - 1) + mbufs).saturating_add(launch.malloc_bytes).max(asked)
}

fn is_for(vdev: &str, interfaces: &[String]) -> bool {
    let interface = vdev.split(',').find_map(|word| word.strip_prefix("iface="));
    interface.is_some_and(|interface| interfaces.iter().any(|name| name == interface))
}

/// Carries out `--hugepages` for a configuration that takes `needed` bytes.
///
/// # Errors
/// One sentence with the figures, if the kernel does not give the pages.
pub(crate) fn see_to(command: &CommandLine, needed: u64, host: &Host) -> Result<(), LaunchError> {
    let wanted = match command.hugepages {
        _ if command.eal.no_huge => return Ok(()),
        Hugepages::None => return Ok(()),
        Hugepages::Auto => needed,
        Hugepages::Size(bytes) => bytes,
    };
    let other_sizes = hugepages::usable(command, host).saturating_sub(hugepages::free_of(host, PAGE));
    reserve(host, wanted.saturating_sub(other_sizes), |path, pages| fs::write(path, pages.to_string()))
}

/// The free bytes, if hugepages are used and fewer than `needed` bytes are free.
pub(crate) fn shortage(command: &CommandLine, needed: u64, host: &Host) -> Option<u64> {
    let free = hugepages::usable(command, host);
    (!command.eal.no_huge && free < needed).then_some(free)
}

/// Raises `nr_hugepages` until `wanted` bytes are free. `write` writes the number.
fn reserve(
    host: &Host,
    wanted: u64,
    write: impl Fn(&Path, u64) -> std::io::Result<()>,
) -> Result<(), LaunchError> {
    let wanted = wanted.div_ceil(PAGE);
    let _lock = lock(host)?;
    let (before, free) = (figure(host, "nr_hugepages")?, free(host)?);
    let Some(missing) = wanted.checked_sub(free).filter(|missing| *missing > 0) else { return Ok(()) };
    let pool = host.at(&format!("{POOL}/nr_hugepages"));
    let failed = |error: &dyn std::fmt::Display| {
        LaunchError::environment(format!(
            "--hugepages: {missing} hugepages of 2 MiB can't be reserved: {error}"
        ))
    };
    let goal = before + missing;
    let refused = |given: &str| {
        LaunchError::environment(format!(
            "--hugepages: {} MiB are to be free in hugepages of 2 MiB, {} MiB are, and of {missing} more the kernel can give \
             {given}, with {} MiB of memory available: free memory, ask for less, or reserve them at boot with \
             hugepages={goal} on the kernel's command line",
            wanted * 2,
            free * 2,
            available_mib(host).map_or("an unknown number of".into(), |mib| mib.to_string()),
        ))
    };
    // An attempt would reclaim all memory from other programs for a while.
    if available_mib(host).is_some_and(|available| missing > available / 2) {
        return Err(refused("none of them"));
    }
    write(&pool, goal).map_err(|error| failed(&format_args!("{}: {error}", pool.display())))?;
    if figure(host, "nr_hugepages")? < goal {
        // Free memory may be fragmented: the kernel can compact it.
        if let Err(error) = fs::write(host.at("/proc/sys/vm/compact_memory"), "1") {
            tracing::debug!(%error, "memory can't be compacted");
        }
        write(&pool, goal).map_err(|error| failed(&format_args!("{}: {error}", pool.display())))?;
    }
    let given = figure(host, "nr_hugepages")?.saturating_sub(before);
    if given < missing {
        write(&pool, before).map_err(|error| failed(&format_args!("{}: {error}", pool.display())))?;
        return Err(refused(&given.to_string()));
    }
    tracing::info!(pages = missing, mib = missing * 2, nr_hugepages = goal, "hugepages reserved");
    Ok(())
}

/// Takes the lock, which ends with its file.
fn lock(host: &Host) -> Result<Flock<File>, LaunchError> {
    let path = host.at(LOCK);
    let failed = |what: String| LaunchError::environment(format!("--hugepages: {}: {what}", path.display()));
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed(format!("{error}; its directory must be there and writable")))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(failed(format!(
                    "another program has changed the number of hugepages for {} s: 'fuser' shows which",
                    LOCK_PATIENCE.as_secs()
                )));
            }
            Err((_, error)) => return Err(failed(error.to_string())),
        };
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One of the kernel's figures of pages of 2 MiB.
fn figure(host: &Host, name: &str) -> Result<u64, LaunchError> {
    let path = format!("{POOL}/{name}");
    host.read(&path).and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
        LaunchError::environment(format!(
            "--hugepages: {path} can't be read: this needs a kernel with hugepages of 2 MiB, and /sys"
        ))
    })
}

/// Pages that are neither in use nor promised.
fn free(host: &Host) -> Result<u64, LaunchError> {
    let promised = host.read(&format!("{POOL}/resv_hugepages")).and_then(|text| text.trim().parse().ok());
    Ok(figure(host, "free_hugepages")?.saturating_sub(promised.unwrap_or(0)))
}

/// Memory that the kernel could give, in MiB.
fn available_mib(host: &Host) -> Option<u64> {
    let info = host.read("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests;
