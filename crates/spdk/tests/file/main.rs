//! The bdev module `file` in a running app, with two reactors where there are two CPUs, and without hugepages or devices.
//!
//! SPDK's app runs once in a process, on the main thread: this test brings its own main.

mod bench;
mod directory;
mod failures;
mod lcores;
mod loop_device;
mod modes;
mod refusals;
mod reset;
#[path = "../app/runner.rs"]
mod runner;
mod stacks;
#[path = "../app/step.rs"]
mod step;

use std::cell::RefCell;
use std::rc::Rc;

use spdk::App;

use directory::directory;
use spdk::app::AppOptions;

/// Whether there is a second CPU, and so a second reactor.
pub(crate) fn has_two() -> bool {
    std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1)
}

fn main() {
    if let Err(error) = spdk::file::io_uring_available() {
        println!("skipped: {error}");
        return;
    }
    std::fs::create_dir_all(directory()).expect("room for a directory");
    let app = App::new().expect("the first in this process");
    let options = AppOptions {
        name: "spdk-file-test".into(),
        eal_arguments: "--no-huge --legacy-mem".into(),
        reactor_mask: Some(if has_two() { "[0-1]" } else { "[0]" }.into()),
        mem_mb: Some(1024),
        no_pci: true,
        rpc_socket: Some(step::socket().display().to_string()),
        ..AppOptions::default()
    };
    let results = Rc::new(RefCell::new((0, 0)));
    let outcome = Rc::clone(&results);
    let code = app.run(&options, move |_| {
        let mut tests = refusals::all();
        tests.extend(modes::all());
        tests.extend(stacks::all());
        tests.extend(lcores::all());
        tests.extend(failures::all());
        tests.extend(reset::all());
        runner::run_all(tests, &outcome);
    });
    std::fs::remove_dir_all(directory()).expect("it was there");
    // EAL made a directory by SPDK's name for it, and leaves it.
    std::fs::remove_dir_all(format!("/run/dpdk/spdk_pid{}", std::process::id())).unwrap_or_default();
    assert_eq!(code, Ok(0));
    runner::finish(*results.borrow());
}
