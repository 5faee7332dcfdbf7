//! SPDK threads, the messages between them, and pollers.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::{CString, c_int, c_void},
    fmt,
    ptr::{self, NonNull},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    cores::cores,
    error::{EINVAL, ENOMEM, ESRCH, Error, Result, check},
};

/// A handle on an SPDK thread, to send it messages from any thread of the process. The thread is one that
/// [`Thread::pinned`] made, or the app's; all its handles share one state.
#[derive(Clone)]
pub struct Thread {
    /// SPDK's number of the thread, never used twice.
    id: u64,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Made by [`Thread::pinned`], so that [`Thread::exit`] may end it.
    pinned: bool,
}

/// Whether a thread takes messages.
enum State {
    /// SPDK has not ended the thread: [`Gate`] sets `Gone` before that.
    Live(Live),
    /// It takes no more messages, and SPDK may have freed it.
    Gone,
}

struct Live(NonNull<spdk_sys::spdk_thread>);

// SAFETY: the pointer is only passed to spdk_thread_send_msg, which may be called on any thread (spdk/thread.h).
unsafe impl Send for Live {}

/// The state of every thread that has handles, by its number: the app's thread and one for each lcore.
static THREADS: Mutex<BTreeMap<u64, Arc<Shared>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks every thread as gone, after the app has ended and SPDK has freed them.
pub(crate) fn forget_all() {
    for shared in std::mem::take(&mut *lock(&THREADS)).into_values() {
        *lock(&shared.state) = State::Gone;
    }
}

type Message = Box<dyn FnOnce() + Send>;

extern "C" fn run_message(arg: *mut c_void) {
    // SAFETY: `send_raw` leaked this Box for one message, and SPDK runs a message once.
    let message = unsafe { Box::from_raw(arg.cast::<Message>()) };
    message();
}

/// Sends a message. Gives it back if SPDK refuses it, so that the caller drops it without a lock: its drop may send
/// messages.
///
/// # Safety
/// SPDK has not freed `thread`: it is the current one, or its state is locked and Live.
unsafe fn send_raw(
    thread: NonNull<spdk_sys::spdk_thread>,
    message: Message,
) -> std::result::Result<(), (Error, Message)> {
    let arg = Box::into_raw(Box::new(message));
    // SAFETY: spdk_thread_send_msg (spdk/thread.h) asks for a thread that is not freed, as the caller promises. It passes
    // `arg` to run_message once, which takes the Box back.
    let code = unsafe { spdk_sys::spdk_thread_send_msg(thread.as_ptr(), Some(run_message), arg.cast()) };
    // SAFETY: on an error SPDK has not taken the message, so this is the only owner of the Box.
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
        if current_raw().is_none() || !cores().contains(&core) {
            return Err(invalid);
        }
        // SAFETY: spdk_thread_create (spdk/thread.h) asks for an initialised thread library, and this is an SPDK thread. It
        // copies the name, and the shim's mask, which has a bit for a core that there is.
        let raw = unsafe { spdk_sys::spdk_shim_thread_create(name.as_ptr(), core) };
        let raw = NonNull::new(raw).ok_or(Error { call, errno: ENOMEM })?;
        // SAFETY: only messages end a thread that was just made, and it has none.
        let id = unsafe { number(raw) };
        let shared = Arc::new(Shared { state: Mutex::new(State::Live(Live(raw))), pinned: true });
        lock(&THREADS).insert(id, Arc::clone(&shared));
        let thread = Self { id, shared };
        let gated = thread.clone();
        // The first message. A thread does not end while it has messages, so the gate is there before it can.
        match thread.send(move || gated.place_gate()) {
            Ok(()) => Ok(thread),
            Err(error) => {
                thread.forget();
                Err(error)
            }
        }
    }

    /// The thread this code runs on, if [`Thread::pinned`] made it or it is the app's.
    pub fn current() -> Option<Self> {
        let raw = current_raw()?;
        // SAFETY: SPDK does not free the current thread while it runs.
        let id = unsafe { number(raw) };
        if let Some(shared) = lock(&THREADS).get(&id) {
            return Some(Self { id, shared: Arc::clone(shared) });
        }
        if !is_app_thread() {
            return None;
        }
        let shared = Arc::new(Shared { state: Mutex::new(State::Live(Live(raw))), pinned: false });
        lock(&THREADS).insert(id, Arc::clone(&shared));
        let thread = Self { id, shared };
        thread.place_gate();
        Some(thread)
    }

    /// The app's thread, once a handle on it was made there.
    pub(crate) fn app() -> Option<Self> {
        let threads = lock(&THREADS);
        let (id, shared) = threads.iter().find(|(_, shared)| !shared.pinned)?;
        Some(Self { id: *id, shared: Arc::clone(shared) })
    }

    /// On the thread itself: places its [`Gate`], and binds it to its reactor, so that closures of its pollers stay on
    /// one thread of the system.
    fn place_gate(&self) {
        let Some(raw) = current_raw() else { return self.forget() };
        // SAFETY: spdk_thread_bind (spdk/thread.h) takes a live thread, and the current one is.
        unsafe { spdk_sys::spdk_thread_bind(raw.as_ptr(), true) };
        if !Gate::place(self.clone()) {
            self.forget();
        }
    }

    /// Makes all handles refuse messages.
    fn forget(&self) {
        *lock(&self.shared.state) = State::Gone;
        lock(&THREADS).remove(&self.id);
    }

    /// Sends a message: `work` runs on that thread, after the messages that this thread sent before.
    ///
    /// # Errors
    /// `ESRCH` if [`Thread::exit`] was called or the app has ended; `ENOMEM` or `EIO` if SPDK is out of
    /// messages (26.01 and later end the process then).
    pub fn send(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let message: Message = Box::new(work);
        let sent = match *lock(&self.shared.state) {
            // SAFETY: the state is Live, and locked until the message is in the thread's queue.
            State::Live(Live(thread)) => unsafe { send_raw(thread, message) },
            State::Gone => Err((Error { call: "spdk_thread_send_msg", errno: ESRCH }, message)),
        };
        sent.map_err(|(error, _)| error)
    }

    /// Whether this code runs on that thread.
    #[inline]
    pub fn is_current(&self) -> bool {
        current_id() == self.id
    }

    /// SPDK's number of the thread.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ends a thread that [`Thread::pinned`] made, after the messages sent so far; it takes no more from now on. Drop its
    /// pollers and channels in an earlier message. Once a call has succeeded, others do nothing.
    ///
    /// # Errors
    /// As [`Thread::send`]'s; the thread goes on then. `EINVAL` for the app's thread.
    pub fn exit(&self) -> Result<()> {
        if !self.shared.pinned {
            return Err(Error { call: "spdk_thread_exit", errno: EINVAL });
        }
        let mut state = lock(&self.shared.state);
        let State::Live(Live(thread)) = *state else { return Ok(()) };
        let end = || {
            if let Some(current) = current_raw() {
                // SAFETY: spdk_thread_exit (spdk/thread.h) must be called on the thread itself, in a message, as this is.
                unsafe { spdk_sys::spdk_thread_exit(current.as_ptr()) };
            }
        };
        // SAFETY: the state is Live, and locked until the message is in the thread's queue.
        unsafe { send_raw(thread, Box::new(end)) }.map_err(|(error, _)| error)?;
        *state = State::Gone;
        drop(state);
        lock(&THREADS).remove(&self.id);
        Ok(())
    }
}

/// Sets a thread's state to `Gone` before SPDK frees the thread, whoever ends it.
///
/// It is a poller on that thread. After spdk_thread_exit SPDK polls a thread until it has neither messages nor pollers,
/// and only then marks it as exited and frees it (thread_exit in lib/thread/thread.c). So a message that was sent while the
/// state was Live still runs, and no message is sent to a thread that was freed.
struct Gate {
    poller: Cell<*mut spdk_sys::spdk_poller>,
    thread: Thread,
}

impl Gate {
    /// How often the gate looks whether the thread is to end.
    const PERIOD_MICROSECONDS: u64 = 10_000;

    /// Places the gate on the current thread, which is `thread`. False without memory for it.
    fn place(thread: Thread) -> bool {
        let gate = Box::into_raw(Box::new(Self { poller: Cell::new(ptr::null_mut()), thread }));
        // SAFETY: spdk_poller_register (spdk/thread.h) must be called on an SPDK thread, as this is. `look` gets the leaked
        // gate, which stays until it unregisters the poller itself.
        let poller = unsafe {
            spdk_sys::spdk_poller_register(Some(Self::look), gate.cast(), Self::PERIOD_MICROSECONDS)
        };
        if poller.is_null() {
            // SAFETY: SPDK did not take the gate, which was leaked above.
            drop(unsafe { Box::from_raw(gate) });
            return false;
        }
        // SAFETY: `look` runs on this thread, so not now, and nobody else has the gate.
        unsafe { (*gate).poller.set(poller) };
        true
    }

    extern "C" fn look(gate: *mut c_void) -> c_int {
        let gate = gate.cast::<Self>();
        let Some(current) = current_raw() else { return 0 };
        // SAFETY: spdk_thread_is_running (spdk/thread.h) reads a live thread, and the current one is.
        if unsafe { spdk_sys::spdk_thread_is_running(current.as_ptr()) } {
            return 0;
        }
        // SAFETY: `place` leaked the gate for this function, which is called with it until the poller is unregistered.
        let gate = unsafe { Box::from_raw(gate) };
        gate.thread.forget();
        let mut poller = gate.poller.get();
        // SAFETY: spdk_poller_unregister (spdk/thread.h) takes a poller on the thread that registered it, also in its own
        // function; SPDK does not call that again.
        unsafe { spdk_sys::spdk_poller_unregister(&mut poller) };
        0
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Thread").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether this code runs on the app's thread.
pub(crate) fn is_app_thread() -> bool {
    // SAFETY: spdk_thread_is_app_thread (spdk/thread.h) looks at the current thread if it gets NULL. Before there is an
    // app, it would take no thread for the app's.
    current_raw().is_some() && unsafe { spdk_sys::spdk_thread_is_app_thread(ptr::null_mut()) }
}

fn current_raw() -> Option<NonNull<spdk_sys::spdk_thread>> {
    // SAFETY: spdk_get_thread (spdk/thread.h) has no condition; it returns NULL outside of SPDK threads.
    NonNull::new(unsafe { spdk_sys::spdk_get_thread() })
}

/// SPDK's number of the thread that this code runs on; 0 outside of SPDK threads, whose numbers start from 1.
#[inline]
pub(crate) fn current_id() -> u64 {
    // SAFETY: SPDK does not free the current thread while it runs.
    current_raw().map_or(0, |raw| unsafe { number(raw) })
}

/// # Safety
/// SPDK does not free `thread` during this call.
unsafe fn number(thread: NonNull<spdk_sys::spdk_thread>) -> u64 {
    // SAFETY: spdk_thread_get_id (spdk/thread.h) reads a live thread, as the caller promises.
    unsafe { spdk_sys::spdk_thread_get_id(thread.as_ptr()) }
}

/// Frees a Box that a C callback uses, by a message, so after a callback that may be running now, up the stack. Outside of
/// SPDK threads, and if SPDK is out of messages, the Box stays.
///
/// # Safety
/// `leaked` came from `Box::into_raw` on this thread. Only a callback on this SPDK thread uses it, and none is called after
/// this.
pub(crate) unsafe fn free_later<T: 'static>(leaked: NonNull<T>) {
    struct Leaked<T>(NonNull<T>);
    // SAFETY: `free_later` sends it from a thread to itself.
    unsafe impl<T> Send for Leaked<T> {}
    impl<T> Leaked<T> {
        fn free(self) {
            // SAFETY: the Box is leaked, as the caller of `free_later` promises. This message is no callback that uses
            // it, and none is called any more.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
    let leaked = Leaked(leaked);
    if let Some(current) = current_raw() {
        // SAFETY: SPDK does not free the current thread while it runs.
        let sent = unsafe { send_raw(current, Box::new(move || leaked.free())) };
        // Dropping a refused message does not free the Box: a callback may be using it.
        drop(sent);
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
    /// The SPDK thread of the poller: a reactor runs several on one thread of the system.
    owner: Thread,
}

extern "C" fn run_turn(arg: *mut c_void) -> c_int {
    // SAFETY: `register` leaked this Box. `Registered::end` frees it by a message after the poller is unregistered. Only
    // this function uses it, on one thread, which does not poll itself while a poller runs.
    let turn = unsafe { &mut *arg.cast::<Turn>() };
    c_int::from(turn())
}

impl Poller {
    /// Registers `turn` with the current SPDK thread, every `period`; zero is every time around.
    ///
    /// # Errors
    /// `EINVAL` outside the threads of [`Thread::current`], `ENOMEM`.
    pub fn register(period: Duration, turn: impl FnMut() -> bool + 'static) -> Result<Self> {
        let call = "spdk_poller_register";
        let invalid = Error { call, errno: EINVAL };
        let owner = Thread::current().ok_or(invalid)?;
        let microseconds = u64::try_from(period.as_micros()).map_err(|_| invalid)?;
        let turn: NonNull<Turn> = NonNull::from(Box::leak(Box::new(Box::new(turn) as Turn)));
        // SAFETY: spdk_poller_register (spdk/thread.h) must be called on an SPDK thread, as this is. The Box is freed after
        // the poller is unregistered.
        let raw =
            unsafe { spdk_sys::spdk_poller_register(Some(run_turn), turn.as_ptr().cast(), microseconds) };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: SPDK did not take the Box, which was leaked above.
            drop(unsafe { Box::from_raw(turn.as_ptr()) });
            return Err(Error { call, errno: ENOMEM });
        };
        Ok(Self { raw, turn, owner })
    }
}

/// A poller to be unregistered, and its function.
struct Registered(NonNull<spdk_sys::spdk_poller>, NonNull<Turn>);

// SAFETY: only `end` uses both, on the thread that registered them: `Poller::drop` calls it there, or sends it there.
unsafe impl Send for Registered {}

impl Registered {
    /// On the SPDK thread that registered it.
    fn end(self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: spdk_poller_unregister (spdk/thread.h) takes a poller on the thread that registered it, as this is, once:
        // the handle, which is dropped, was the only one.
        unsafe { spdk_sys::spdk_poller_unregister(&mut raw) };
        // SAFETY: `register` leaked the Box on this thread for the poller, which SPDK does not call after it is
        // unregistered.
        unsafe { free_later(self.1) };
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let registered = Registered(self.raw, self.turn);
        if self.owner.is_current() {
            registered.end();
        } else {
            // A thread that has ended took its pollers with it, and the function stays allocated.
            self.owner.send(move || registered.end()).unwrap_or_default();
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Poller").field("owner", &self.owner).finish_non_exhaustive()
    }
}
