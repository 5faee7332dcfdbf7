//! `cargo bench -p kvblade-micro --bench turn`: an lcore's turn with a burst of requests, on a ring port.
//!
//! SPDK has the main thread, where its reactor runs the lcore. Criterion runs on a thread of its own, and asks the lcore
//! for so many turns; the time is that of the turns alone.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use kvblade_micro::{Kind, Turns, run};

/// What criterion asks for: turns with bursts of a kind, to a bdev.
struct Order {
    bdev: &'static str,
    kind: Kind,
    turns: u64,
}

fn main() -> ExitCode {
    let (orders, ordered) = channel();
    let (times, timed) = channel();
    let criterion = thread::spawn(move || measure(&orders, &timed));
    let mut work = Work { ordered, times, current: None };
    let code = run(move |turns| work.step(turns));
    match criterion.join() {
        Ok(()) if code == 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// On criterion's thread.
fn measure(orders: &Sender<Order>, timed: &Receiver<Duration>) {
    let mut criterion = Criterion::default().configure_from_args();
    for bdev in Turns::bdevs() {
        let mut group = criterion.benchmark_group(format!("turn, {bdev} bdev"));
        for kind in Kind::ALL {
            group.throughput(Throughput::Elements(kind.burst as u64));
            group.bench_function(kind.name, |bencher| {
                bencher.iter_custom(|turns| {
                    orders.send(Order { bdev, kind, turns }).expect("the lcore takes orders");
                    timed.recv().expect("the lcore runs until there are no more orders")
                });
            });
        }
    }
    criterion.final_summary();
}

/// On the lcore's.
struct Work {
    ordered: Receiver<Order>,
    times: Sender<Duration>,
    /// Turns left of an order, and how long those before took.
    current: Option<(u64, Duration)>,
}

impl Work {
    fn step(&mut self, turns: &mut Turns) -> bool {
        match &mut self.current {
            Some((0, took)) => {
                turns.settle();
                // Criterion waits for it.
                let _ = self.times.send(*took);
                self.current = None;
            }
            Some((left, took)) => {
                *left -= 1;
                *took += turns.turn();
            }
            None => match self.ordered.try_recv() {
                Ok(order) => {
                    turns.load(order.bdev, order.kind);
                    // The first turn has nothing to answer, so it does not count.
                    turns.turn();
                    self.current = Some((order.turns, Duration::ZERO));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return false,
            },
        }
        true
    }
}
