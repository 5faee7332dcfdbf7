//! A file that FLUSH brings to stable media, and what all of the process knows about its fdatasyncs.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

/// A file or block device at the bottom of bdevs. All bdevs that stand on it share one, whatever their paths to it are, so
/// that one fdatasync serves all of them and its failure reaches all of them.
#[derive(Debug)]
pub(crate) struct SyncedFile {
    file: File,
    /// An lcore has an fdatasync of it in flight.
    in_flight: AtomicBool,
    /// Another lcore was refused meanwhile.
    contended: AtomicBool,
    /// The errno of the first fdatasync that failed, or 0. Stays: see [`SyncedFile::end`].
    failure: AtomicI32,
}

/// The identity of a file: that of a block device is its number, wherever its node lies.
type Identity = (bool, u64, u64);

/// The open ones. Looked up when a bdev is opened, by the control plane.
static OPEN: Mutex<BTreeMap<Identity, Weak<SyncedFile>>> = Mutex::new(BTreeMap::new());

/// Whether an fdatasync of any has failed since the start.
static ANY_FAILED: AtomicBool = AtomicBool::new(false);

/// Whether an fdatasync that a FLUSH or a durable write waited for has failed since the start of the program, of whatever bdev.
/// Without one, no [`crate::Bdev`] has to be asked.
#[must_use]
pub fn any_file_sync_failed() -> bool {
    ANY_FAILED.load(Ordering::Relaxed)
}

impl SyncedFile {
    /// Opens the file to sync it. Returns the one that is open already, if it is the same file.
    ///
    /// # Errors
    /// open(2)'s and fstat(2)'s.
    pub(crate) fn open(path: &str) -> io::Result<Arc<Self>> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        let is_device = found.file_type().is_block_device();
        let identity = if is_device { (true, 0, found.rdev()) } else { (false, found.dev(), found.ino()) };
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = open.get(&identity).and_then(Weak::upgrade) {
            return Ok(same);
        }
        open.retain(|_, file| file.strong_count() > 0);
        let this = Arc::new(Self {
            file,
            in_flight: AtomicBool::new(false),
            contended: AtomicBool::new(false),
            failure: AtomicI32::new(0),
        });
        open.insert(identity, Arc::downgrade(&this));
        Ok(this)
    }

    /// The descriptor. Open as long as this is.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether the caller may submit an fdatasync. Then [`SyncedFile::end`] must follow.
    pub(crate) fn begin(&self) -> bool {
        // Acquire: whoever may begin sees what the last one to end has seen.
        let may = self.in_flight.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !may {
            self.contended.store(true, Ordering::Relaxed);
        }
        may
    }

    /// The fdatasync that the caller began has ended; `Err` is an errno. A failure stays: the kernel reports a failed write-back
    /// to one fdatasync and drops the data (fsync(2)), so the next one would succeed without them. Returns whether another lcore
    /// was refused meanwhile, to which the caller leaves the next turn.
    pub(crate) fn end(&self, result: Result<(), i32>) -> bool {
        if let Err(errno) = result
            && !self.has_failed()
        {
            self.failure.store(errno, Ordering::Relaxed);
            ANY_FAILED.store(true, Ordering::Relaxed);
        }
        let contended = self.contended.swap(false, Ordering::Relaxed);
        self.in_flight.store(false, Ordering::Release);
        contended
    }

    /// Whether an fdatasync has failed since the file was opened. Certain between [`SyncedFile::begin`] and
    /// [`SyncedFile::end`].
    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// The errno of the first fdatasync that failed.
    pub(crate) fn failure(&self) -> Option<i32> {
        Some(self.failure.load(Ordering::Relaxed)).filter(|errno| *errno != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_by_whatever_path_and_another_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for name in ["disk", "other"] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::hard_link(path("disk"), path("link")).unwrap();
        let open = |name| SyncedFile::open(&path(name)).unwrap();
        let (disk, link, other) = (open("disk"), open("link"), open("other"));
        assert!(Arc::ptr_eq(&disk, &link) && !Arc::ptr_eq(&disk, &other));
        drop((disk, link));
        assert!(!open("link").has_failed());
        assert_eq!(SyncedFile::open(&path("no such")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_fdatasync_is_in_flight_and_its_failure_stays_until_the_file_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let [one, other] = [SyncedFile::open(path).unwrap(), SyncedFile::open(path).unwrap()];
        assert!(one.begin() && !other.begin());
        assert!(one.end(Ok(())), "the other one was refused");
        assert!(other.begin() && !other.has_failed());
        assert!(!other.end(Err(5)), "nobody was");
        assert!(one.begin() && one.has_failed() && any_file_sync_failed());
        one.end(Ok(()));
        assert_eq!(other.failure(), Some(5), "a success after it changes nothing");
        drop((one, other));
        assert!(!SyncedFile::open(path).unwrap().has_failed());
    }
}
