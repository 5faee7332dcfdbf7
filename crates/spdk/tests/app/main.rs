//! SPDK's threads, pollers, bdevs and RPCs in a running app, without hugepages, devices or ports.
//!
//! SPDK's app runs once in a process, on the main thread: this test brings its own main. Everything here is on
//! one reactor, as the target's control plane and its first lcore are.

mod aborts;
mod bdevs;
mod bounces;
mod file_flush;
mod io_submit;
mod runner;
mod step;
mod threads;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use spdk::app::AppOptions;
use spdk::{App, AppThread, Finished, Initialized, Subsystem, Thread, rpc};

use step::{Step, asks, chain, socket};

thread_local! {
    /// What the subsystem heard.
    static HEARD: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

struct Witness;

impl Subsystem for Witness {
    const NAME: &'static std::ffi::CStr = c"witness";
    const DEPENDS: &'static [&'static std::ffi::CStr] = &[c"bdev"];

    fn init(_: AppThread<'_>, done: Initialized) {
        HEARD.with_borrow_mut(|heard| heard.push("init"));
        done.succeed();
    }

    fn fini(_: AppThread<'_>, _: Finished) {
        HEARD.with_borrow_mut(|heard| heard.push("fini"));
        assert!(!socket().exists(), "RPCs have ended before subsystems do");
    }

    fn config(_: AppThread<'_>) -> String {
        json!([{ "method": "witness", "params": { "heard": true } }]).to_string()
    }
}

struct Echo;

impl rpc::Method for Echo {
    const NAME: &'static std::ffi::CStr = c"echo";

    fn call(params: Option<&str>, request: rpc::Request) {
        match params {
            Some("{\"give\":\"up\"}") => drop(request),
            Some("{\"fail\":true}") => request.error(rpc::INVALID_PARAMS, "as you say"),
            Some(params) => request.result(params),
            None => request.result("null"),
        }
    }
}

fn all() -> Vec<(&'static str, Step)> {
    let mut tests = threads::all();
    tests.extend(bdevs::all());
    tests.extend(aborts::all());
    tests.extend(bounces::all());
    tests.extend(file_flush::all());
    tests.push(("a_method_answers_fails_or_gives_up", methods()));
    tests.push((
        "a_subsystems_configuration_is_saved",
        asks("framework_get_config", json!({ "name": "witness" }), |answer| {
            assert_eq!(answer["result"], json!([{ "method": "witness", "params": { "heard": true } }]));
        }),
    ));
    tests
}

fn long() -> Value {
    json!({ "long": "ü".repeat(5000), "odd": format!("x{}", "ü".repeat(5000)) })
}

fn methods() -> Step {
    let error = |answer: &Value| (answer["error"]["code"].clone(), answer["error"]["message"].clone());
    chain(vec![
        asks("echo", json!({ "a": [1, "ü", null] }), |answer| {
            assert_eq!(answer["result"], json!({ "a": [1, "ü", null] }));
        }),
        // More than SPDK writes at once, with characters on its borders.
        asks("echo", long(), |answer| assert_eq!(answer["result"], long())),
        asks("echo", Value::Null, |answer| assert_eq!(answer.get("result"), Some(&Value::Null))),
        asks("echo", json!({ "fail": true }), move |answer| {
            assert_eq!(error(&answer), (json!(-32602), json!("as you say")));
        }),
        asks("echo", json!({ "give": "up" }), move |answer| {
            assert_eq!(error(&answer), (json!(-32603), json!("the target gave this call up")));
        }),
    ])
}

fn main() {
    let directory = std::env::temp_dir();
    let config = directory.join(format!("spdk-app-test-{}.json", std::process::id()));
    let bdevs = ["m0", "m1", "m2", "m3"]
        .map(|name| json!({ "method": "bdev_malloc_create", "params": { "name": name, "num_blocks": 2048, "block_size": 512 } }));
    let document = json!({ "subsystems": [{ "subsystem": "bdev", "config": bdevs }] });
    std::fs::write(&config, document.to_string()).expect("a temporary file");
    let mut app = App::new().expect("the first in this process");
    app.add_subsystem::<Witness>().expect("memory");
    app.register::<Echo>();
    assert!(app.has_subsystem("witness") && app.has_subsystem("bdev") && !app.has_subsystem("none"));
    AppThread::with(|_| ()).expect_err("no app runs");
    let options = AppOptions {
        name: "spdk-app-test".into(),
        eal_arguments: "--no-huge --legacy-mem".into(),
        mem_mb: Some(1024),
        no_pci: true,
        rpc_socket: Some(socket().display().to_string()),
        config_file: Some(config.display().to_string()),
        ..AppOptions::default()
    };
    let results = Rc::new(RefCell::new((0u32, 0u32)));
    let outcome = Rc::clone(&results);
    let sender = Rc::new(RefCell::new(None));
    let noted = Rc::clone(&sender);
    let code = app.run(&options, move |_| {
        let app_thread = Thread::current().expect("the app's thread");
        *noted.borrow_mut() = Some(std::thread::spawn(move || send_until_refused(&app_thread)));
        runner::run_all(all(), &outcome);
    });
    let refusal = sender.take().expect("start ran").join().expect("it ends with a refusal");
    finish(&config, code, &refusal, *results.borrow());
}

/// Sends messages to the app's thread while the app runs and while it ends, until there is no such thread any more. Every
/// message that was taken has run.
fn send_until_refused(app_thread: &Thread) -> spdk::Error {
    /// SPDK ends the process when the ring of messages is full, which has room for 65,536.
    const WAITING_MAX: usize = 100;
    let waiting = Arc::new(AtomicUsize::new(0));
    loop {
        if waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            std::thread::yield_now();
            continue;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let run = Arc::clone(&waiting);
        if let Err(error) = app_thread.send(move || _ = run.fetch_sub(1, Ordering::Relaxed)) {
            // All but the refused one run before SPDK ends the thread.
            while waiting.load(Ordering::Relaxed) > 1 {
                std::thread::yield_now();
            }
            return error;
        }
    }
}

/// What holds after the app has ended, and the result.
fn finish(config: &Path, code: spdk::Result<i32>, refusal: &spdk::Error, (passed, failed): (u32, u32)) {
    std::fs::remove_file(config).expect("the configuration was there");
    // EAL made a directory by SPDK's name for it, and leaves it.
    std::fs::remove_dir_all(format!("/run/dpdk/spdk_pid{}", std::process::id())).unwrap_or_default();
    assert_eq!(code, Ok(0));
    assert_eq!(HEARD.take(), ["init", "fini"]);
    assert!(Thread::current().is_none());
    AppThread::with(|_| ()).expect_err("the app has ended");
    assert_eq!((refusal.call, refusal.errno), ("spdk_thread_send_msg", 3));
    let again = App::new().expect_err("once in a process");
    assert_eq!((again.call, again.errno), ("spdk_app_start", 114));
    println!("test after_the_app_nothing_reaches_it ... ok");
    runner::finish((passed + 1, failed))
}
