//! The subsystem `aoe` among SPDK's, after `bdev`.

use std::ffi::CStr;

use spdk::{AppThread, Finished, Initialized, Subsystem};

use crate::{management, target};

/// Starts, saves and stops ports, lcores and exports with SPDK's subsystems.
pub(crate) struct AoeSubsystem;

impl Subsystem for AoeSubsystem {
    const NAME: &'static CStr = c"aoe";
    const DEPENDS: &'static [&'static CStr] = &[c"bdev"];

    fn init(app: AppThread<'_>, done: Initialized) {
        target::start(app, done);
    }

    fn fini(_: AppThread<'_>, done: Finished) {
        management::stop();
        target::stop(done);
    }

    fn config(app: AppThread<'_>) -> String {
        target::config(app).to_string()
    }
}
