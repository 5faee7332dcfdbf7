//! Logs the failures of files, from the app's thread: lcores log nothing.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    disk::{Disk, Failure},
    request::Operation,
    ring::take_failed_call,
    side,
};
use crate::{AppThread, Poller};

/// How often failures are looked for: at most one line for each bdev in this time.
const PERIOD: Duration = Duration::from_secs(1);

thread_local! {
    /// The disks, and the poller that looks at them while there are some.
    static WATCH: RefCell<(Vec<Weak<Disk>>, Option<Poller>)> = const { RefCell::new((Vec::new(), None)) };
}

/// Looks at this disk from now on.
pub(super) fn add(_: AppThread<'_>, disk: &Arc<Disk>) {
    WATCH.with_borrow_mut(|(disks, poller)| {
        disks.push(Arc::downgrade(disk));
        if poller.is_none() {
            // Without memory for a poller nothing is logged; the counters have it all the same.
            *poller = Poller::register(PERIOD, look).ok();
        }
    });
}

/// The names of the bdevs.
pub(super) fn names(_: AppThread<'_>) -> Vec<String> {
    let name = |disk: &Weak<Disk>| Some(disk.upgrade()?.options().name.clone());
    WATCH.with_borrow(|(disks, _)| disks.iter().filter_map(name).collect())
}

fn look() -> bool {
    let (lines, ended) = WATCH.with_borrow_mut(|(disks, poller)| {
        disks.retain(|disk| disk.strong_count() > 0);
        let disks: Vec<_> = disks.iter().filter_map(Weak::upgrade).collect();
        let lines: Vec<_> = disks.iter().filter_map(|disk| Some(line(disk, disk.take_failure()?))).collect();
        // The last one is dropped after this borrow: its function may be dropped with it.
        (lines, if disks.is_empty() { poller.take() } else { None })
    });
    lines.iter().for_each(|line| side::log(spdk_sys::SPDK_LOG_ERROR, line));
    if let Some(errno) = take_failed_call() {
        let error = std::io::Error::from_raw_os_error(errno);
        side::log(spdk_sys::SPDK_LOG_ERROR, &format!("io_uring_enter failed: {error}; it is tried again"));
    }
    drop(ended);
    !lines.is_empty()
}

fn line(disk: &Disk, failure: Failure) -> String {
    let (name, path) = (&disk.options().name, &disk.options().filename);
    let what = match failure.operation {
        Operation::Read => "a read",
        Operation::Write => "a write",
        Operation::Flush => "an fdatasync",
        Operation::Unmap => "an unmap",
        Operation::WriteZeroes => "zeroing",
    };
    let why = match failure.errno {
        Some(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
        None => "it ended early: the file is shorter than the bdev, or its file system is full".to_owned(),
    };
    let then = match failure.operation {
        Operation::Flush => {
            "; completed writes may be lost, so later ones fail until the bdev is made anew, or bdev_file_rescan with \
             clear_failure"
        }
        _ => "",
    };
    format!("bdev {name}: {what} of '{path}' failed: {why}{then}")
}
