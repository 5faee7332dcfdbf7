//! Messages, ends and pollers, where several SPDK threads share one of the system's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spdk::{CurrentThread, Poller, Thread, app};

use crate::step::{Step, chain, once, turns, until};

thread_local! {
    /// Where tests leave what one SPDK thread makes and another drops.
    static LEFT: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("messages_run_in_order_on_their_thread", messages()),
        ("all_handles_know_of_an_exit", exits()),
        ("a_poller_may_end_itself", ends_itself()),
        ("a_poller_may_be_dropped_on_another_thread_of_its_reactor", dropped_elsewhere()),
        ("a_thread_that_cannot_be_is_refused", once(impossible)),
        ("a_refused_message_is_dropped_outside_of_the_lock", refused()),
    ]
}

fn impossible() {
    let refused = |name, core| Thread::pinned(name, core).expect_err("it can't be").errno;
    assert_eq!(refused("a\0b", app::current_core()), 22, "no C string");
    let app = Thread::current().expect("tests run on the app's thread");
    assert_eq!(app.exit().expect_err("SPDK ends it").errno, 22);
    for core in [app::current_core() + 1, 1024, u32::MAX] {
        assert_eq!(refused("x", core), 22, "core {core} has no reactor");
    }
}

/// A thread beside this one, on the same reactor.
pub(crate) fn neighbour() -> Thread {
    let thread = Thread::pinned("neighbour", app::current_core()).expect("memory");
    assert!(!thread.is_current() && !CurrentThread::with(|current| current.is(&thread)));
    thread
}

fn messages() -> Step {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (written, read) = (Arc::clone(&heard), heard);
    chain(vec![
        once(move || {
            let thread = neighbour();
            for number in 0..100 {
                let (written, there) = (Arc::clone(&written), thread.clone());
                let send = thread.send(move || {
                    assert!(there.is_current() && CurrentThread::with(|current| current.is(&there)));
                    written.lock().expect("no panic").push(number);
                });
                send.expect("room for a message");
            }
            thread.exit().expect("room for a message");
        }),
        until(move || {
            let heard = read.lock().expect("no panic");
            assert!(heard.iter().copied().eq(0..heard.len()), "{heard:?}");
            heard.len() == 100
        }),
    ])
}

fn exits() -> Step {
    let seen = Arc::new(Mutex::new(None));
    let (from_there, here) = (Arc::clone(&seen), seen);
    chain(vec![
        once(move || {
            let thread = neighbour();
            thread.send(move || *from_there.lock().expect("no panic") = Thread::current()).expect("room");
        }),
        until(move || {
            let Some(thread) = here.lock().expect("no panic").take() else { return false };
            let other = thread.clone();
            thread.exit().expect("room for a message");
            other.exit().expect("it is on its way out");
            for handle in [&thread, &other] {
                let refused =
                    handle.send(|| unreachable!("nothing runs after the exit")).expect_err("too late");
                assert_eq!((refused.call, refused.errno), ("spdk_thread_send_msg", 3));
            }
            true
        }),
        turns(1000),
    ])
}

/// Says when a closure that holds it has been freed.
struct Freed(Rc<Cell<bool>>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

fn ends_itself() -> Step {
    let (calls, freed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (counted, guard) = (Rc::clone(&calls), Freed(Rc::clone(&freed)));
    chain(vec![
        once(move || {
            let poller = Poller::register(Duration::ZERO, move || {
                drop(LEFT.take());
                // What the closure holds is still there.
                counted.set(counted.get() + 1);
                assert!(!guard.0.get());
                true
            });
            LEFT.set(Some(poller.expect("memory")));
        }),
        until(move || freed.get()),
        turns(1000),
        once(move || assert_eq!(calls.get(), 1)),
    ])
}

fn dropped_elsewhere() -> Step {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let freed = Rc::new(Cell::new(false));
    // Both threads run on this reactor, one after the other.
    thread_local!(static GUARD: RefCell<Option<Freed>> = const { RefCell::new(None) });
    GUARD.set(Some(Freed(Rc::clone(&freed))));
    let after = Rc::new(Cell::new(0));
    let (noted, compared) = (Rc::clone(&after), after);
    let thread = Rc::new(RefCell::new(None));
    let (made, ended) = (Rc::clone(&thread), thread);
    chain(vec![
        once(move || {
            let thread = neighbour();
            let registers = thread.send(|| {
                let guard = GUARD.take();
                let poller = Poller::register(Duration::ZERO, move || {
                    assert!(guard.is_some());
                    CALLS.fetch_add(1, Ordering::Relaxed);
                    false
                });
                LEFT.set(Some(poller.expect("memory")));
            });
            registers.expect("room");
            *made.borrow_mut() = Some(thread);
        }),
        until(|| CALLS.load(Ordering::Relaxed) > 0),
        once(|| drop(LEFT.take())),
        until(move || freed.get()),
        once(move || noted.set(CALLS.load(Ordering::Relaxed))),
        turns(1000),
        once(move || {
            assert_eq!(CALLS.load(Ordering::Relaxed), compared.get(), "it is called no more");
            ended.take().expect("made above").exit().expect("room");
        }),
    ])
}

fn refused() -> Step {
    /// Sends a message when it is dropped, as a bdev's last handle does.
    struct Sends(Thread);
    impl Drop for Sends {
        fn drop(&mut self) {
            self.0.send(|| ()).expect_err("the thread has ended");
        }
    }
    once(|| {
        let thread = neighbour();
        thread.exit().expect("room");
        let sends = Sends(thread.clone());
        thread.send(move || drop(sends)).expect_err("it has ended");
    })
}
