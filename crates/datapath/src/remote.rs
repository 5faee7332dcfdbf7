//! The control plane's handle on an lcore: work sent as messages that run between two turns.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use spdk::{Poller, Thread};

use crate::{DegradedChanges, Lcore, PortQueue, TurnCount};

thread_local! {
    /// A reactor's one lcore, with the poller that makes it turn.
    static LCORE: RefCell<Option<Running>> = const { RefCell::new(None) };
}

struct Running {
    lcore: Lcore,
    poller: Option<Poller>,
}

/// Longest wait of a stopping lcore for its bdevs, and for a NIC that does not take replies (its link is down, say).
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A handle on an lcore, for the control plane on another thread (or the same).
#[derive(Debug, Clone)]
pub struct Remote {
    thread: Thread,
    core: u32,
    turn_count: TurnCount,
    degraded_changes: DegradedChanges,
}

impl Remote {
    /// Starts an lcore with these queues on `core`'s reactor. `started` is called there.
    ///
    /// # Errors
    /// What making the SPDK thread or sending to it says.
    pub fn start(
        core: u32,
        queues: Vec<PortQueue>,
        started: impl FnOnce(spdk::Result<()>) + Send + 'static,
    ) -> spdk::Result<Self> {
        let thread = Thread::pinned(&format!("aoe_lcore_{core}"), core)?;
        let turn_count = TurnCount::default();
        let degraded_changes = DegradedChanges::default();
        let counted = (turn_count.clone(), degraded_changes.clone());
        thread.send(move || started(run(queues, counted)))?;
        Ok(Self { thread, core, turn_count, degraded_changes })
    }

    /// The core it runs on.
    pub fn core(&self) -> u32 {
        self.core
    }

    /// The turns it has made.
    pub fn turns(&self) -> u64 {
        self.turn_count.get()
    }

    /// The number of times that an export of it became degraded or recovered.
    pub fn degraded_changes(&self) -> u64 {
        self.degraded_changes.get()
    }

    /// Runs `work` on the lcore between two turns. Does nothing if it has ended.
    ///
    /// # Errors
    /// What [`Thread::send`] says.
    pub fn send(&self, work: impl FnOnce(&mut Lcore) + Send + 'static) -> spdk::Result<()> {
        self.thread.send(move || {
            LCORE.with_borrow_mut(|running| {
                if let Some(running) = running {
                    work(&mut running.lcore);
                }
            });
        })
    }

    /// Stops the lcore: it takes no new requests, answers those in flight, releases its queues, channels and
    /// thread; then `stopped` is called there, with the number of requests that bdevs have not answered within
    /// five seconds, normally 0. If there are any, nothing is released, for a bdev still works on it: the process can
    /// only be ended.
    ///
    /// # Errors
    /// What [`Thread::send`] says.
    pub fn stop(self, stopped: impl FnOnce(u32) + Send + 'static) -> spdk::Result<()> {
        let thread = self.thread.clone();
        self.send(move |lcore| {
            lcore.stop();
            watch_until_idle(thread, stopped);
        })
    }
}

fn run(queues: Vec<PortQueue>, counted: (TurnCount, DegradedChanges)) -> spdk::Result<()> {
    let mut lcore = Lcore::new(queues)?;
    let (turn_count, degraded_changes) = counted;
    lcore.count_turns(turn_count);
    lcore.count_degraded_changes(degraded_changes);
    LCORE.set(Some(Running { lcore, poller: None }));
    let poller = Poller::register(Duration::ZERO, || {
        LCORE.with_borrow_mut(|running| {
            running.as_mut().is_some_and(|running| running.lcore.turn() || running.lcore.rest())
        })
    })?;
    LCORE.with_borrow_mut(|running| {
        if let Some(running) = running {
            running.poller = Some(poller);
        }
    });
    Ok(())
}

/// Ends the lcore as soon as it is idle, or out of patience.
fn watch_until_idle(thread: Thread, stopped: impl FnOnce(u32) + Send + 'static) {
    let deadline = Instant::now() + STOP_PATIENCE;
    let mut end = Some((thread, stopped));
    let watch = Poller::register(Duration::from_millis(1), move || {
        let (idle, left) = LCORE.with_borrow(|running| match running {
            Some(running) => (running.lcore.is_idle(), running.lcore.in_flight()),
            None => (true, 0),
        });
        if (idle || Instant::now() > deadline)
            && let Some((thread, stopped)) = end.take()
        {
            // The lcore and both pollers are dropped by a message: a poller must not free what it stands on.
            let again = thread.clone();
            let sent = thread.send(move || {
                WATCH.set(None);
                if left > 0 {
                    std::mem::forget(LCORE.take());
                    return stopped(left);
                }
                LCORE.set(None);
                stopped(0);
                // After the stopped callback's own messages, which may still need this thread. SPDK ends a thread that
                // could not be told to exit with the app, and logs it.
                again.exit().unwrap_or_default();
            });
            debug_assert!(sent.is_ok());
        }
        false
    });
    // Without a poller `stopped` is dropped, by which the control plane sees that the lcore does not stop.
    WATCH.set(watch.ok());
}

thread_local! {
    static WATCH: RefCell<Option<Poller>> = const { RefCell::new(None) };
}
