//! The memory and CPU time of a process, from /proc.

use std::fs;
use std::os::fd::AsFd;
use std::sync::LazyLock;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Linux's unit of CPU times in /proc for every program, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Process {
    /// CPU time of all its threads, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Its start, in seconds since 1970.
    pub(crate) start_seconds: f64,
    /// Resident memory without hugepages, in bytes.
    pub(crate) resident_bytes: u64,
    /// Memory in hugepages, in bytes.
    pub(crate) hugepage_bytes: u64,
    /// Its threads.
    pub(crate) threads: u64,
}

impl Process {
    /// The process at the other end of a Unix socket; `None` if it is out of sight, in another PID namespace or hidden.
    pub(crate) fn at(socket: &impl AsFd) -> Option<Self> {
        let pid = getsockopt(socket, PeerCredentials).ok()?.pid();
        if pid > 0 { Self::read(&pid.to_string()) } else { None }
    }

    /// This process.
    pub(crate) fn this() -> Option<Self> {
        Self::read("self")
    }

    fn read(pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status, *BOOT_SECONDS)
    }

    /// From `/proc/PID/stat` and `/proc/PID/status`.
    #[expect(clippy::cast_precision_loss, reason = "ticks of years fit in 52 bits")]
    fn parse(stat: &str, status: &str, boot_seconds: u64) -> Option<Self> {
        // The name may have spaces and brackets; the fields after it are the third and following ones.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            cpu_seconds: seconds(number(14)? + number(15)?),
            start_seconds: boot_seconds as f64 + seconds(number(22)?),
            resident_bytes: kib("VmRSS")? << 10,
            hugepage_bytes: kib("HugetlbPages").unwrap_or_default() << 10,
            threads: number(20)?,
        })
    }
}

/// Open file descriptors of this process.
pub(crate) fn open_files() -> Option<usize> {
    // Without the one by which the directory is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// The machine's start, in seconds since 1970.
static BOOT_SECONDS: LazyLock<u64> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 1000 12345 678 0";
        let status = "Name:\ta) b\nVmRSS:\t    2048 kB\nHugetlbPages:\t  4096 kB\n";
        let process = Process::parse(stat, status, 1_000_000).unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            start_seconds: 1_000_010.0,
            resident_bytes: 2 << 20,
            hugepage_bytes: 4 << 20,
            threads: 7,
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("42 (short) S 1", status, 0), None);
    }

    #[test]
    fn this_process_and_the_peer_of_a_socket_are_found() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let (own, peer) = (Process::this().unwrap(), Process::at(&near).unwrap());
        assert!(own.resident_bytes > 0 && own.threads > 0);
        assert!((own.start_seconds - peer.start_seconds).abs() < f64::EPSILON, "{own:?} {peer:?}");
        assert!(open_files().unwrap() >= 2);
    }
}
