//! Before the first frame: DPDK's environment abstraction layer, its version and its log.

use std::{
    ffi::{CStr, CString, c_char},
    slice,
    sync::OnceLock,
};

use crate::error::{Error, Result, last};

/// The version of the DPDK that runs, as "DPDK 22.11.11".
pub fn version() -> String {
    // SAFETY: rte_version (rte_version.h) returns a static NUL-terminated string.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    text.to_string_lossy().into_owned()
}

/// The release of the DPDK that runs, as year and month, such as (22, 11).
pub fn release() -> (u32, u32) {
    // SAFETY: both (rte_version.h) return numbers; no condition.
    unsafe { (dpdk_sys::rte_version_year(), dpdk_sys::rte_version_month()) }
}

/// Starts EAL, for programs that run without SPDK (SPDK's app starts EAL itself).
///
/// `arguments[0]` is the program's name. The calling thread becomes the main lcore and stays bound to it.
///
/// # Errors
/// What `rte_eal_init` leaves in `rte_errno`; an argument with a NUL byte is `EINVAL`.
pub fn init(arguments: &[String]) -> Result<()> {
    let invalid = Error { call: "rte_eal_init", errno: 22 };
    let strings: Vec<CString> = arguments
        .iter()
        .map(|argument| CString::new(argument.as_str()).map_err(|_| invalid))
        .collect::<Result<_>>()?;
    let count = i32::try_from(strings.len()).map_err(|_| invalid)?;
    // EAL reorders the array and keeps pointers to the strings: they are never freed.
    let mut pointers: Vec<*mut c_char> = strings.into_iter().map(CString::into_raw).collect();
    // SAFETY: rte_eal_init (rte_eal.h) wants argc strings in argv, which live for the rest of the program.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    if parsed < 0 { Err(last("rte_eal_init")) } else { Ok(()) }
}

/// A log line's way out: RTE_LOG level (1 emergency to 8 debug) and text.
pub type LogSink = fn(level: u32, text: &str);

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();

extern "C" fn log_line(level: u32, text: *const c_char, length: usize) {
    let Some(sink) = LOG_SINK.get() else { return };
    // SAFETY: the shim passes `length` readable bytes that stay while this call runs.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    sink(level, &String::from_utf8_lossy(bytes));
}

/// Sends every line that EAL and the PMDs log to `sink`, on the thread that logs it. May be called before EAL
/// starts; only the first call's sink counts.
///
/// # Errors
/// `ENOMEM` if the C library can't make the stream.
pub fn log_to(sink: LogSink) -> Result<()> {
    LOG_SINK.get_or_init(|| sink);
    // SAFETY: `log_line` has the shim's signature and is callable from any thread for the program's life.
    let code = unsafe { dpdk_sys::dpdk_shim_log_to(Some(log_line)) };
    crate::error::check("rte_openlog_stream", code).map(|_| ())
}
