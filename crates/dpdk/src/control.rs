//! One caller at a time for ethdev's control functions.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The right to call ethdev's control functions: those on whole ports, not those on a queue's frames.
///
/// rte_ethdev.h: they "are assumed not to be invoked in parallel on different logical cores to work on the same target
/// object". Control planes run on one thread, so the lock is free nearly always.
#[derive(Debug)]
pub(crate) struct Control(#[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, ()>);

static CONTROL: Mutex<()> = Mutex::new(());

impl Control {
    /// Waits for the right.
    pub(crate) fn lock() -> Self {
        Self(CONTROL.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The right if no other thread has it, for an lcore, which does not wait.
    pub(crate) fn try_lock() -> Option<Self> {
        match CONTROL.try_lock() {
            Ok(guard) => Some(Self(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Self(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
