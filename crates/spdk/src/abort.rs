//! The last moments of a process that aborts, by a panic or by an assertion of C code.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

static WAIT: OnceLock<(&'static AtomicUsize, Duration)> = OnceLock::new();

extern "C" fn aborting(_: i32) {
    if let Some((pending, limit)) = WAIT.get() {
        let begun = Instant::now();
        while pending.load(Ordering::Acquire) > 0 && begun.elapsed() < *limit {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // SA_RESETHAND has brought the default action back, which ends the process when this handler returns. A signal that a
    // process sent would otherwise be over now; abort(3) raises its own again.
    raise(Signal::SIGABRT).unwrap_or_default();
}

/// From now on a process that aborts first waits until other threads have brought `pending` to 0, `limit` at most: until
/// the last log lines are written, for instance. Only the first call counts.
///
/// # Errors
/// Those of sigaction(2).
pub fn wait_on_abort(pending: &'static AtomicUsize, limit: Duration) -> io::Result<()> {
    if WAIT.set((pending, limit)).is_err() {
        return Ok(());
    }
    let action = SigAction::new(SigHandler::Handler(aborting), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: sigaction (nix) asks for a handler that is async-signal-safe. This one reads a OnceLock that was set before
    // the handler was installed, and an atomic, and calls clock_gettime, nanosleep and raise.
    unsafe { sigaction(Signal::SIGABRT, &action) }?;
    Ok(())
}
