//! io_submit(2) as the kernel gets it: recorded on its way there, and fdatasyncs held back, or failed, where a test wants it.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::unix::fs::MetadataExt;

/// Linux on x86-64 (fcntl.h).
pub(crate) const O_DIRECT: c_int = 0o40000;

/// An asynchronous I/O as the kernel gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// Where a read's or write's data starts; `None` for an fdatasync.
    pub(crate) first_byte: Option<usize>,
    pub(crate) direct: bool,
    pub(crate) inode: u64,
}

thread_local! {
    static SUBMITTED: RefCell<Vec<Submitted>> = const { RefCell::new(Vec::new()) };
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    static FAILS: Cell<bool> = const { Cell::new(false) };
    /// What is held back: the context, and the iocb's bytes.
    static HELD: RefCell<Vec<(*mut c_void, IocbBytes)>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of struct iocb (libaio.h).
type IocbBytes = [u64; 8];

/// struct iocb of libaio.h, as far as it is read here.
#[repr(C)]
struct Iocb {
    data: *mut c_void,
    key: u32,
    flags: u32,
    opcode: i16,
    priority: i16,
    file: c_int,
    vectors: *const Vector,
    count: c_int,
}

/// struct io_event of libaio.h.
#[repr(C)]
struct Event {
    data: *mut c_void,
    iocb: *mut Iocb,
    result: c_long,
    result2: c_long,
}

/// struct iovec.
#[repr(C)]
struct Vector {
    base: *mut c_void,
    length: usize,
}

/// libaio's io_getevents.
type IoGetEvents = unsafe extern "C" fn(*mut c_void, c_long, c_long, *mut Event, *mut c_void) -> c_int;

/// libaio's io_submit.
type IoSubmit = unsafe extern "C" fn(*mut c_void, c_long, *mut *mut Iocb) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn fcntl(file: c_int, command: c_int, ...) -> c_int;
}

/// What was submitted on this thread since the last call.
pub(crate) fn take() -> Vec<Submitted> {
    SUBMITTED.take()
}

/// Keeps fdatasyncs from the kernel until [`release`].
pub(crate) fn hold_syncs() {
    HOLDS.set(true);
}

/// Whether what ends by libaio's io_getevents ends with EIO: fdatasyncs do, and SPDK looks at its own rings itself.
pub(crate) fn fail_syncs(fails: bool) {
    FAILS.set(fails);
}

/// Submits the fdatasyncs that were held back.
pub(crate) fn release() {
    HOLDS.set(false);
    for (context, mut bytes) in HELD.take() {
        let mut iocb: *mut Iocb = (&raw mut bytes).cast();
        let next = next();
        // SAFETY: a context of io_setup and a copy of a valid iocb, which the kernel copies.
        assert_eq!(unsafe { next(context, 1, &raw mut iocb) }, 1);
    }
}

/// The next definition of a function of libaio.
fn defined(name: &CStr) -> *mut c_void {
    const RTLD_NEXT: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);
    // SAFETY: a C string; the handle means the next definition of the name.
    let next = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) };
    assert!(!next.is_null(), "libaio has {name:?}");
    next
}

fn next() -> IoSubmit {
    let next = defined(c"io_submit");
    // SAFETY: libaio's io_submit has this signature.
    unsafe { std::mem::transmute::<*mut c_void, IoSubmit>(next) }
}

/// In the place of libaio's, which it calls: the linker finds this one first for all that is linked into this program.
///
/// # Safety
/// As libaio's: `count` valid iocbs.
#[unsafe(no_mangle)]
unsafe extern "C" fn io_submit(context: *mut c_void, count: c_long, iocbs: *mut *mut Iocb) -> c_int {
    const IO_CMD_FDSYNC: i16 = 3;
    const IO_CMD_PREADV: i16 = 7;
    const IO_CMD_PWRITEV: i16 = 8;
    const F_GETFL: c_int = 3;
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `index` is below the array's length, as the caller promises.
        let place = unsafe { iocbs.add(index) };
        // SAFETY: an element of the array.
        let place = unsafe { place.read() };
        // SAFETY: a valid iocb, as the caller promises, which nobody changes during the call.
        let iocb = unsafe { &*place };
        // SAFETY: fcntl takes any number.
        let flags = unsafe { fcntl(iocb.file, F_GETFL) };
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", iocb.file)).map_or(0, |file| file.ino());
        let record = |first_byte| {
            let submitted = Submitted { first_byte, direct: flags & O_DIRECT != 0, inode };
            SUBMITTED.with_borrow_mut(|all| all.push(submitted));
        };
        match iocb.opcode {
            IO_CMD_PREADV | IO_CMD_PWRITEV => {
                assert_eq!(iocb.count, 1, "a frame in one segment");
                // SAFETY: an iocb with one vector points to it.
                record(Some(unsafe { &*iocb.vectors }.base.addr()));
            }
            IO_CMD_FDSYNC => {
                record(None);
                if HOLDS.get() {
                    assert_eq!(count, 1, "an fdatasync is submitted alone");
                    // SAFETY: a valid iocb has these bytes.
                    let bytes = unsafe { place.cast::<IocbBytes>().read() };
                    HELD.with_borrow_mut(|held| held.push((context, bytes)));
                    return 1;
                }
            }
            _ => {}
        }
    }
    let next = next();
    // SAFETY: the caller's promise is the one that libaio asks for.
    unsafe { next(context, count, iocbs) }
}

/// In the place of libaio's, which it calls.
///
/// # Safety
/// As libaio's: room for `most` events.
#[unsafe(no_mangle)]
unsafe extern "C" fn io_getevents(
    context: *mut c_void,
    least: c_long,
    most: c_long,
    events: *mut Event,
    timeout: *mut c_void,
) -> c_int {
    const EIO: c_long = 5;
    // SAFETY: libaio's io_getevents has this signature.
    let next = unsafe { std::mem::transmute::<*mut c_void, IoGetEvents>(defined(c"io_getevents")) };
    // SAFETY: the caller's promise is the one that libaio asks for.
    let count = unsafe { next(context, least, most, events, timeout) };
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: libaio has filled so many.
        let place = unsafe { events.add(index) };
        // SAFETY: an element that the kernel has written, and that nobody else uses during the call.
        let event = unsafe { &mut *place };
        if FAILS.get() {
            event.result = -EIO;
        }
    }
    count
}
