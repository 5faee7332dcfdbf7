//! EAL, which starts once in a process: without hugepages, devices and files.

use std::path::Path;
use std::sync::OnceLock;

use dpdk::{EalStarted, eal};

/// Starts EAL, the first time.
pub(crate) fn start_eal() -> EalStarted {
    static STARTED: OnceLock<EalStarted> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let prefix = format!("aoeperf-test-{}", std::process::id());
        let file_prefix = format!("--file-prefix={prefix}");
        let words = [
            "test",
            "--no-huge",
            "-m",
            "512",
            "--no-pci",
            "--no-shconf",
            "--no-telemetry",
            "-l",
            "0",
            &file_prefix,
        ];
        let started = eal::init(&words.map(str::to_owned)).expect("EAL starts without hugepages");
        // EAL makes this directory and leaves it empty; users other than root have none.
        std::fs::remove_dir(Path::new("/run/dpdk").join(prefix)).unwrap_or_default();
        started
    })
}
