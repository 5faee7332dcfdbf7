//! Runs the tests of an app one after the other, from a poller of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use spdk::{AppThread, Poller};

use crate::step::Step;

/// How often a test is called before it has failed. Not a time: it takes far longer than any of them needs.
const MAX_TURNS: u32 = 20_000_000;

thread_local! {
    static DRIVER: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

/// Numbers of tests: passed, failed.
pub(crate) type Results = Rc<RefCell<(u32, u32)>>;

/// Ends the app.
fn stop() {
    AppThread::with(|app| app.stop(0)).expect("tests run on the app's thread");
}

/// Runs the tests one after the other from a poller, then stops the app. A failed assertion ends the process.
pub(crate) fn run_all(tests: Vec<(&'static str, Step)>, results: &Results) {
    let results = Rc::clone(results);
    let mut tests = tests.into_iter();
    let mut current: Option<(&'static str, Step, u32)> = None;
    println!("\nrunning the app's tests");
    let driver = Poller::register(Duration::ZERO, move || {
        let Some((name, step, turns)) = &mut current else {
            current = tests.next().map(|(name, step)| (name, step, 0));
            if current.is_none() {
                DRIVER.take();
                stop();
            }
            return true;
        };
        *turns += 1;
        if step() {
            println!("test {name} ... ok");
            results.borrow_mut().0 += 1;
            current = None;
        } else if *turns > MAX_TURNS {
            println!("test {name} ... FAILED: no end after {turns} turns");
            results.borrow_mut().1 += 1;
            DRIVER.take();
            stop();
        }
        true
    });
    DRIVER.set(Some(driver.expect("a poller")));
}

/// Prints the result, and ends the process with it.
pub(crate) fn finish((passed, failed): (u32, u32)) -> ! {
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    std::process::exit(i32::from(failed > 0 || passed < 2))
}
