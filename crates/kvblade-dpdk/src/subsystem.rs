//! Start and stop: the subsystem `aoe` among SPDK's, after `bdev`.

use std::ffi::CStr;

use spdk::{Finished, Initialized, Subsystem};

use crate::target;

/// Ports, lcores and exports, as SPDK starts, saves and stops them.
pub(crate) struct AoeSubsystem;

impl Subsystem for AoeSubsystem {
    const NAME: &'static CStr = c"aoe";
    const DEPENDS: &'static [&'static CStr] = &[c"bdev"];

    fn init(done: Initialized) {
        target::start(done);
    }

    fn fini(done: Finished) {
        target::stop(done);
    }

    fn config() -> String {
        target::config().to_string()
    }
}
