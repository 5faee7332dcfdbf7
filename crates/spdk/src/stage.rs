//! How far the app's start is, and whether a signal may end the app now.

use std::cell::Cell;

use crate::app_thread::AppThread;

/// A part of the app's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Subsystems start, or all is up: the app may stop at once.
    Stoppable,
    /// The configuration is carried out, by RPCs. SPDK does not end these when it stops: they would go on with
    /// subsystems that are gone (seen with 26.05: a malloc bdev made after the accel framework's end).
    Loading,
}

thread_local! {
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Stoppable) };
    /// A signal has asked for the end.
    static ASKED_TO_STOP: Cell<bool> = const { Cell::new(false) };
}

/// Enters a stage; on the thread that runs the app.
pub(crate) fn enter(stage: Stage) {
    STAGE.set(stage);
}

/// Enters the stage in which the app may stop, and stops it if a signal has come meanwhile. True if so.
pub(crate) fn enter_stoppable(app: AppThread<'_>) -> bool {
    STAGE.set(Stage::Stoppable);
    let asked = ASKED_TO_STOP.get();
    if asked {
        app.stop(0);
    }
    asked
}

/// Takes a signal: stops the app now, or when its stage allows.
pub(crate) fn ask_to_stop(app: AppThread<'_>) {
    ASKED_TO_STOP.set(true);
    if STAGE.get() == Stage::Stoppable {
        app.stop(0);
    }
}

/// Whether a signal has come that is to end the app. False on other threads than the app's.
pub fn asked_to_stop() -> bool {
    ASKED_TO_STOP.get()
}
