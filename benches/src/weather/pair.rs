//! Two threads at work at the same time, each bound to a core.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs both, each on its core, from the same moment on. Returns when both are done.
///
/// # Errors
/// If a thread can't be bound to its core; then neither runs.
pub(super) fn run<A: Send, B: Send>(
    first: (usize, impl FnOnce() -> A + Send),
    second: (usize, impl FnOnce() -> B + Send),
) -> Result<(A, B)> {
    let (both, failed) = (&Barrier::new(2), &AtomicBool::new(false));
    std::thread::scope(|scope| {
        let first = scope.spawn(move || bound(first.0, first.1, both, failed));
        let second = scope.spawn(move || bound(second.0, second.1, both, failed));
        let panicked = |_| anyhow!("a probe's thread panicked");
        let (first, second) = (first.join().map_err(panicked)?, second.join().map_err(panicked)?);
        // Of two, the one that failed says why.
        match (first, second) {
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(Some(first)), Ok(Some(second))) => Ok((first, second)),
            (Ok(_), Ok(_)) => Err(anyhow!("a probe did not run")),
        }
    })
}

fn bound<T>(cpu: usize, work: impl FnOnce() -> T, both: &Barrier, failed: &AtomicBool) -> Result<Option<T>> {
    let done = bind(cpu);
    if done.is_err() {
        failed.store(true, Ordering::Relaxed);
    }
    both.wait();
    done?;
    Ok((!failed.load(Ordering::Relaxed)).then(work))
}

/// Binds the calling thread to a core.
fn bind(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("core {cpu}"))
}
