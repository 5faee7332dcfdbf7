//! Ctrl-C and SIGTERM as a flag, so that what was set up is taken down in order.
//!
//! A handler that sets a flag and not a blocked signal with a thread waiting for it: the processes a bench starts
//! would inherit the blocked mask, and a target that never sees SIGTERM cannot be stopped.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The flag that SIGINT and SIGTERM set from now on.
///
/// # Errors
/// If a handler cannot be installed.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("installing a signal handler")?;
    }
    Ok(stop)
}
