//! Before the first frame: DPDK's environment abstraction layer, its version and its log.

use std::{
    ffi::{CStr, CString, OsStr, c_char},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::error::{Error, Result, last};

static STARTED: AtomicBool = AtomicBool::new(false);

/// Proof that EAL has started, which functions on ports, mempools, rings and EAL's memory ask for.
///
/// EAL is never stopped while the program's code runs (SPDK's environment calls `rte_eal_cleanup` from a destructor, at
/// the process's exit), so the proof may be copied and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EalStarted(());

impl EalStarted {
    /// The proof, or `None` before EAL has started.
    pub fn get() -> Option<Self> {
        STARTED.load(Ordering::Acquire).then_some(Self(()))
    }

    /// Records that EAL was started by other code than [`init`], such as SPDK's app.
    ///
    /// # Safety
    /// `rte_eal_init` has returned without an error, and `rte_eal_cleanup` is not called before the process exits.
    pub unsafe fn assume() -> Self {
        STARTED.store(true, Ordering::Release);
        Self(())
    }
}

/// The version of the DPDK that runs, as "DPDK 22.11.11".
pub fn version() -> String {
    // SAFETY: rte_version (rte_version.h) has no condition.
    let text = unsafe { dpdk_sys::rte_version() };
    // SAFETY: rte_version returns a NUL-terminated string in static memory.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// The release of the DPDK that runs, as year and month, such as (22, 11).
pub fn release() -> (u32, u32) {
    // SAFETY: rte_version_year (rte_version.h) returns a number and has no condition.
    let year = unsafe { dpdk_sys::rte_version_year() };
    // SAFETY: as for the year.
    let month = unsafe { dpdk_sys::rte_version_month() };
    (year, month)
}

/// The directory of EAL's own files, such as `/var/run/dpdk/rte`. Its last part is the prefix of EAL's files.
pub fn runtime_directory(_: EalStarted) -> PathBuf {
    // SAFETY: rte_eal_get_runtime_dir (rte_eal.h) returns a NUL-terminated string in static memory, which EAL has written
    // during its start (EalStarted).
    let text = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    // SAFETY: as above; nothing changes it after the start.
    let text = unsafe { CStr::from_ptr(text) };
    PathBuf::from(OsStr::from_bytes(text.to_bytes()))
}

/// Starts EAL, for programs that run without SPDK (SPDK's app starts EAL itself).
///
/// `arguments[0]` is the program's name. The calling thread becomes the main lcore and stays bound to it.
///
/// # Errors
/// What `rte_eal_init` leaves in `rte_errno`, `EALREADY` the second time; no argument, or one with a
/// NUL byte, is `EINVAL`.
pub fn init(arguments: &[String]) -> Result<EalStarted> {
    let invalid = Error { call: "rte_eal_init", errno: 22 };
    let strings: Vec<CString> = arguments
        .iter()
        .map(|argument| CString::new(argument.as_str()).map_err(|_| invalid))
        .collect::<Result<_>>()?;
    let count = i32::try_from(strings.len()).ok().filter(|count| *count > 0).ok_or(invalid)?;
    // EAL reorders the array and keeps pointers to the strings: they are never freed.
    let mut pointers: Vec<*mut c_char> = strings.into_iter().map(CString::into_raw).collect();
    // SAFETY: rte_eal_init (rte_eal.h) asks for `count` NUL-terminated strings in the array, the program's name first,
    // and may reorder it. There is at least one; the strings were given up above and are never freed. A second call is
    // refused by rte_eal_init itself.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    if parsed < 0 {
        return Err(last("rte_eal_init"));
    }
    // SAFETY: rte_eal_init has just succeeded, and nothing in this program calls rte_eal_cleanup but the destructor of
    // SPDK's environment.
    Ok(unsafe { EalStarted::assume() })
}

/// Receives a log line: its RTE_LOG level (1 emergency to 8 debug) and its text.
pub type LogSink = fn(level: u32, text: &str);

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();

extern "C" fn log_line(level: u32, text: *const c_char, length: usize) {
    let Some(sink) = LOG_SINK.get() else { return };
    // SAFETY: log_write in the shim, the only caller, passes a buffer of the C library with `length` bytes in it, and
    // waits for this function to return.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    sink(level, &String::from_utf8_lossy(bytes));
}

/// Sends every line that EAL and the PMDs log to `sink`, on the thread that logs it. May be called before EAL
/// starts; only the first call's sink counts.
///
/// # Errors
/// `ENOMEM` if the C library can't make the stream.
pub fn log_to(sink: LogSink) -> Result<()> {
    if LOG_SINK.set(sink).is_err() {
        return Ok(());
    }
    // SAFETY: rte_openlog_stream (rte_log.h) may be called at any time. `log_line` is a function, so it can be called as
    // long as the program runs, and it is callable on any thread because a LogSink is a plain function.
    let code = unsafe { dpdk_sys::dpdk_shim_log_to(Some(log_line)) };
    crate::error::check("rte_openlog_stream", code).map(|_| ())
}
