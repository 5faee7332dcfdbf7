//! Who does the work: SPDK threads, the messages between them, and pollers.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_int, c_void},
    fmt,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    app,
    error::{EINVAL, ENOMEM, ESRCH, Error, Result, check},
};

/// A handle on an SPDK thread, to send it work from anywhere. All handles on a thread know when it ends.
#[derive(Clone)]
pub struct Thread {
    /// SPDK's number of it, never used twice.
    id: u64,
    shared: Arc<Mutex<State>>,
}

/// What all handles on a thread share.
enum State {
    Live(Live),
    /// It takes no more messages, and is freed by SPDK sooner or later.
    Gone,
}

struct Live(NonNull<spdk_sys::spdk_thread>);

// SAFETY: the pointer is only used for spdk_thread_send_msg, which any thread may call (spdk/thread.h).
unsafe impl Send for Live {}

/// Every thread that a handle was made for, by number: a reactor each and a few of SPDK's.
static THREADS: Mutex<BTreeMap<u64, Arc<Mutex<State>>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells every handle that the app has ended, and SPDK's threads with it.
pub(crate) fn forget_all() {
    for shared in std::mem::take(&mut *lock(&THREADS)).into_values() {
        *lock(&shared) = State::Gone;
    }
}

type Message = Box<dyn FnOnce() + Send>;

extern "C" fn run_message(arg: *mut c_void) {
    // SAFETY: `send_raw` leaked exactly this Box for this one call.
    let message = unsafe { Box::from_raw(arg.cast::<Message>()) };
    message();
}

/// Gives the message back if SPDK refuses it, so that it is dropped where no lock is held: what is in it may send
/// messages as it goes.
///
/// # Safety
/// `thread` has not ended: it is the current one, or its state is locked and Live.
unsafe fn send_raw(
    thread: NonNull<spdk_sys::spdk_thread>,
    message: Message,
) -> std::result::Result<(), (Error, Message)> {
    let arg = Box::into_raw(Box::new(message));
    // SAFETY: a live thread (the caller's promise); run_message takes the Box back.
    let code = unsafe { spdk_sys::spdk_thread_send_msg(thread.as_ptr(), Some(run_message), arg.cast()) };
    // SAFETY: SPDK refused the message, so the Box is still ours.
    check("spdk_thread_send_msg", code).map_err(|error| (error, *unsafe { Box::from_raw(arg) }))
}

impl Thread {
    /// Makes a thread that only the reactor of `core` runs.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL byte and for a core without a reactor, `ENOMEM` if SPDK can't make one.
    pub fn pinned(name: &str, core: u32) -> Result<Self> {
        let call = "spdk_thread_create";
        let invalid = Error { call, errno: EINVAL };
        let name = CString::new(name).map_err(|_| invalid)?;
        if !app::cores().contains(&core) {
            return Err(invalid);
        }
        // SAFETY: spdk_thread_create (spdk/thread.h) copies the name and the mask, which has a bit for a core that
        // there is.
        let raw = unsafe { spdk_sys::spdk_shim_thread_create(name.as_ptr(), core) };
        let raw = NonNull::new(raw).ok_or(Error { call, errno: ENOMEM })?;
        // SAFETY: just made, and only a message of ours can end it.
        Ok(unsafe { Self::handle(raw) })
    }

    /// The thread this code runs on, if it is an SPDK thread.
    pub fn current() -> Option<Self> {
        // SAFETY: the current thread is live while this runs.
        current_raw().map(|raw| unsafe { Self::handle(raw) })
    }

    /// # Safety
    /// `raw` is live during this call.
    unsafe fn handle(raw: NonNull<spdk_sys::spdk_thread>) -> Self {
        // SAFETY: the caller's promise.
        let id = unsafe { number(raw) };
        let mut threads = lock(&THREADS);
        let shared = threads.entry(id).or_insert_with(|| Arc::new(Mutex::new(State::Live(Live(raw)))));
        Self { id, shared: Arc::clone(shared) }
    }

    /// Runs `work` on that thread, soon, and after what was sent before from here.
    ///
    /// # Errors
    /// `ESRCH` if [`Thread::exit`] was called or the app has ended; `ENOMEM` or `EIO` if SPDK is out of
    /// messages (26.05 ends the process then).
    pub fn send(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let message: Message = Box::new(work);
        let sent = match *lock(&self.shared) {
            // SAFETY: live, and its state is locked.
            State::Live(Live(thread)) => unsafe { send_raw(thread, message) },
            State::Gone => Err((Error { call: "spdk_thread_send_msg", errno: ESRCH }, message)),
        };
        sent.map_err(|(error, _)| error)
    }

    /// True on that thread.
    pub fn is_current(&self) -> bool {
        // SAFETY: the current thread is live while this runs.
        current_raw().is_some_and(|raw| unsafe { number(raw) } == self.id)
    }

    /// Ends the thread, after the messages sent so far; nothing can be sent to it from now on. Its pollers must
    /// be gone and its channels released, which the types see to if they are dropped in such a message. For
    /// threads made by [`Thread::pinned`]. Once the first call has succeeded, others do nothing.
    ///
    /// # Errors
    /// As [`Thread::send`]'s; the thread goes on then.
    pub fn exit(&self) -> Result<()> {
        let mut state = lock(&self.shared);
        let State::Live(Live(thread)) = *state else { return Ok(()) };
        let end = || {
            if let Some(current) = current_raw() {
                // SAFETY: spdk_thread_exit (spdk/thread.h) must run on the thread itself, as this does.
                unsafe { spdk_sys::spdk_thread_exit(current.as_ptr()) };
            }
        };
        // SAFETY: live, and its state is locked.
        unsafe { send_raw(thread, Box::new(end)) }.map_err(|(error, _)| error)?;
        *state = State::Gone;
        Ok(())
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Thread").field("id", &self.id).finish_non_exhaustive()
    }
}

fn current_raw() -> Option<NonNull<spdk_sys::spdk_thread>> {
    // SAFETY: no condition (spdk/thread.h); NULL outside SPDK threads.
    NonNull::new(unsafe { spdk_sys::spdk_get_thread() })
}

/// # Safety
/// `thread` is live during this call.
unsafe fn number(thread: NonNull<spdk_sys::spdk_thread>) -> u64 {
    // SAFETY: reads a live thread (spdk/thread.h).
    unsafe { spdk_sys::spdk_thread_get_id(thread.as_ptr()) }
}

/// Frees a Box that a C callback uses, when the one that may be running now, up the stack, has returned. On an
/// SPDK thread; elsewhere, or if SPDK is out of messages, it stays.
///
/// # Safety
/// `leaked` came from `Box::into_raw` on this thread, nothing uses it but a callback on this SPDK thread, and
/// none is called after this.
pub(crate) unsafe fn free_later<T: 'static>(leaked: NonNull<T>) {
    struct Leaked<T>(NonNull<T>);
    // SAFETY: it is sent from a thread to itself.
    unsafe impl<T> Send for Leaked<T> {}
    impl<T> Leaked<T> {
        fn free(self) {
            // SAFETY: `free_later`'s conditions; its callbacks have returned, for this is another one.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
    let leaked = Leaked(leaked);
    if let Some(current) = current_raw() {
        // SAFETY: the current thread.
        let _ = unsafe { send_raw(current, Box::new(move || leaked.free())) };
    }
}

/// What a poller runs: true if there was work to do.
type Turn = Box<dyn FnMut() -> bool>;

/// A function that the current SPDK thread calls again and again, until this handle is dropped.
///
/// Not `Send`: it belongs to the thread that registered it. It may be dropped by its own function.
pub struct Poller {
    raw: NonNull<spdk_sys::spdk_poller>,
    turn: NonNull<Turn>,
    /// A reactor runs several SPDK threads on one of the system's.
    owner: Thread,
}

extern "C" fn run_turn(arg: *mut c_void) -> c_int {
    // SAFETY: `register` leaked this Box, `Registered::end` frees it only after SPDK has forgotten the poller,
    // and one thread runs it, never nested.
    let turn = unsafe { &mut *arg.cast::<Turn>() };
    c_int::from(turn())
}

impl Poller {
    /// Registers `turn` with the current SPDK thread, every `period`; zero is every time around.
    ///
    /// # Errors
    /// `EINVAL` outside an SPDK thread, `ENOMEM`.
    pub fn register(period: Duration, turn: impl FnMut() -> bool + 'static) -> Result<Self> {
        let call = "spdk_poller_register";
        let invalid = Error { call, errno: EINVAL };
        let owner = Thread::current().ok_or(invalid)?;
        let microseconds = u64::try_from(period.as_micros()).map_err(|_| invalid)?;
        let turn: NonNull<Turn> = NonNull::from(Box::leak(Box::new(Box::new(turn) as Turn)));
        // SAFETY: on an SPDK thread, as spdk/thread.h wants; the Box lives until after the unregister.
        let raw =
            unsafe { spdk_sys::spdk_poller_register(Some(run_turn), turn.as_ptr().cast(), microseconds) };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: SPDK did not take it.
            drop(unsafe { Box::from_raw(turn.as_ptr()) });
            return Err(Error { call, errno: ENOMEM });
        };
        Ok(Self { raw, turn, owner })
    }
}

/// A poller and its function on their way to their end.
struct Registered(NonNull<spdk_sys::spdk_poller>, NonNull<Turn>);

// SAFETY: both are only used by `end`, on the thread that registered them.
unsafe impl Send for Registered {}

impl Registered {
    /// On the SPDK thread that registered it.
    fn end(self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: registered on this thread and, the handle being gone, unregistered once; SPDK does not call
        // the function after that.
        unsafe {
            spdk_sys::spdk_poller_unregister(&mut raw);
            free_later(self.1);
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let registered = Registered(self.raw, self.turn);
        if self.owner.is_current() {
            registered.end();
        } else {
            // A thread that has ended took its pollers with it; the function stays.
            let _ = self.owner.send(move || registered.end());
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Poller").field("owner", &self.owner).finish_non_exhaustive()
    }
}
