//! A gate before a queue's burst functions, which another thread closes while it changes the port beneath the queue.
//!
//! DPDK asks that no thread is inside a burst function while a port is stopped, closed or, with memif, disconnected by its
//! peer. The queue's thread never waits at its gate: as long as the gate is closed, a burst does nothing. The other thread
//! waits until the burst that runs has ended.

use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
/// The queue's thread is inside a burst function.
const INSIDE: u8 = 1;
/// The queue's thread is outside, and stays outside.
const CLOSED: u8 = 2;

/// The gate of one rx or tx queue.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU8);

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

    /// Closes each; false if a queue's thread is inside one. Those that are closed stay closed.
    pub(crate) fn close(&self) -> bool {
        self.0.iter().flatten().filter(|gate| !gate.close()).count() == 0
    }

    pub(crate) fn open(&self) {
        self.0.iter().flatten().for_each(Gate::open);
    }
}

impl Gate {
    pub(crate) const fn closed() -> Self {
        Self(AtomicU8::new(CLOSED))
    }

    pub(crate) const fn opened() -> Self {
        Self(AtomicU8::new(OPEN))
    }

    /// For the queue's thread: the right to call a burst function; `None` while the gate is closed.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        // Acquire: what the thread that opened the gate did to the port is done.
        let entered = self.0.compare_exchange(OPEN, INSIDE, Ordering::Acquire, Ordering::Relaxed);
        entered.is_ok().then_some(Inside(self))
    }

    /// For the thread that changes the port: closes the gate. False if the queue's thread is inside; then call it again.
    pub(crate) fn close(&self) -> bool {
        // Acquire: what the last burst function did to the port is done.
        match self.0.compare_exchange(OPEN, CLOSED, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == CLOSED,
        }
    }

    /// For the thread that has closed the gate.
    pub(crate) fn open(&self) {
        // A gate that is not closed stays as it is.
        self.0.compare_exchange(CLOSED, OPEN, Ordering::Release, Ordering::Relaxed).unwrap_or_default();
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        // Nobody else writes while the state is INSIDE.
        self.0.0.store(OPEN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    #[test]
    fn a_gate_is_not_closed_while_the_queues_thread_is_inside() {
        let gate = Gate::closed();
        assert!(gate.enter().is_none() && gate.close());
        gate.open();
        let inside = gate.enter().expect("it is open");
        assert!(!gate.close());
        gate.open();
        assert!(!gate.close(), "to open it again changes nothing");
        drop(inside);
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
