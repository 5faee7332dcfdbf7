//! EAL for tests: without hugepages, devices and files. It starts once in a process.

use std::path::Path;
use std::sync::OnceLock;

use dpdk::{EalStarted, eal};

/// Starts EAL with so much memory of the process's own, the first time. Later calls return the same, whatever they ask for.
pub(crate) fn start_eal_with(mebibytes: u32) -> EalStarted {
    static STARTED: OnceLock<EalStarted> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let prefix = format!("dpdk-test-{}", std::process::id());
        let file_prefix = format!("--file-prefix={prefix}");
        let memory = mebibytes.to_string();
        let words = [
            "test",
            "--no-huge",
            "-m",
            &memory,
            "--no-pci",
            "--no-shconf",
            "--no-telemetry",
            "-l",
            "0",
            &file_prefix,
        ];
        assert_eq!(EalStarted::get(), None, "not yet");
        let started = eal::init(&words.map(str::to_owned)).expect("EAL starts without hugepages");
        // EAL makes this directory and leaves it empty; users other than root have none.
        std::fs::remove_dir(Path::new("/run/dpdk").join(prefix)).unwrap_or_default();
        assert_eq!(EalStarted::get(), Some(started));
        started
    })
}
