//! A gate before a queue's burst functions, which another thread closes while it changes the port beneath the queue.
//!
//! DPDK asks that no thread is inside a burst function while a port is stopped, closed or, with memif, disconnected by its
//! peer. The queue's thread never waits at its gate: as long as the gate is closed, a burst does nothing. The other thread
//! waits until the burst that runs has ended.

use super::atomic::{AtomicBool, Ordering, fence};

/// The gate of one rx or tx queue.
///
/// Each side writes its own flag and then reads the other's, with a `SeqCst` fence in between. So at least one of the two sees
/// the other, and the gate closes at the end of the burst that runs, however busy the queue is. `crates/interleavings` tries
/// every order of the two.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The queue's thread is inside a burst function, or about to look at `closed`.
    inside: AtomicBool,
    /// The queue's thread does not enter.
    closed: AtomicBool,
}

/// The right to call a burst function of the queue, until it is dropped.
pub(crate) struct Inside<'a>(&'a Gate);

/// The gates of a port's queue pairs.
#[derive(Debug)]
pub(crate) struct Gates(Vec<[Gate; 2]>);

/// The direction of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Rx = 0,
    Tx = 1,
}

impl Gates {
    pub(crate) fn new(queue_pairs: usize, new: fn() -> Gate) -> Self {
        Self((0..queue_pairs).map(|_| [new(), new()]).collect())
    }

    #[inline]
    pub(crate) fn of(&self, queue: u16, direction: Direction) -> Option<&Gate> {
        Some(&self.0.get(usize::from(queue))?[direction as usize])
    }

    /// Closes each; false if a queue's thread is inside one still. None is entered any more.
    pub(crate) fn close(&self) -> bool {
        self.0.iter().flatten().filter(|gate| !gate.close()).count() == 0
    }

    pub(crate) fn open(&self) {
        self.0.iter().flatten().for_each(Gate::open);
    }
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { inside: AtomicBool::new(false), closed: AtomicBool::new(true) }
    }

    pub(crate) fn opened() -> Self {
        Self { inside: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// For the queue's thread: the right to call a burst function; `None` while the gate is closed or closes.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        self.inside.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Dropped at once if it is closed. What the thread that opened the gate did to the port is done.
        let inside = Inside(self);
        if self.closed.load(Ordering::Acquire) { None } else { Some(inside) }
    }

    /// For the thread that changes the port: closes the gate. False if the queue's thread is inside still; then call it again.
    pub(crate) fn close(&self) -> bool {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // If it is outside, what its last burst function did to the port is done.
        !self.inside.load(Ordering::Acquire)
    }

    /// For the thread that closes the gate.
    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Release);
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.inside.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_gate_is_not_closed_while_the_queues_thread_is_inside() {
        let gate = Gate::closed();
        assert!(gate.enter().is_none() && gate.close());
        gate.open();
        let inside = gate.enter().expect("it is open");
        assert!(!gate.close());
        drop(inside);
        assert!(gate.enter().is_none(), "nor is it entered again");
        assert!(gate.close() && gate.enter().is_none());
        gate.open();
        assert!(gate.enter().is_some());
    }

    #[test]
    fn no_burst_runs_while_the_gate_is_closed() {
        let (gate, inside, bursts, done) =
            (Gate::closed(), AtomicBool::new(false), AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Some(_inside) = gate.enter() {
                        inside.store(true, Ordering::SeqCst);
                        bursts.fetch_add(1, Ordering::Relaxed);
                        inside.store(false, Ordering::SeqCst);
                    }
                }
            });
            for round in 1..=200 {
                gate.open();
                while bursts.load(Ordering::Relaxed) < round {
                    std::thread::yield_now();
                }
                while !gate.close() {
                    std::thread::yield_now();
                }
                assert!((0..100).all(|_| !inside.load(Ordering::SeqCst)));
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
