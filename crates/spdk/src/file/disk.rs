//! A file behind a bdev: what all lcores share of it.

use std::{
    fs::File,
    sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::{
    error::FileError,
    group_commit::Syncs,
    opened::{Opened, known_size, size},
    options::{FileBdevOptions, SyncMode},
    request::Operation,
};

/// A file or block device behind a bdev.
#[derive(Debug)]
pub(super) struct Disk {
    /// As asked for; its path from the root.
    options: FileBdevOptions,
    sync: SyncMode,
    opened: Opened,
    syncs: Syncs,
    /// Bytes that the file had when it was looked at last.
    end: AtomicU64,
    counts: Counts,
}

/// Counts of all lcores. None changes with each request.
#[derive(Debug, Default)]
struct Counts {
    fdatasyncs: AtomicU64,
    /// Writes and FLUSHes that fdatasyncs answered.
    answered: AtomicU64,
    /// The most that were answered at once, on one lcore.
    largest_group: AtomicU32,
    /// Requests that failed.
    failures: AtomicU64,
    /// The last failure, packed as [`Failure::packed`] says, and not logged yet; 0 for none.
    unlogged: AtomicI32,
}

/// A failure of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) operation: Operation,
    /// `None` for a transfer that ended early.
    pub(super) errno: Option<i32>,
}

impl Failure {
    const OPERATIONS: [Operation; 5] =
        [Operation::Read, Operation::Write, Operation::Flush, Operation::Unmap, Operation::WriteZeroes];

    /// Linux' errnos are below 4096.
    fn packed(self) -> i32 {
        let operation = Self::OPERATIONS.iter().position(|one| *one == self.operation).unwrap_or(0);
        let operation = i32::try_from(operation).unwrap_or(0);
        (operation + 1) << 12 | self.errno.unwrap_or(0) & 0xfff
    }

    fn unpacked(packed: i32) -> Option<Self> {
        let operation = usize::try_from((packed >> 12) - 1).ok()?;
        let errno = packed & 0xfff;
        Some(Self { operation: *Self::OPERATIONS.get(operation)?, errno: (errno != 0).then_some(errno) })
    }
}

impl Disk {
    pub(super) fn open(options: &FileBdevOptions) -> Result<Self, FileError> {
        let opened = Opened::open(options)?;
        let mut options = options.clone();
        options.filename = opened.path.display().to_string();
        let sync = options.sync.unwrap_or_default();
        let end = AtomicU64::new(opened.bytes);
        Ok(Self { options, sync, opened, syncs: Syncs::new(), end, counts: Counts::default() })
    }

    pub(super) fn options(&self) -> &FileBdevOptions {
        &self.options
    }

    pub(super) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(super) fn file(&self) -> &File {
        &self.opened.file
    }

    #[inline]
    pub(super) fn sync(&self) -> SyncMode {
        self.sync
    }

    #[inline]
    pub(super) fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    /// Its blocks, as far as Linux knows at the moment; waits for nothing.
    pub(super) fn known_blocks(&self) -> std::io::Result<u64> {
        known_size(&self.opened).map(|bytes| self.blocks_of(bytes))
    }

    /// Its blocks now.
    pub(super) fn blocks_now(&self) -> std::io::Result<u64> {
        size(&self.opened.file).map(|bytes| self.blocks_of(bytes))
    }

    /// The blocks of a size that was found.
    fn blocks_of(&self, bytes: u64) -> u64 {
        self.end.store(bytes, Ordering::Relaxed);
        self.opened.blocks(bytes)
    }

    /// Whether the file ended before this byte when it was looked at last. Linux would make it longer by a write there, with zeroes
    /// in place of what was cut off.
    #[inline]
    pub(super) fn ends_before(&self, byte: u64) -> bool {
        byte > self.end.load(Ordering::Relaxed)
    }

    /// Whether writes fail, since completed ones may be lost and no later fdatasync would say so. Of a bdev without sync, only
    /// FLUSHes do.
    #[inline]
    pub(super) fn refuses_writes(&self) -> bool {
        self.sync != SyncMode::None && self.syncs.failure().is_some()
    }

    /// The failure of an fdatasync, in words, for which FLUSHes fail, and writes unless [`SyncMode::None`].
    pub(super) fn failure(&self) -> Option<String> {
        let error = std::io::Error::from_raw_os_error(self.syncs.failure()?);
        Some(format!("fdatasync: {error}"))
    }

    /// Counts an fdatasync that has ended. `Err` is an errno.
    pub(super) fn note_sync(&self, result: Result<(), i32>) {
        self.counts.fdatasyncs.fetch_add(1, Ordering::Relaxed);
        if let Err(errno) = result {
            self.note_failure(Operation::Flush, Some(errno));
        }
    }

    /// Counts the writes and FLUSHes that fdatasyncs answered on one lcore at once.
    pub(super) fn count_answered(&self, group: u32) {
        self.counts.answered.fetch_add(u64::from(group), Ordering::Relaxed);
        self.counts.largest_group.fetch_max(group, Ordering::Relaxed);
    }

    /// Notes that a request failed: with an errno, or since it ended early. Logged later, since lcores log nothing.
    #[cold]
    pub(super) fn note_failure(&self, operation: Operation, errno: Option<i32>) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.counts.unlogged.store(Failure { operation, errno }.packed(), Ordering::Relaxed);
    }

    /// The last failure, if there was one since the last call.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        if self.counts.unlogged.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Failure::unpacked(self.counts.unlogged.swap(0, Ordering::Relaxed))
    }

    /// The object `file` of bdev_get_bdevs.
    pub(super) fn description(&self) -> Value {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "filename": self.options.filename,
            "readonly": self.options.readonly,
            "buffered": !self.opened.is_direct,
            "sync": self.sync,
            "fdatasyncs": load(&self.counts.fdatasyncs),
            "synced": load(&self.counts.answered),
            "largest_group": self.counts.largest_group.load(Ordering::Relaxed),
            "failures": load(&self.counts.failures),
            "failed": self.failure(),
        })
    }

    /// The parameters that make the bdev anew, with this UUID.
    pub(super) fn params(&self, uuid: &str) -> Value {
        let all = FileBdevOptions {
            block_size: Some(self.opened.block_size),
            uuid: Some(uuid.to_owned()),
            ..self.options.clone()
        };
        serde_json::to_value(all).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_kept_for_the_log_once() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(8192).expect("room for it");
        let disk = Disk::open(&FileBdevOptions::new("f", file.path().to_string_lossy())).expect("a file");
        assert_eq!(disk.take_failure(), None);
        for operation in Failure::OPERATIONS {
            for errno in [None, Some(5), Some(28), Some(4095)] {
                disk.note_failure(operation, errno);
                assert_eq!(disk.take_failure(), Some(Failure { operation, errno }));
                assert_eq!(disk.take_failure(), None);
            }
        }
        assert_eq!(disk.description()["failures"], 20);
    }
}
