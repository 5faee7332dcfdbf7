//! The moments at which a memif port's peer may come and go.
//!
//! DPDK's memif PMD serves its control socket on EAL's interrupt thread. When the peer closes that socket, or is killed, this
//! thread unmaps the rings at once (`memif_disconnect`, DPDK `memif_socket.c`), while an lcore may be reading them; no
//! event comes before that. So the interrupt thread is held in a callback of ours nearly always. It is let go for one pass
//! over its sockets every [`PERIOD`], and for that time no queue of a memif port enters the PMD.

use std::{
    ffi::c_void,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use crate::{
    error::{Result, check},
    gate::Gates,
    interrupt_pass::InterruptPass,
};

/// The time between two passes. A pass serves one message of each peer, and it takes about ten to connect.
const PERIOD: Duration = Duration::from_millis(10);

/// The time between two looks at a burst that runs or a control function that works.
const LOOK: Duration = Duration::from_micros(20);

/// Until the callback runs for the first time, the thread is where it wants.
static PASS: LazyLock<InterruptPass> = LazyLock::new(InterruptPass::running);
static PORTS: Mutex<Vec<Weak<Gates>>> = Mutex::new(Vec::new());
static REGISTERED: Mutex<bool> = Mutex::new(false);

/// The interrupt thread is held for as long as this exists.
#[derive(Debug)]
pub(crate) struct Held(());

fn ports() -> MutexGuard<'static, Vec<Weak<Gates>>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes these gates, which are closed now, at each pass from now on, and opens them between two.
///
/// # Errors
/// EAL's, if it takes no callback.
pub(crate) fn guard(gates: &Arc<Gates>) -> Result<()> {
    ports().push(Arc::downgrade(gates));
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*registered {
        // SAFETY: atexit (stdlib.h) takes any function that returns.
        let code = unsafe { dpdk_sys::dpdk_shim_at_exit(Some(hold_for_ever)) };
        check("atexit", code)?;
        // SAFETY: the shim registers the function with EAL's interrupts, which have started with EAL: a port exists. The
        // function takes any argument, and can be called as long as the program runs.
        let code = unsafe { dpdk_sys::dpdk_shim_on_interrupt_thread(Some(hold)) };
        check("rte_intr_callback_register", code)?;
        *registered = true;
    }
    Ok(())
}

/// Leaves these gates to the caller: no pass opens them any more, until [`guard`] is called again.
pub(crate) fn release(gates: &Arc<Gates>) {
    ports().retain(|port| !std::ptr::eq(port.as_ptr(), Arc::as_ptr(gates)));
}

/// Holds the interrupt thread outside of the PMD, for control functions that do the same work as it. `None` if no port was
/// ever guarded.
pub(crate) fn hold_for_control() -> Option<Held> {
    if !*REGISTERED.lock().unwrap_or_else(PoisonError::into_inner) {
        return None;
    }
    while !PASS.claim() {
        thread::sleep(LOOK);
    }
    Some(Held(()))
}

impl Drop for Held {
    fn drop(&mut self) {
        PASS.give_back();
    }
}

/// At the exit of the process, before EAL frees what the interrupt thread looks at in a pass.
extern "C" fn hold_for_ever() {
    std::mem::forget(hold_for_control());
}

/// EAL's interrupt thread calls this after each pass.
extern "C" fn hold(_: *mut c_void) {
    PASS.end();
    let guarded: Vec<Arc<Gates>> = {
        let mut ports = ports();
        ports.retain(|port| port.strong_count() > 0);
        let guarded: Vec<Arc<Gates>> = ports.iter().filter_map(Weak::upgrade).collect();
        // Under the lock, so that gates that were released stay as their owner wants them.
        guarded.iter().for_each(|gates| gates.open());
        guarded
    };
    thread::sleep(PERIOD);
    guarded.iter().for_each(|gates| {
        while !gates.close() {
            thread::sleep(LOOK);
        }
    });
    while !PASS.begin() {
        thread::sleep(LOOK);
    }
}
