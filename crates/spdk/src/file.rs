//! Bdevs on files and block devices of the kernel, by io_uring: the bdev module `file`.
//!
//! Each SPDK thread that uses such a bdev has one ring (`thread_ring`) for all of them; a bdev has a channel on each (`channel`),
//! with requests that wait for room in the ring, that the kernel has, and that wait for an fdatasync. What a write waits for is
//! the bdev's [`SyncMode`]; one fdatasync at a time covers the completed writes of all lcores (`group_commit`), and so does
//! that of a FLUSH, in every mode.
//!
//! No request blocks its lcore: what the kernel can't begin at once, io_uring gives to threads of the kernel.
//!
//! After an fdatasync that failed, completed writes may be lost, and Linux says so once: a later fdatasync would succeed. So
//! every write that it was to cover fails, and every later write and FLUSH, until the bdev is made anew or [`rescan`] is told
//! to go on.

mod atomic;
mod available;
mod channel;
mod defaults;
mod disk;
mod error;
mod group_commit;
mod listed;
mod opened;
mod options;
mod request;
mod ring;
pub(crate) mod rpc;
mod side;
#[cfg(feature = "simulate")]
mod simulated;
mod thread_ring;
mod watch;

#[cfg(feature = "simulate")]
pub use simulated::{CompletedWrite, FileSyncs};

use std::{
    ffi::{CString, c_int, c_void},
    ptr,
    sync::Arc,
};

use self::{disk::Disk, opened::Opened};
pub use self::{
    error::FileError,
    options::{FileBdevOptions, SyncMode},
};
use crate::{
    AppThread,
    error::{EEXIST, EINVAL, ENODEV},
};

/// Attaches the module to SPDK, before the app runs.
pub(crate) fn attach() {
    side::attach();
}

/// Whether this program may use io_uring.
///
/// # Errors
/// The reason, with what to do about it: the sysctl `kernel.io_uring_disabled`, a seccomp filter, an old kernel, a limit.
pub fn io_uring_available() -> Result<(), FileError> {
    available::check()
}

/// Makes a bdev on a file or block device. What the options leave open is chosen: a file that is only read is buffered; a write is
/// durable by itself where that is one operation of the disk, else by group. Opens it, which takes as long as its file system takes.
///
/// # Errors
/// `EEXIST` for a name that is taken, `EINVAL` for a value that is not allowed, and those of open(2): the sentence says which
/// value, and what helps. Those of [`io_uring_available`].
pub fn create(app: AppThread<'_>, options: &FileBdevOptions) -> Result<(), FileError> {
    let name = c_name(&options.name)?;
    if crate::Bdev::own_name(app, &options.name).is_some() {
        return Err(taken(&options.name));
    }
    io_uring_available().inspect_err(|error| {
        let name = &options.name;
        // Who asked for the bdev may have SPDK's own one made in its place, as kvadd does.
        side::log(
            spdk_sys::SPDK_LOG_WARN,
            &format!("bdev {name} is not made: {error}; SPDK's aio can serve its file"),
        );
    })?;
    let options = &defaults::complete(options);
    let uuid = options.uuid.as_deref().map(CString::new).transpose();
    let uuid = uuid.map_err(|_| bad_uuid(options))?;
    let disk = Disk::open(options)?;
    let opened = disk.opened();
    let params = spdk_sys::spdk_shim_file_params {
        name: name.as_ptr(),
        uuid: uuid.as_ref().map_or(ptr::null(), |uuid| uuid.as_ptr()),
        block_size: opened.block_size,
        blocks: opened.blocks(opened.bytes),
        alignment_log2: u8::try_from(opened.alignment.trailing_zeros()).unwrap_or(0),
        write_cache: side::has_cache(disk.sync()),
    };
    let notes = notes(options, opened);
    let disk = Arc::new(disk);
    watch::add(app, &disk);
    let raw = side::into_raw(disk);
    // SAFETY: the shim copies the parameters' strings, which are NUL-terminated, and takes the disk if it succeeds. This is the
    // app's thread.
    let code = unsafe { spdk_sys::spdk_shim_file_register(&raw const params, raw) };
    if code != 0 {
        // SAFETY: the shim did not take it.
        drop(unsafe { side::from_raw(raw) });
        return Err(match -code {
            EEXIST => taken(&options.name),
            EINVAL => bad_uuid(options),
            errno => FileError::new(errno, format!("bdev '{}' can't be made: {}", options.name, word(errno))),
        });
    }
    notes.iter().for_each(|note| side::log(spdk_sys::SPDK_LOG_WARN, note));
    Ok(())
}

/// What an operator should know about a bdev that was made.
fn notes(options: &FileBdevOptions, opened: &Opened) -> Vec<String> {
    let mut notes = Vec::new();
    let path = opened.path.display();
    let rest = opened.bytes % u64::from(opened.block_size);
    if rest > 0 {
        notes.push(format!(
            "bdev {}: the last {rest} bytes of '{path}' are no whole block of {} and are left out",
            options.name, opened.block_size
        ));
    }
    if !opened.is_direct && options.buffered.is_none() {
        notes.push(format!(
            "bdev {}: '{path}' is on a file system without direct I/O, so it is buffered by the page cache",
            options.name
        ));
    }
    notes
}

/// Removes a bdev of this module. `done` is called once, on the app's thread: when all that used the bdev have closed it, their
/// requests have ended and the file is closed; or with the error.
pub fn delete(_: AppThread<'_>, name: &str, done: impl FnOnce(Result<(), FileError>) + 'static) {
    type Done = Box<dyn FnOnce(c_int)>;

    extern "C" fn deleted(arg: *mut c_void, code: c_int) {
        // SAFETY: `delete` leaked the Box for this function, which SPDK calls once.
        let done = unsafe { Box::from_raw(arg.cast::<Done>()) };
        done(code);
    }

    let c_name = match c_name(name) {
        Ok(c_name) => c_name,
        Err(error) => return done(Err(error)),
    };
    let owned = name.to_owned();
    let done: Done = Box::new(move |code| {
        done(match -code {
            0 => Ok(()),
            ENODEV => Err(missing(&owned)),
            errno => Err(FileError::new(errno, format!("bdev '{owned}' can't be deleted: {}", word(errno)))),
        });
    });
    let leaked: *mut Done = Box::into_raw(Box::new(done));
    // SAFETY: spdk_bdev_unregister (spdk/bdev_module.h) is to be called on the app's thread, as this is. It calls back once.
    let code = unsafe { spdk_sys::spdk_shim_file_unregister(c_name.as_ptr(), Some(deleted), leaked.cast()) };
    if code != 0 {
        // SAFETY: on an error the shim does not call `deleted`, so this is the only owner of the Box.
        let done = unsafe { Box::from_raw(leaked) };
        done(code);
    }
}

/// What [`rescan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescanned {
    /// The bdev's blocks now.
    pub blocks: u64,
    /// Whether it had another number before.
    pub changed: bool,
}

/// The names of the bdevs of this module.
#[must_use]
pub fn list(app: AppThread<'_>) -> Vec<String> {
    watch::names(app)
}

/// The failure of a bdev's fdatasync, in words, as "fdatasync: Input/output error". `None` without one, and for a bdev that is
/// not of this module.
#[must_use]
pub fn failure(app: AppThread<'_>, name: &str) -> Option<String> {
    let name = c_name(name).ok()?;
    find(app, &name)?.failure()
}

/// The disk of a bdev. It stays as long as the caller does not return from the app's thread, on which alone bdevs are
/// removed: SPDK removes them in messages.
fn find<'call>(_: AppThread<'call>, name: &CString) -> Option<&'call Disk> {
    // SAFETY: the shim looks at SPDK's list of bdevs, on the app's thread, and at a NUL-terminated name.
    let raw = unsafe { spdk_sys::spdk_shim_file_disk(name.as_ptr()) };
    // SAFETY: the bdev is registered, and stays so for the lifetime of the proof, which ends with the call that SPDK made.
    (!raw.is_null()).then(|| unsafe { side::disk(raw) })
}

/// Looks at a bdev's size anew. With `clear_failure`, writes and FLUSHes go on after an
/// fdatasync that failed: those that failed stay failed.
///
/// # Errors
/// `ENODEV` if this module has no such bdev; `EBUSY` if it is open and its file became smaller.
pub fn rescan(app: AppThread<'_>, name: &str, clear_failure: bool) -> Result<Rescanned, FileError> {
    let found = take_size(app, name, Disk::blocks_now)?;
    if clear_failure {
        let disk = find(app, &c_name(name)?).ok_or_else(|| missing(name))?;
        disk.syncs().forget_failure();
    }
    Ok(found)
}

/// As [`rescan`] without `clear_failure`, for a look from time to time: takes the size that Linux knows, and waits for nothing. That
/// of a file on a network is the one of its last use.
///
/// # Errors
/// As [`rescan`].
pub fn follow_size(app: AppThread<'_>, name: &str) -> Result<Rescanned, FileError> {
    take_size(app, name, Disk::known_blocks)
}

fn take_size(
    app: AppThread<'_>,
    name: &str,
    blocks: impl FnOnce(&Disk) -> std::io::Result<u64>,
) -> Result<Rescanned, FileError> {
    let c_name = c_name(name)?;
    let disk = find(app, &c_name).ok_or_else(|| missing(name))?;
    let path = disk.opened().path.display();
    let blocks = blocks(disk).map_err(|error| FileError::of(&error, format!("the size of '{path}'")))?;
    if blocks == 0 {
        return Err(FileError::new(
            EINVAL,
            format!("'{path}' has less than one block of {} bytes now", disk.opened().block_size),
        ));
    }
    let mut before = 0;
    // SAFETY: spdk_bdev_notify_blockcnt_change (spdk/bdev_module.h), on the app's thread, for a bdev of this module.
    let code = unsafe { spdk_sys::spdk_shim_file_resize(c_name.as_ptr(), blocks, &raw mut before) };
    if code != 0 {
        return Err(FileError::new(
            -code,
            format!(
                "'{path}' has {blocks} blocks of {} bytes now, which is less, and bdev '{name}' is in use: reads and writes \
                 beyond that fail ({})",
                disk.opened().block_size,
                word(-code)
            ),
        ));
    }
    Ok(Rescanned { blocks, changed: blocks != before })
}

fn c_name(name: &str) -> Result<CString, FileError> {
    let bad = || {
        FileError::new(
            EINVAL,
            format!("name is '{}': it must be text without NUL", name.replace('\0', "\\0")),
        )
    };
    CString::new(name).ok().filter(|name| !name.is_empty()).ok_or_else(bad)
}

fn taken(name: &str) -> FileError {
    FileError::new(EEXIST, format!("there is a bdev '{name}' already: give another name"))
}

fn missing(name: &str) -> FileError {
    FileError::new(ENODEV, format!("there is no bdev '{name}' on a file (of bdev_file_create)"))
}

fn bad_uuid(options: &FileBdevOptions) -> FileError {
    let uuid = options.uuid.as_deref().unwrap_or_default();
    FileError::new(
        EINVAL,
        format!("uuid is '{uuid}': five groups of hexadecimal digits are allowed (8-4-4-4-12)"),
    )
}

/// An errno in words.
fn word(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}
