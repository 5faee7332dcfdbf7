//! The app: SPDK's event framework, from the start of its reactors to their end, and its log.

use std::{
    cell::RefCell,
    ffi::{CString, c_char, c_int, c_void},
    marker::PhantomData,
    ptr, slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    app_thread::AppThread,
    c_string::text,
    eal_arguments::EalArguments,
    error::{EALREADY, EINVAL, Error, Result},
    file,
    rpc::{self, Method},
    stage::{self, Stage},
    subsystem::{self, Subsystem},
    thread,
};
pub use crate::{
    cores::{cores, current_core, numa_node},
    stage::asked_to_stop,
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
    /// Its level.
    pub level: LogLevel,
    /// The C file, line and function that wrote it.
    pub file: &'a str,
    /// The line in it.
    pub line: i32,
    /// The function.
    pub function: &'a str,
    /// Its text, without a line end.
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

/// Receives a log line, on the thread that logs it.
pub type LogSink = fn(LogLine<'_>);

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();

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
    // SAFETY: log_line in the shim, the only caller, passes a NUL-terminated string, which stays during the call.
    let file = unsafe { text(file) };
    // SAFETY: as for the file.
    let function = unsafe { text(function) };
    // SAFETY: the shim passes a buffer of its own with `length` bytes in it, and waits for this function to return.
    let message = unsafe { slice::from_raw_parts(message.cast::<u8>(), length) };
    let message = String::from_utf8_lossy(message);
    sink(LogLine { level, file: &file, line, function: &function, text: &message });
}

/// SPDK's name and version, as "SPDK v26.01".
pub fn version() -> String {
    // SAFETY: the shim returns a literal.
    let version = unsafe { spdk_sys::spdk_shim_version() };
    // SAFETY: a NUL-terminated literal.
    unsafe { text(version) }
}

/// From now on the programs that this process starts get no descriptor of it but 0, 1 and 2. DPDK and SPDK open theirs without
/// O_CLOEXEC, so locks and memory would stay with those programs. Any thread.
///
/// # Errors
/// The kernel's.
pub fn close_on_exec() -> Result<()> {
    // SAFETY: the shim only changes flags of descriptors, which no code of this process sees.
    let errno = unsafe { spdk_sys::spdk_shim_close_on_exec() };
    if errno == 0 { Ok(()) } else { Err(Error { call: "close_range", errno }) }
}

/// The release SPDK was built as: year and month, such as (26, 1).
pub(crate) fn release() -> (u32, u32) {
    (spdk_sys::SPDK_VERSION_MAJOR, spdk_sys::SPDK_VERSION_MINOR)
}

/// What to do once the subsystems are up and the configuration is carried out.
type Start = Box<dyn FnOnce(AppThread<'_>)>;

thread_local! {
    static START: RefCell<Option<Start>> = const { RefCell::new(None) };
}

extern "C" fn start(_: *mut c_void) {
    // SAFETY: spdk_app_start calls its start function on the app's thread (spdk/event.h); the proof is not kept beyond
    // this call.
    let app = unsafe { AppThread::new() };
    if !stage::enter_stoppable(app)
        && let Some(start) = START.take()
    {
        start(app);
    }
}

/// SIGINT or SIGTERM.
extern "C" fn shut_down() {
    // SAFETY: SPDK calls shutdown_cb on the app's thread (the handler of the signal sends a
    // message there, lib/event/app.c); the proof is not kept beyond this call.
    stage::ask_to_stop(unsafe { AppThread::new() });
}

/// The app before it runs, of which there is one in a process. Subsystems and RPC methods are added to it.
///
/// Not `Send`: they are added on the thread that runs it.
#[derive(Debug)]
pub struct App {
    _this_thread: PhantomData<*mut ()>,
}

impl App {
    /// Takes the app.
    ///
    /// # Errors
    /// `EALREADY` the second time.
    pub fn new() -> Result<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(Error { call: "spdk_app_start", errno: EALREADY });
        }
        file::attach();
        rpc::register::<file::rpc::Create>();
        rpc::register::<file::rpc::Delete>();
        rpc::register::<file::rpc::Rescan>();
        Ok(Self { _this_thread: PhantomData })
    }

    /// Adds a subsystem. A second one of the same name is an error of SPDK's start.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn add_subsystem<S: Subsystem>(&mut self) -> Result<()> {
        // SAFETY: the app does not run yet, for running consumes it, and there is no other App, so this is the only thread
        // that uses SPDK's list of subsystems.
        unsafe { subsystem::add::<S>() }
    }

    /// Whether a subsystem of that name is linked into this program, or was added.
    pub fn has_subsystem(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: spdk_subsystem_exists (spdk/init.h) reads SPDK's list of subsystems, and the name, which is
        // NUL-terminated. No other thread uses the list, as in `add_subsystem`.
        unsafe { spdk_sys::spdk_subsystem_exists(name.as_ptr()) }
    }

    /// Registers an RPC method; once per name.
    pub fn register<M: Method>(&mut self) {
        rpc::register::<M>();
    }
}

impl App {
    /// Runs the event framework on this thread until [`AppThread::stop`], SIGINT or SIGTERM, and returns its exit code;
    /// by then all subsystems are finished.
    ///
    /// `start_fn` runs on the app's SPDK thread, which is this thread. A signal that comes while the configuration is
    /// carried out takes effect after that, instead of `start_fn`.
    ///
    /// # Errors
    /// `EINVAL` if an option has a NUL byte, or SPDK can't pass on an EAL argument, which is then logged.
    pub fn run(self, options: &AppOptions, start_fn: impl FnOnce(AppThread<'_>) + 'static) -> Result<i32> {
        run(options, Box::new(start_fn))
    }
}

fn run(options: &AppOptions, start_fn: Start) -> Result<i32> {
    let call = "spdk_app_start";
    let invalid = Error { call, errno: EINVAL };
    let string = |value: &str| CString::new(value).map_err(|_| invalid);
    let optional = |value: &Option<String>| value.as_deref().map(string).transpose();
    let log = |level, text: &str| {
        if let Some(sink) = options.log {
            sink(LogLine { level, file: file!(), line: 0, function: "run", text });
        }
    };
    let eal = EalArguments::sort(&options.eal_arguments, release(), dpdk::eal::release());
    let eal = eal.map_err(|sentence| {
        log(LogLevel::Error, &sentence);
        invalid
    })?;
    for warning in &eal.warnings {
        log(LogLevel::Warn, warning);
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
    if let Some(sink) = options.log {
        LOG_SINK.get_or_init(|| sink);
    }
    START.set(Some(start_fn));
    // SPDK begins with a part of the configuration.
    stage::enter(if options.config_file.is_some() { Stage::Loading } else { Stage::Stoppable });
    // SAFETY: spdk_app_start (spdk/event.h) asks for options whose strings are NULL or NUL-terminated. They live in this
    // function until it returns; SPDK keeps none beyond spdk_app_fini. It is called once: there was one App.
    let code = unsafe { spdk_sys::spdk_shim_app_start(&app, Some(start), ptr::null_mut()) };
    // An app that did not get so far never starts.
    START.set(None);
    thread::forget_all();
    // SAFETY: spdk_app_fini (spdk/event.h) is to be called once, after spdk_app_start has returned.
    unsafe { spdk_sys::spdk_app_fini() };
    Ok(code)
}
