//! The block device behind an export: opened once by the control plane, used by every lcore.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    ptr::{self, NonNull},
    sync::Arc,
};

use crate::{
    app_thread::AppThread,
    c_string::{collect, text},
    durability::{Described, Durability, FileBeneath, FlushMethod, judge},
    error::{EINVAL, Error, Result, check},
    synced_file::SyncedFile,
    thread::{Thread, free_later},
};

/// SPDK's facts about a bdev, and its way to stable media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BdevInfo {
    /// Its name; never an alias.
    pub name: String,
    /// Its UUID, which of some kinds of bdev is another at each start.
    pub uuid: String,
    /// Its kind, as "Malloc disk".
    pub product: String,
    /// Bytes a block, metadata not counted.
    pub block_size: u32,
    /// Metadata bytes a block.
    pub metadata_size: u32,
    /// Blocks.
    pub blocks: u64,
    /// Bytes that a buffer's address must be a multiple of; SPDK copies through a bounce buffer where it is
    /// not.
    pub alignment: usize,
    /// Whether a completed write is on stable media.
    pub durability: Durability,
    /// True if SPDK calls it a bdev with a volatile cache, or it has one.
    pub write_cache: bool,
    /// The files and block devices that it is made of, directly or by other bdevs.
    pub files: Vec<FileBeneath>,
    /// How FLUSH reaches stable storage.
    pub flush: FlushMethod,
    /// True if [`crate::IoKind::WriteFua`] works, and is as good as a write and a FLUSH.
    pub fua: bool,
    /// True if the bdev takes writes through some descriptor. A snapshot of a volume does not, nor does a file that was
    /// opened read-only.
    pub takes_writes: bool,
    /// True if it can unmap blocks ([`crate::IoKind::Unmap`]) through this descriptor.
    pub unmaps: bool,
    /// True if it is an NVMe drive whose health this descriptor can read ([`crate::IoKind::Health`]).
    pub health: bool,
    /// True if it can be asked to abort an I/O ([`crate::Pending::abort`]).
    pub aborts: bool,
}

impl BdevInfo {
    /// Sectors of 512 bytes in a block; 0 for a block that is smaller.
    #[inline]
    #[must_use]
    pub fn sectors_per_block(&self) -> u32 {
        self.block_size / 512
    }
}

/// The kinds of bdevs that are parts of others. They say that they can abort where the bdev below can, but pass no abort on
/// (lib/bdev/part.c of 26.01): SPDK fails each with two error lines in the log.
const REFUSE_ABORTS: &[&str] = &["Split Disk", "GPT Disk", "Error Injection Disk"];

/// A UUID's 36 characters and the zero after them.
const UUID_TEXT: usize = 37;

/// The access that a descriptor gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    /// Read, and no other descriptor writes while this one is open.
    ReadAlone,
    /// Write, and no other module of SPDK writes while this descriptor is open.
    Write,
}

/// An event of an open bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BdevEvent {
    /// The bdev is being removed. SPDK frees it when this descriptor and its channels are closed.
    Removed,
    /// The bdev's size changed.
    Resized,
}

type OnEvent = Box<dyn Fn(BdevEvent)>;

/// An open bdev. Clones share one descriptor, which is closed on the thread that opened it when the last
/// clone and the last [`IoChannel`](crate::IoChannel) are gone.
#[derive(Clone)]
pub struct Bdev {
    pub(crate) inner: Arc<Descriptor>,
}

pub(crate) struct Descriptor {
    raw: NonNull<spdk_sys::spdk_bdev_desc>,
    owner: Thread,
    on_event: NonNull<OnEvent>,
    info: BdevInfo,
    /// For [`FlushMethod::FileSync`]: at least one.
    pub(crate) files: Vec<Arc<SyncedFile>>,
}

// SAFETY: a descriptor may be used on any SPDK thread to get a channel and to submit I/O (spdk/bdev.h), and is closed on its
// owner's thread, as `drop` sees to. The closure, which need not be Send, is called and dropped on the owner's thread only.
unsafe impl Send for Descriptor {}
// SAFETY: as for Send; `files` and `info` are only read.
unsafe impl Sync for Descriptor {}

extern "C" fn on_event(
    kind: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    ctx: *mut c_void,
) {
    // SAFETY: `open_as` leaked the closure for this descriptor, and `Closing::close` frees it by a message after
    // spdk_bdev_close. SPDK calls on the thread that opened the descriptor (spdk/bdev.h).
    let on_event = unsafe { &*ctx.cast::<OnEvent>() };
    match kind {
        spdk_sys::SPDK_BDEV_EVENT_REMOVE => on_event(BdevEvent::Removed),
        spdk_sys::SPDK_BDEV_EVENT_RESIZE => on_event(BdevEvent::Resized),
        _ => {}
    }
}

/// Reads SPDK's facts about a bdev's way to stable media.
///
/// # Safety
/// `bdev` is registered, and stays so during the call.
unsafe fn describe(_: AppThread<'_>, bdev: *mut spdk_sys::spdk_bdev) -> Result<Described> {
    let mut description = Vec::new();
    // SAFETY: spdk_bdev_dump_info_json (spdk/bdev.h) reads a registered bdev, as the caller promises, and its module's
    // state, which belongs to the app's thread. The shim passes the Vec to `collect` during this call only.
    let code =
        unsafe { spdk_sys::spdk_shim_bdev_describe(bdev, Some(collect), (&raw mut description).cast()) };
    check("spdk_bdev_dump_info_json", code)?;
    // SAFETY: spdk_bdev_get_product_name (spdk/bdev.h) reads a registered bdev.
    let product = unsafe { spdk_sys::spdk_bdev_get_product_name(bdev) };
    Ok(Described {
        // SAFETY: a NUL-terminated name, which stays while the bdev is registered.
        product: unsafe { text(product) },
        description: String::from_utf8_lossy(&description).into_owned(),
        // SAFETY: spdk_bdev_has_write_cache (spdk/bdev.h) reads a registered bdev.
        write_cache: unsafe { spdk_sys::spdk_bdev_has_write_cache(bdev) },
        // SAFETY: as for `supports`.
        can_flush: unsafe { supports(bdev, spdk_sys::SPDK_BDEV_IO_TYPE_FLUSH) },
        // SAFETY: spdk_bdev_nvme_get_opts copies the module's options, which change on the app's thread only.
        nvme_flushes: unsafe { spdk_sys::spdk_shim_nvme_flushes() },
    })
}

/// Whether a bdev takes I/O of this kind.
///
/// # Safety
/// `bdev` is registered, and stays so during the call.
unsafe fn supports(bdev: *mut spdk_sys::spdk_bdev, kind: spdk_sys::spdk_bdev_io_type) -> bool {
    // SAFETY: spdk_bdev_io_type_supported (spdk/bdev.h) reads a registered bdev, as the caller promises.
    unsafe { spdk_sys::spdk_bdev_io_type_supported(bdev, kind) }
}

/// The bdev's name.
///
/// # Safety
/// `bdev` is registered, and stays so during the call.
unsafe fn name_of(bdev: *mut spdk_sys::spdk_bdev) -> String {
    // SAFETY: spdk_bdev_get_name (spdk/bdev.h) reads a registered bdev, as the caller promises.
    let name = unsafe { spdk_sys::spdk_bdev_get_name(bdev) };
    // SAFETY: a NUL-terminated name, which stays while the bdev is registered.
    unsafe { text(name) }
}

/// All registered bdevs. They stay registered as long as the caller does not return from the app's thread, on which alone
/// bdevs are registered and unregistered (spdk_bdev_register and _unregister in lib/bdev/bdev.c assert it).
fn registered(_: AppThread<'_>) -> impl Iterator<Item = *mut spdk_sys::spdk_bdev> {
    // SAFETY: spdk_bdev_first (spdk/bdev.h) reads the list of bdevs, which changes on this thread only.
    let first = NonNull::new(unsafe { spdk_sys::spdk_bdev_first() });
    let all = std::iter::successors(first, |bdev| {
        // SAFETY: spdk_bdev_next (spdk/bdev.h) takes a registered bdev, such as the one that was just found.
        NonNull::new(unsafe { spdk_sys::spdk_bdev_next(bdev.as_ptr()) })
    });
    all.map(NonNull::as_ptr)
}

/// [`describe`] by name.
fn look(app: AppThread<'_>, name: &str) -> Option<Described> {
    // SAFETY: `registered` yields registered bdevs, and none is unregistered before this function returns.
    let bdev = registered(app).find(|bdev| unsafe { name_of(*bdev) } == name)?;
    // SAFETY: as above.
    unsafe { describe(app, bdev) }.ok()
}

/// The bdev's UUID as text.
///
/// # Safety
/// `bdev` is registered, and stays so during the call.
unsafe fn uuid(bdev: *mut spdk_sys::spdk_bdev) -> String {
    let mut text = [0_u8; UUID_TEXT];
    // SAFETY: spdk_bdev_get_uuid (spdk/bdev.h) reads a registered bdev, as the caller promises. The shim writes a
    // NUL-terminated string within the buffer's length.
    unsafe { spdk_sys::spdk_shim_bdev_uuid(bdev, text.as_mut_ptr().cast::<c_char>(), text.len()) };
    CStr::from_bytes_until_nul(&text)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// Reads the facts about a bdev, for a descriptor that may `write`, or not.
///
/// # Safety
/// `bdev` is registered, and stays so during the call.
unsafe fn read_info(app: AppThread<'_>, bdev: *mut spdk_sys::spdk_bdev, write: bool) -> Result<BdevInfo> {
    // SAFETY: registered, as the caller promises.
    let described = unsafe { describe(app, bdev) }?;
    // SAFETY: as above.
    let name = unsafe { name_of(bdev) };
    // SAFETY: spdk_bdev_get_buf_align (spdk/bdev.h) reads a registered bdev.
    let alignment = unsafe { spdk_sys::spdk_bdev_get_buf_align(bdev) };
    // SAFETY: registered, as the caller promises.
    let supported = |kind| unsafe { supports(bdev, kind) };
    let verdict = judge(&name, write, alignment, &|name| look(app, name));
    let aborts = !REFUSE_ABORTS.contains(&described.product.as_str());
    Ok(BdevInfo {
        write_cache: described.write_cache || verdict.durability == Durability::Cached,
        name,
        // SAFETY: registered, as the caller promises.
        uuid: unsafe { uuid(bdev) },
        product: described.product,
        // SAFETY: spdk_bdev_get_block_size (spdk/bdev.h) reads a registered bdev.
        block_size: unsafe { spdk_sys::spdk_bdev_get_block_size(bdev) },
        // SAFETY: spdk_bdev_get_md_size (spdk/bdev.h) reads a registered bdev.
        metadata_size: unsafe { spdk_sys::spdk_bdev_get_md_size(bdev) },
        // SAFETY: spdk_bdev_get_num_blocks (spdk/bdev.h) reads a registered bdev.
        blocks: unsafe { spdk_sys::spdk_bdev_get_num_blocks(bdev) },
        alignment,
        durability: verdict.durability,
        files: verdict.files,
        flush: verdict.flush,
        fua: verdict.fua,
        takes_writes: supported(spdk_sys::SPDK_BDEV_IO_TYPE_WRITE) && !verdict.read_only,
        unmaps: write && supported(spdk_sys::SPDK_BDEV_IO_TYPE_UNMAP),
        // SPDK takes no NVMe command from a descriptor that only reads.
        health: verdict.nvme && write && supported(spdk_sys::SPDK_BDEV_IO_TYPE_NVME_ADMIN),
        aborts: aborts && supported(spdk_sys::SPDK_BDEV_IO_TYPE_ABORT),
    })
}

impl Bdev {
    /// Opens the bdev called `name`, which may be an alias. `events` is called on the app's thread. As long as one is open
    /// to `write`, no other module of SPDK can open the bdev to write or claim it; others opened like this can.
    ///
    /// # Errors
    /// `ENODEV` if there is no such bdev, `EPERM` or `EBUSY` if `write` is asked of one that another module has claimed
    /// or writes, and open(2)'s error for a file that FLUSH needs.
    pub fn open(
        app: AppThread<'_>,
        name: &str,
        write: bool,
        events: impl Fn(BdevEvent) + 'static,
    ) -> Result<Self> {
        Self::open_as(app, name, if write { Access::Write } else { Access::Read }, Box::new(events))
    }

    /// Opens the bdev to read, and keeps all from writing as long as it is open. As [`Bdev::open`] otherwise.
    ///
    /// # Errors
    /// As [`Bdev::open`]; `EBUSY` or `EPERM` if somebody writes or has claimed it.
    pub fn open_against_writers(
        app: AppThread<'_>,
        name: &str,
        events: impl Fn(BdevEvent) + 'static,
    ) -> Result<Self> {
        Self::open_as(app, name, Access::ReadAlone, Box::new(events))
    }

    fn open_as(app: AppThread<'_>, name: &str, access: Access, events: OnEvent) -> Result<Self> {
        let call = "spdk_bdev_open_ext";
        let c_name = CString::new(name).map_err(|_| Error { call, errno: EINVAL })?;
        let owner = Thread::current().ok_or(Error { call, errno: EINVAL })?;
        let write = access == Access::Write;
        let closure: *mut OnEvent = Box::into_raw(Box::new(events));
        let mut raw = ptr::null_mut();
        // SAFETY: spdk_bdev_open_ext (spdk/bdev.h) must be called on an SPDK thread, as this is, with a NUL-terminated name.
        // The closure is freed after the descriptor is closed. To write, the claim below is made.
        let code = unsafe {
            spdk_sys::spdk_bdev_open_ext(c_name.as_ptr(), false, Some(on_event), closure.cast(), &mut raw)
        };
        let (Ok(()), Some(raw), Some(on_event)) =
            (check(call, code), NonNull::new(raw), NonNull::new(closure))
        else {
            // SAFETY: SPDK keeps nothing of a failed open, so this is the only owner of the Box, leaked above.
            drop(unsafe { Box::from_raw(closure) });
            return Err(Error { call, errno: code.saturating_neg().max(1) });
        };
        let closing = Closing(raw, on_event);
        if access != Access::Read {
            // SAFETY: spdk_bdev_module_claim_bdev_desc (spdk/bdev_module.h) takes an open descriptor without a claim, on the
            // app's thread.
            let code = unsafe { spdk_sys::spdk_shim_bdev_claim(raw.as_ptr(), write) };
            if let Err(error) = check("spdk_bdev_module_claim_bdev_desc", code) {
                closing.close();
                return Err(error);
            }
        }
        // SAFETY: spdk_bdev_desc_get_bdev (spdk/bdev.h) takes an open descriptor.
        let bdev = unsafe { spdk_sys::spdk_bdev_desc_get_bdev(raw.as_ptr()) };
        // SAFETY: SPDK frees no bdev that has an open descriptor.
        let info = match unsafe { read_info(app, bdev, write) } {
            Ok(info) => info,
            Err(error) => {
                closing.close();
                return Err(error);
            }
        };
        // From here on `drop` closes the descriptor.
        let mut descriptor = Descriptor { raw, owner, on_event, info, files: Vec::new() };
        if descriptor.info.flush == FlushMethod::FileSync && access != Access::ReadAlone {
            let unsynced = descriptor.info.files.iter().filter(|file| !file.is_synced());
            let files: std::io::Result<Vec<_>> = unsynced.map(|file| SyncedFile::open(&file.path)).collect();
            descriptor.files = files
                .map_err(|error| Error { call: "open", errno: error.raw_os_error().unwrap_or(EINVAL) })?;
        }
        Ok(Self { inner: Arc::new(descriptor) })
    }

    /// A bdev of a simulation, of which the facts are said. On the app's thread.
    ///
    /// # Errors
    /// `EINVAL` on another thread.
    #[cfg(feature = "simulate")]
    pub fn simulated(
        _: AppThread<'_>,
        device: std::rc::Rc<std::cell::RefCell<dyn crate::simulated::Device>>,
        info: BdevInfo,
    ) -> Result<Self> {
        let invalid = Error { call: "simulated", errno: EINVAL };
        let owner = Thread::current().ok_or(invalid)?;
        let raw = NonNull::new(crate::simulated::register(device)).ok_or(invalid)?;
        let on_event: OnEvent = Box::new(|_| ());
        let on_event = NonNull::from(Box::leak(Box::new(on_event)));
        Ok(Self { inner: Arc::new(Descriptor { raw, owner, on_event, info, files: Vec::new() }) })
    }

    /// The facts about it, as of when it was opened.
    pub fn info(&self) -> &BdevInfo {
        &self.inner.info
    }

    /// The file beneath of which an fdatasync has failed that its flushes and durable writes need, with the errno: they fail
    /// from then on. Files whose bdevs sync by themselves are not among them ([`crate::file::failure`]).
    #[must_use]
    pub fn failed_file(&self) -> Option<(&FileBeneath, i32)> {
        // `open_as` made `files` from these, in their order, or left it empty.
        let unsynced = self.inner.info.files.iter().filter(|file| !file.is_synced());
        unsynced.zip(&self.inner.files).find_map(|(file, synced)| Some((file, synced.failure()?)))
    }

    /// Whether `name` is its name or an alias now.
    pub fn is_called(&self, _: AppThread<'_>, name: &str) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: an open descriptor keeps its bdev. The shim reads the bdev's names, which change on the app's thread only,
        // and a NUL-terminated name.
        unsafe { spdk_sys::spdk_shim_bdev_is_called(self.inner.bdev(), name.as_ptr()) }
    }

    /// Its size in blocks now.
    pub fn blocks(&self) -> u64 {
        // SAFETY: spdk_bdev_get_num_blocks (spdk/bdev.h) may be called on any thread with a bdev that an open descriptor
        // keeps.
        unsafe { spdk_sys::spdk_bdev_get_num_blocks(self.inner.bdev()) }
    }

    /// Its size in sectors of 512 bytes now, for blocks that are a multiple of that.
    pub fn sectors(&self) -> u64 {
        self.blocks().saturating_mul(u64::from(self.info().sectors_per_block()))
    }

    /// The name of the bdev that goes by `name`, which may be an alias, if there is one.
    pub fn own_name(_: AppThread<'_>, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: spdk_bdev_get_by_name (spdk/bdev.h) reads the names of bdevs, which change on the app's thread only, and a
        // NUL-terminated name.
        let bdev = unsafe { spdk_sys::spdk_bdev_get_by_name(name.as_ptr()) };
        // SAFETY: registered, for bdevs are unregistered on this thread only.
        (!bdev.is_null()).then(|| unsafe { name_of(bdev) })
    }

    /// The names of all bdevs.
    pub fn list(app: AppThread<'_>) -> Vec<String> {
        // SAFETY: `registered` yields registered bdevs, and none is unregistered before this function returns.
        registered(app).map(|bdev| unsafe { name_of(bdev) }).collect()
    }
}

impl Descriptor {
    pub(crate) fn raw(&self) -> *mut spdk_sys::spdk_bdev_desc {
        self.raw.as_ptr()
    }

    pub(crate) fn bdev(&self) -> *mut spdk_sys::spdk_bdev {
        // SAFETY: spdk_bdev_desc_get_bdev (spdk/bdev.h) takes an open descriptor: self closes it when it is dropped.
        unsafe { spdk_sys::spdk_bdev_desc_get_bdev(self.raw.as_ptr()) }
    }
}

/// Runs `done` on the app's thread when no module of SPDK examines a new bdev any more. A module that examines whether a
/// bdev is its own may have it open to write.
///
/// # Errors
/// `ENOMEM`.
pub fn after_examine(_: AppThread<'_>, done: impl FnOnce() + 'static) -> Result<()> {
    type Done = Box<dyn FnOnce()>;

    extern "C" fn examined(arg: *mut c_void) {
        // SAFETY: `after_examine` leaked the Box for this function, which SPDK calls once.
        let done = unsafe { Box::from_raw(arg.cast::<Done>()) };
        done();
    }

    let leaked: *mut Done = Box::into_raw(Box::new(Box::new(done)));
    // SAFETY: spdk_bdev_wait_for_examine (spdk/bdev.h) must be called on an SPDK thread, on which it calls back once.
    let code = unsafe { spdk_sys::spdk_bdev_wait_for_examine(Some(examined), leaked.cast()) };
    check("spdk_bdev_wait_for_examine", code).inspect_err(|_| {
        // SAFETY: SPDK keeps nothing of a failed call, so this is the only owner of the Box.
        drop(unsafe { Box::from_raw(leaked) });
    })
}

/// A descriptor to be closed on its owner's thread, and its closure.
struct Closing(NonNull<spdk_sys::spdk_bdev_desc>, NonNull<OnEvent>);

// SAFETY: only `close` uses both, on the owner's thread: `open_as` and `Descriptor::drop` call it there, or send it there.
unsafe impl Send for Closing {}

impl Closing {
    fn close(self) {
        // SAFETY: spdk_bdev_close (spdk/bdev.h) must be called on the thread that opened the descriptor, as this is, once.
        // Nothing uses the descriptor any more: each IoChannel holds a handle on it. SPDK may release a channel's memory
        // later, which needs the bdev's registration only.
        unsafe { spdk_sys::spdk_bdev_close(self.0.as_ptr()) };
        // SAFETY: `open_as` leaked the closure on this thread. No event comes after the close, and an event that led here may
        // be running.
        unsafe { free_later(self.1) };
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let closing = Closing(self.raw, self.on_event);
        if self.owner.is_current() {
            closing.close();
        } else {
            // The owner is the app's thread. Once it is gone, SPDK's bdev layer is, and the descriptor stays allocated.
            self.owner.send(move || closing.close()).unwrap_or_default();
        }
    }
}

impl fmt::Debug for Bdev {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bdev").field("name", &self.inner.info.name).finish_non_exhaustive()
    }
}
