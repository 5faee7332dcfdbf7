//! Before the first frame and after the last: SPDK's event framework, its reactors and its log.

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr, slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    eal_arguments::EalArguments,
    error::{EALREADY, EINVAL, Error, Result},
    thread,
};

/// How the app starts; `None` leaves SPDK's default.
#[derive(Debug, Clone, Default)]
pub struct AppOptions {
    /// The program's name, for EAL and logs.
    pub name: String,
    /// The reactors' cores: a mask (`0x3`) or a list in brackets (`[0-1,4]`).
    pub reactor_mask: Option<String>,
    /// The core of the first reactor, on which the app's own thread and its RPC server run.
    pub main_core: Option<u32>,
    /// Hugepage memory to reserve at start, in megabytes.
    pub mem_mb: Option<u32>,
    /// Further EAL arguments, separated by blanks; none that another option here is for.
    pub eal_arguments: String,
    /// Probe no PCI device.
    pub no_pci: bool,
    /// Unlink hugepage files as soon as they are mapped, so that a crash leaves none behind.
    pub huge_unlink: bool,
    /// Path of the JSON-RPC server's Unix socket.
    pub rpc_socket: Option<String>,
    /// A JSON configuration (SPDK's "subsystems" form) to carry out before `start` runs.
    pub config_file: Option<String>,
    /// Where log lines go.
    pub log: Option<LogSink>,
    /// Also pass lines of the levels INFO and DEBUG.
    pub log_verbose: bool,
}

/// A log line of SPDK's.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// How grave it is.
    pub level: LogLevel,
    /// The C file, line and function that wrote it.
    pub file: &'a str,
    /// The line in it.
    pub line: i32,
    /// The function.
    pub function: &'a str,
    /// What it says, without a line end.
    pub text: &'a str,
}

/// SPDK's log levels (spdk/log.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// SPDK_LOG_ERROR.
    Error,
    /// SPDK_LOG_WARN.
    Warn,
    /// SPDK_LOG_NOTICE.
    Notice,
    /// SPDK_LOG_INFO.
    Info,
    /// SPDK_LOG_DEBUG.
    Debug,
}

/// A log line's way out. Called on whatever thread logs.
pub type LogSink = fn(LogLine<'_>);

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();

/// A C string as text; empty for NULL.
///
/// # Safety
/// `string` is NULL or NUL-terminated, and stays as it is while this call runs.
pub(crate) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

extern "C" fn log_line(
    level: c_int,
    file: *const c_char,
    line: c_int,
    function: *const c_char,
    message: *const c_char,
    length: usize,
) {
    let Some(sink) = LOG_SINK.get() else { return };
    let level = match level {
        spdk_sys::SPDK_LOG_ERROR => LogLevel::Error,
        spdk_sys::SPDK_LOG_WARN => LogLevel::Warn,
        spdk_sys::SPDK_LOG_NOTICE => LogLevel::Notice,
        spdk_sys::SPDK_LOG_INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    // SAFETY: the shim passes NUL-terminated strings, and `length` readable bytes.
    let (file, function, message) = unsafe {
        (
            text(file),
            text(function),
            String::from_utf8_lossy(slice::from_raw_parts(message.cast::<u8>(), length)),
        )
    };
    sink(LogLine { level, file: &file, line, function: &function, text: &message });
}

/// SPDK's name and version, as "SPDK v26.01".
pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { text(spdk_sys::spdk_shim_version()) }
}

/// The release SPDK was built as: year and month, such as (26, 1).
pub(crate) fn release() -> (u32, u32) {
    (spdk_sys::SPDK_VERSION_MAJOR, spdk_sys::SPDK_VERSION_MINOR)
}

/// How far the app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Subsystems start, or all is up: it may stop at once.
    Stoppable,
    /// The configuration is carried out, by RPCs. SPDK does not end these when it stops: they would go on with
    /// subsystems that are gone (seen with 26.05: a malloc bdev made after the accel framework's end).
    Loading,
}

thread_local! {
    /// What to do once the subsystems are up and the configuration is carried out.
    static START: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Stoppable) };
    /// A signal has asked for the end.
    static ASKED_TO_STOP: Cell<bool> = const { Cell::new(false) };
}

/// A subsystem of ours starts; SPDK has carried out the part of the configuration that comes before subsystems. A signal
/// that came meanwhile takes effect now.
pub(crate) fn starts() {
    eal_has_started();
    STAGE.set(Stage::Stoppable);
    if asked_to_stop() {
        stop(0);
    }
}

/// A subsystem of ours is up; as it comes after those it depends on, SPDK's configuration follows soon.
pub(crate) fn loads() {
    STAGE.set(Stage::Loading);
}

/// Whether a signal has come that is to end the app. On the app's thread.
pub fn asked_to_stop() -> bool {
    ASKED_TO_STOP.get()
}

/// In what SPDK calls once its reactors run.
fn eal_has_started() {
    // SAFETY: spdk_app_start starts EAL before it makes the first thread, on which this runs, and has it cleaned up by a
    // destructor (lib/env_dpdk/init.c).
    unsafe { dpdk::EalStarted::assume() };
}

extern "C" fn start(_: *mut c_void) {
    eal_has_started();
    STAGE.set(Stage::Stoppable);
    if asked_to_stop() {
        stop(0);
    } else if let Some(start) = START.take() {
        start();
    }
}

/// SIGINT or SIGTERM, on the app's thread.
extern "C" fn shut_down() {
    ASKED_TO_STOP.set(true);
    if STAGE.get() == Stage::Stoppable {
        stop(0);
    }
}

/// Runs the event framework on this thread until [`stop`], SIGINT or SIGTERM, and returns its exit code; then
/// all subsystems are finished. Once per process.
///
/// `start` runs on the app's SPDK thread, on this thread. A signal that comes while the configuration is carried
/// out takes effect after that, instead of `start`.
///
/// # Errors
/// `EINVAL` if an option has a NUL byte, or SPDK can't pass on an EAL argument, which is then logged;
/// `EALREADY` the second time.
pub fn run(options: &AppOptions, start_fn: impl FnOnce() + 'static) -> Result<i32> {
    static RAN: AtomicBool = AtomicBool::new(false);
    let call = "spdk_app_start";
    let invalid = Error { call, errno: EINVAL };
    let string = |value: &str| CString::new(value).map_err(|_| invalid);
    let optional = |value: &Option<String>| value.as_deref().map(string).transpose();
    let say = |level, text: &str| {
        if let Some(sink) = options.log {
            sink(LogLine { level, file: file!(), line: 0, function: "run", text });
        }
    };
    let eal = EalArguments::sort(&options.eal_arguments, release(), dpdk::eal::release());
    let eal = eal.map_err(|sentence| {
        say(LogLevel::Error, &sentence);
        invalid
    })?;
    for warning in &eal.warnings {
        say(LogLevel::Warn, warning);
    }
    let name = string(&options.name)?;
    let reactor_mask = optional(&options.reactor_mask)?;
    let rpc_socket = optional(&options.rpc_socket)?;
    let config_file = optional(&options.config_file)?;
    let iova_mode = optional(&eal.iova_mode)?;
    let env_context = string(&eal.rest)?;
    let number = |value: Option<u32>| value.map_or(Ok(-1), i32::try_from).map_err(|_| invalid);
    let pointer = |value: &Option<CString>| value.as_ref().map_or(ptr::null(), |value| value.as_ptr());

    let app = spdk_sys::spdk_shim_app {
        name: name.as_ptr(),
        reactor_mask: pointer(&reactor_mask),
        env_context: if eal.rest.trim().is_empty() { ptr::null() } else { env_context.as_ptr() },
        rpc_addr: pointer(&rpc_socket),
        json_config_file: pointer(&config_file),
        iova_mode: pointer(&iova_mode),
        no_huge: eal.no_huge,
        single_file_segments: eal.single_file_segments,
        base_virtaddr: eal.base_virtaddr.unwrap_or(0),
        main_core: number(options.main_core)?,
        mem_size_mb: number(options.mem_mb)?,
        no_pci: options.no_pci,
        huge_unlink: options.huge_unlink,
        log: options.log.map(|_| log_line as _),
        shutdown: Some(shut_down),
        log_level: if options.log_verbose { spdk_sys::SPDK_LOG_DEBUG } else { spdk_sys::SPDK_LOG_NOTICE },
    };
    if RAN.swap(true, Ordering::Relaxed) {
        return Err(Error { call, errno: EALREADY });
    }
    if let Some(sink) = options.log {
        LOG_SINK.get_or_init(|| sink);
    }
    START.set(Some(Box::new(start_fn)));
    // SPDK begins with a part of the configuration.
    STAGE.set(if options.config_file.is_some() { Stage::Loading } else { Stage::Stoppable });
    // SAFETY: spdk_app_start (spdk/event.h) runs until the app stops; every string outlives it, also where SPDK
    // keeps it.
    let code = unsafe { spdk_sys::spdk_shim_app_start(&app, Some(start), ptr::null_mut()) };
    // What has not started by now never does.
    START.set(None);
    thread::forget_all();
    // SAFETY: after spdk_app_start has returned, as spdk/event.h wants.
    unsafe { spdk_sys::spdk_app_fini() };
    Ok(code)
}

/// Ends the app with exit code `code`, after all subsystems have finished. From any SPDK thread.
pub fn stop(code: i32) {
    // SAFETY: spdk_app_stop (spdk/event.h) may be called from any thread of a running app.
    unsafe { spdk_sys::spdk_app_stop(code) };
}

/// The reactors' cores, in ascending order. After the app started.
pub fn cores() -> Vec<u32> {
    let mut cores = Vec::new();
    // SAFETY: no conditions (spdk/env.h); UINT32_MAX ends the list.
    unsafe {
        let none = spdk_sys::spdk_shim_no_core();
        let mut core = spdk_sys::spdk_env_get_first_core();
        while core != none {
            cores.push(core);
            core = spdk_sys::spdk_env_get_next_core(core);
        }
    }
    cores
}

/// The core this thread's reactor runs on.
pub fn current_core() -> u32 {
    // SAFETY: no condition (spdk/env.h).
    unsafe { spdk_sys::spdk_env_get_current_core() }
}

/// The NUMA node of a core, where known.
pub fn numa_node(core: u32) -> Option<u32> {
    // SAFETY: takes any number (spdk/env.h).
    u32::try_from(unsafe { spdk_sys::spdk_shim_core_numa_node(core) }).ok()
}
