//! Steps of which tests are made: calls, waits, and one after the other.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use spdk::{AppThread, Bdev, BdevEvent};

/// One test, called each time the reactor comes around; says when it is finished.
pub(crate) type Step = Box<dyn FnMut() -> bool>;

/// The proof that the app has started EAL.
pub(crate) fn eal() -> dpdk::EalStarted {
    dpdk::EalStarted::get().expect("the app runs")
}

/// Opens a bdev, on the app's thread.
pub(crate) fn open(name: &str, write: bool, events: impl Fn(BdevEvent) + 'static) -> spdk::Result<Bdev> {
    AppThread::with(|app| Bdev::open(app, name, write, events))?
}

/// The names of all bdevs.
pub(crate) fn list() -> Vec<String> {
    AppThread::with(Bdev::list).expect("tests run on the app's thread")
}

/// Where this test's RPC server listens.
pub(crate) fn socket() -> PathBuf {
    std::env::temp_dir().join(format!("spdk-app-test-{}.sock", std::process::id()))
}

/// Calls a method, from a thread of its own; the whole answer comes through the channel.
pub(crate) fn call(method: &'static str, params: &Value) -> Receiver<Value> {
    let params = params.clone();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let answer =
            lab::json_rpc::call(&socket(), method, &params).unwrap_or_else(|error| panic!("{error}"));
        // The step that waits may have failed, and with it the test.
        sender.send(answer).unwrap_or_default();
    });
    receiver
}

/// Calls a method and then looks at its answer.
pub(crate) fn asks(method: &'static str, params: Value, look: impl FnOnce(Value) + 'static) -> Step {
    let mut receiver = None;
    let mut look = Some(look);
    Box::new(move || {
        let receiver = receiver.get_or_insert_with(|| call(method, &params));
        let Ok(answer) = receiver.try_recv() else { return false };
        if let Some(look) = look.take() {
            look(answer);
        }
        true
    })
}

/// Does something once.
pub(crate) fn once(act: impl FnOnce() + 'static) -> Step {
    let mut act = Some(act);
    Box::new(move || {
        if let Some(act) = act.take() {
            act();
        }
        true
    })
}

/// Waits for something to be so.
pub(crate) fn until(so: impl FnMut() -> bool + 'static) -> Step {
    Box::new(so)
}

/// Lets the reactor come around some times.
pub(crate) fn turns(mut left: u32) -> Step {
    Box::new(move || {
        left -= 1;
        left == 0
    })
}

/// One step after the other.
pub(crate) fn chain(steps: Vec<Step>) -> Step {
    let mut steps = steps.into_iter().peekable();
    Box::new(move || {
        let Some(step) = steps.peek_mut() else { return true };
        if step() {
            steps.next();
        }
        steps.peek().is_none()
    })
}
