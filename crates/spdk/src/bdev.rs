//! The block device behind an export: opened once by the control plane, used by every lcore.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    fs::File,
    ptr::{self, NonNull},
    sync::Arc,
};

use crate::{
    Durability, FileBeneath, FlushMethod, Thread, app,
    durability::{Described, judge},
    error::{EINVAL, Error, Result, check},
    rpc::collect,
    thread::free_later,
};

/// What SPDK says of a bdev.
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
    /// What has become of a write when it is completed.
    pub durability: Durability,
    /// True if SPDK calls it a bdev with a volatile cache, or it has one.
    pub write_cache: bool,
    /// The files and block devices that it is made of, directly or by other bdevs.
    pub files: Vec<FileBeneath>,
    /// How FLUSH reaches stable storage.
    pub flush: FlushMethod,
    /// True if [`crate::IoKind::WriteFua`] works, and is as good as a write and a FLUSH.
    pub fua: bool,
    /// True if it takes writes at all, through whatever descriptor: a snapshot of a volume does not, nor does a file that
    /// was opened to be read only.
    pub takes_writes: bool,
    /// True if it can unmap blocks ([`crate::IoKind::Unmap`]) through this descriptor.
    pub unmaps: bool,
    /// True if it is an NVMe drive that tells of its health ([`crate::IoKind::Health`]) through this descriptor.
    pub health: bool,
}

impl BdevInfo {
    /// Sectors of 512 bytes in a block; 0 for a block that is smaller.
    #[inline]
    #[must_use]
    pub fn sectors_per_block(&self) -> u32 {
        self.block_size / 512
    }
}

/// A UUID's 36 characters and the zero after them.
const UUID_TEXT: usize = 37;

/// What a descriptor is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    /// And while it is open, nobody writes.
    ReadAlone,
    /// And while it is open, no other module of SPDK writes.
    Write,
}

/// What happens to an open bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BdevEvent {
    /// It is being removed, and goes when this descriptor and its channels are closed.
    Removed,
    /// Its size changed.
    Resized,
}

type OnEvent = Box<dyn Fn(BdevEvent)>;

/// An open bdev. Clones share one descriptor, which is closed on the thread that opened it when the last
/// clone and the last [`crate::IoChannel`] are gone.
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
    pub(crate) files: Vec<File>,
}

// SAFETY: the descriptor may be used by any SPDK thread to get a channel and to submit I/O (spdk/bdev.h); the
// event closure is only called and dropped on the owner's thread.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

extern "C" fn on_event(
    kind: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    ctx: *mut c_void,
) {
    // SAFETY: the closure was leaked by `open` and is freed after spdk_bdev_close; events come on the owner's
    // thread.
    let on_event = unsafe { &*ctx.cast::<OnEvent>() };
    match kind {
        spdk_sys::SPDK_BDEV_EVENT_REMOVE => on_event(BdevEvent::Removed),
        spdk_sys::SPDK_BDEV_EVENT_RESIZE => on_event(BdevEvent::Resized),
        _ => {}
    }
}

/// What SPDK says of a bdev's way to stable media.
///
/// # Safety
/// `bdev` is live and stays so during the call.
unsafe fn describe(bdev: *mut spdk_sys::spdk_bdev) -> Result<Described> {
    let mut description = Vec::new();
    // SAFETY: a live bdev (the caller's promise); the functions read it (spdk/bdev.h), `collect` takes a Vec.
    unsafe {
        let code = spdk_sys::spdk_shim_bdev_describe(bdev, Some(collect), (&raw mut description).cast());
        check("spdk_bdev_dump_info_json", code)?;
        Ok(Described {
            product: app::text(spdk_sys::spdk_bdev_get_product_name(bdev)),
            description: String::from_utf8_lossy(&description).into_owned(),
            write_cache: spdk_sys::spdk_bdev_has_write_cache(bdev),
            can_flush: spdk_sys::spdk_bdev_io_type_supported(bdev, spdk_sys::SPDK_BDEV_IO_TYPE_FLUSH),
            nvme_flushes: spdk_sys::spdk_shim_nvme_flushes(),
        })
    }
}

/// [`describe`] by name, on the app's thread.
fn look(name: &str) -> Option<Described> {
    // SAFETY: spdk_bdev_first and _next (spdk/bdev.h) walk live bdevs; none comes or goes while this thread, which
    // makes and removes them, is here.
    unsafe {
        let mut bdev = spdk_sys::spdk_bdev_first();
        while !bdev.is_null() {
            if app::text(spdk_sys::spdk_bdev_get_name(bdev)) == name {
                return describe(bdev).ok();
            }
            bdev = spdk_sys::spdk_bdev_next(bdev);
        }
    }
    None
}

/// Its UUID as text.
///
/// # Safety
/// `bdev` is live and stays so during the call.
unsafe fn uuid(bdev: *mut spdk_sys::spdk_bdev) -> String {
    let mut text = [0_u8; UUID_TEXT];
    // SAFETY: a live bdev (the caller's promise); the shim writes a C string of at most that many bytes.
    unsafe { spdk_sys::spdk_shim_bdev_uuid(bdev, text.as_mut_ptr().cast::<c_char>(), text.len()) };
    CStr::from_bytes_until_nul(&text)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// Reads what is known of a bdev, for a descriptor that may `write`, or not. On the app's thread.
///
/// # Safety
/// `bdev` is live and stays so during the call.
unsafe fn read_info(bdev: *mut spdk_sys::spdk_bdev, write: bool) -> Result<BdevInfo> {
    // SAFETY: a live bdev (the caller's promise); the functions read it (spdk/bdev.h).
    unsafe {
        let described = describe(bdev)?;
        let name = app::text(spdk_sys::spdk_bdev_get_name(bdev));
        let alignment = spdk_sys::spdk_bdev_get_buf_align(bdev);
        let supported = |kind| spdk_sys::spdk_bdev_io_type_supported(bdev, kind);
        let verdict = judge(&name, write, alignment, &look);
        Ok(BdevInfo {
            write_cache: described.write_cache || verdict.durability == Durability::Cached,
            name,
            uuid: uuid(bdev),
            product: described.product,
            block_size: spdk_sys::spdk_bdev_get_block_size(bdev),
            metadata_size: spdk_sys::spdk_bdev_get_md_size(bdev),
            blocks: spdk_sys::spdk_bdev_get_num_blocks(bdev),
            alignment,
            durability: verdict.durability,
            files: verdict.files,
            flush: verdict.flush,
            fua: verdict.fua,
            takes_writes: supported(spdk_sys::SPDK_BDEV_IO_TYPE_WRITE) && !verdict.read_only,
            unmaps: write && supported(spdk_sys::SPDK_BDEV_IO_TYPE_UNMAP),
            // SPDK takes no NVMe command from a descriptor that only reads.
            health: verdict.nvme && write && supported(spdk_sys::SPDK_BDEV_IO_TYPE_NVME_ADMIN),
        })
    }
}

impl Bdev {
    /// Opens the bdev called `name`, which may be an alias, and hears of what happens to it through `on_event`, on
    /// this thread: the app's. As long as one is open to `write`, no other module of SPDK can open the bdev to write or
    /// claim it; others opened like this can.
    ///
    /// # Errors
    /// `ENODEV` if there is no such bdev, `EPERM` or `EBUSY` if `write` is asked of one that another module has claimed
    /// or writes, and what open(2) says of a file that FLUSH would need.
    pub fn open(name: &str, write: bool, events: impl Fn(BdevEvent) + 'static) -> Result<Self> {
        Self::open_as(name, if write { Access::Write } else { Access::Read }, Box::new(events))
    }

    /// Opens the bdev to read, and keeps all from writing as long as it is open. As [`Bdev::open`] otherwise.
    ///
    /// # Errors
    /// As [`Bdev::open`]; `EBUSY` or `EPERM` if somebody writes or has claimed it.
    pub fn open_against_writers(name: &str, events: impl Fn(BdevEvent) + 'static) -> Result<Self> {
        Self::open_as(name, Access::ReadAlone, Box::new(events))
    }

    fn open_as(name: &str, access: Access, events: OnEvent) -> Result<Self> {
        let call = "spdk_bdev_open_ext";
        let c_name = CString::new(name).map_err(|_| Error { call, errno: EINVAL })?;
        let owner = Thread::current().ok_or(Error { call, errno: EINVAL })?;
        let write = access == Access::Write;
        let closure: *mut OnEvent = Box::into_raw(Box::new(events));
        let mut raw = ptr::null_mut();
        // SAFETY: on an SPDK thread; the closure outlives the descriptor. A claim makes it one that writes.
        let code = unsafe {
            spdk_sys::spdk_bdev_open_ext(c_name.as_ptr(), false, Some(on_event), closure.cast(), &mut raw)
        };
        let (Ok(()), Some(raw), Some(on_event)) =
            (check(call, code), NonNull::new(raw), NonNull::new(closure))
        else {
            // SAFETY: SPDK kept nothing of a failed open.
            drop(unsafe { Box::from_raw(closure) });
            return Err(Error { call, errno: code.saturating_neg().max(1) });
        };
        let closing = Closing(raw, on_event);
        if access != Access::Read {
            // SAFETY: a descriptor that was just opened to read, on the thread that opened it.
            let code = unsafe { spdk_sys::spdk_shim_bdev_claim(raw.as_ptr(), write) };
            if let Err(error) = check("spdk_bdev_module_claim_bdev_desc", code) {
                closing.close();
                return Err(error);
            }
        }
        // SAFETY: an open descriptor keeps its bdev.
        let info = match unsafe { read_info(spdk_sys::spdk_bdev_desc_get_bdev(raw.as_ptr()), write) } {
            Ok(info) => info,
            Err(error) => {
                closing.close();
                return Err(error);
            }
        };
        // From here on the descriptor closes itself.
        let mut descriptor = Descriptor { raw, owner, on_event, info, files: Vec::new() };
        if descriptor.info.flush == FlushMethod::FileSync && access != Access::ReadAlone {
            let paths = descriptor.info.files.iter().map(|file| &file.path);
            let files: std::io::Result<Vec<File>> = paths.map(File::open).collect();
            descriptor.files = files
                .map_err(|error| Error { call: "open", errno: error.raw_os_error().unwrap_or(EINVAL) })?;
        }
        Ok(Self { inner: Arc::new(descriptor) })
    }

    /// What was known of it when it was opened.
    pub fn info(&self) -> &BdevInfo {
        &self.inner.info
    }

    /// True if this is its name or an alias of it now. On the app's thread.
    pub fn is_called(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: an open descriptor keeps its bdev; names come and go on this thread.
        unsafe { spdk_sys::spdk_shim_bdev_is_called(self.inner.bdev(), name.as_ptr()) }
    }

    /// Its size in blocks now.
    pub fn blocks(&self) -> u64 {
        // SAFETY: an open descriptor keeps its bdev.
        unsafe { spdk_sys::spdk_bdev_get_num_blocks(self.inner.bdev()) }
    }

    /// Its size in sectors of 512 bytes now, for blocks that are a multiple of that.
    pub fn sectors(&self) -> u64 {
        self.blocks().saturating_mul(u64::from(self.info().sectors_per_block()))
    }

    /// The name of the bdev that goes by `name`, which may be an alias, if there is one. On the app's thread.
    pub fn own_name(name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: a bdev that is found is live, and stays so while this thread, which removes them, is here.
        unsafe {
            let bdev = spdk_sys::spdk_bdev_get_by_name(name.as_ptr());
            (!bdev.is_null()).then(|| app::text(spdk_sys::spdk_bdev_get_name(bdev)))
        }
    }

    /// All bdevs there are, by name. On the app's thread.
    pub fn list() -> Vec<String> {
        let mut names = Vec::new();
        // SAFETY: spdk_bdev_first and _next (spdk/bdev.h) walk live bdevs; none comes or goes while this
        // thread, which makes and removes them, is here.
        unsafe {
            let mut bdev = spdk_sys::spdk_bdev_first();
            while !bdev.is_null() {
                names.push(app::text(spdk_sys::spdk_bdev_get_name(bdev)));
                bdev = spdk_sys::spdk_bdev_next(bdev);
            }
        }
        names
    }
}

impl Descriptor {
    pub(crate) fn raw(&self) -> *mut spdk_sys::spdk_bdev_desc {
        self.raw.as_ptr()
    }

    pub(crate) fn bdev(&self) -> *mut spdk_sys::spdk_bdev {
        // SAFETY: an open descriptor (spdk/bdev.h).
        unsafe { spdk_sys::spdk_bdev_desc_get_bdev(self.raw.as_ptr()) }
    }
}

/// Runs `done` on this thread, the app's, when no module of SPDK looks at a new bdev any more. While one does, whether
/// the bdev is its own, it may have the bdev open to write.
///
/// # Errors
/// `ENOMEM`, `EINVAL` outside an SPDK thread.
pub fn after_examine(done: impl FnOnce() + 'static) -> Result<()> {
    type Done = Box<dyn FnOnce()>;

    extern "C" fn examined(arg: *mut c_void) {
        // SAFETY: leaked below, and SPDK calls once.
        let done = unsafe { Box::from_raw(arg.cast::<Done>()) };
        done();
    }

    let call = "spdk_bdev_wait_for_examine";
    if Thread::current().is_none() {
        return Err(Error { call, errno: EINVAL });
    }
    let leaked: *mut Done = Box::into_raw(Box::new(Box::new(done)));
    // SAFETY: on an SPDK thread, whose poller calls once.
    let code = unsafe { spdk_sys::spdk_bdev_wait_for_examine(Some(examined), leaked.cast()) };
    check(call, code).inspect_err(|_| {
        // SAFETY: SPDK took nothing when it failed.
        drop(unsafe { Box::from_raw(leaked) });
    })
}

/// An open descriptor and its closure on their way to the owner's thread.
struct Closing(NonNull<spdk_sys::spdk_bdev_desc>, NonNull<OnEvent>);

// SAFETY: both are only used by `close`, on the owner's thread.
unsafe impl Send for Closing {}

impl Closing {
    fn close(self) {
        // SAFETY: on the thread that opened it, as spdk_bdev_close (spdk/bdev.h) wants; no channel is left.
        // The closure was leaked by `open`, no event comes after the close, and the event that brought the
        // descriptor's end may be running.
        unsafe {
            spdk_sys::spdk_bdev_close(self.0.as_ptr());
            free_later(self.1);
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let closing = Closing(self.raw, self.on_event);
        if self.owner.is_current() {
            closing.close();
        } else {
            // An owner that has exited leaves the descriptor open, which only a program's end can bring.
            let _ = self.owner.send(move || closing.close());
        }
    }
}

impl fmt::Debug for Bdev {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bdev").field("name", &self.inner.info.name).finish_non_exhaustive()
    }
}
