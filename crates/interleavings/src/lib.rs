//! The hand-written synchronisation between an lcore and other threads, in every order that its memory orderings allow:
//! [loom](https://docs.rs/loom) runs a model of two threads once for each order, and fails if both use at the same time what
//! only one may.
//!
//! The files under test are those of `dpdk`, `spdk` and `datapath`, compiled here with loom's atomics in place of the standard library's
//! (`atomic`). Each is compiled again with one ordering less, to show that its model finds the lack ([`Weakened`]).
#![forbid(unsafe_code)]
// The files' own unit tests are not made for loom's atomics: models are run by the tests of this crate's `tests`.
#![cfg(not(test))]
#![expect(clippy::duplicate_mod, reason = "each variant compiles the files with atomics of its own")]

use loom::{cell::UnsafeCell, model::Builder, sync::Arc, thread};

/// The files with loom's atomics, as they are and weakened.
macro_rules! under_test {
    ($variant:ident, $fence:expr, $release:ident, $acquire:ident) => {
        #[allow(dead_code, reason = "models use a part of each file")]
        // The paths below are from this directory.
        #[path = "."]
        mod $variant {
            use loom::{sync::Arc, thread};

            mod atomic {
                use loom::sync::atomic::Ordering as Loom;
                pub(crate) use loom::sync::atomic::{
                    AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize,
                };

                /// The orderings as this variant has them.
                pub(crate) struct Ordering;

                #[allow(non_upper_case_globals, reason = "the names of the standard library")]
                impl Ordering {
                    pub(crate) const Relaxed: Loom = Loom::Relaxed;
                    pub(crate) const Acquire: Loom = Loom::$acquire;
                    pub(crate) const Release: Loom = Loom::$release;
                    pub(crate) const SeqCst: Loom = Loom::SeqCst;
                }

                pub(crate) fn fence(ordering: Loom) {
                    if $fence {
                        loom::sync::atomic::fence(ordering);
                    }
                }
            }
            #[path = "../../dpdk/src/gate.rs"]
            pub(crate) mod gate;
            #[path = "../../spdk/src/file/group_commit.rs"]
            mod group_commit;
            #[path = "../../dpdk/src/interrupt_pass.rs"]
            pub(crate) mod interrupt_pass;
            #[allow(unreachable_pub, reason = "what `datapath` shows to others")]
            #[path = "../../datapath/src/capture/ring.rs"]
            mod ring;

            /// An lcore copies three frames into a ring for two while another thread takes frames out.
            pub(crate) fn copy_and_take() {
                use self::ring::{CapturedFrames, Copied};

                let model = || {
                    // Three words before the bytes of each frame.
                    let (mut sink, mut copies) = ring::with_words(8, 64);
                    let lcore = thread::spawn(move || {
                        for number in 1..=3u8 {
                            let (bytes, time) = (&[number; 8], number.into());
                            sink.put(&Copied { bytes, length: 8, tag: None, sent: false, time });
                        }
                    });
                    let mut frames = CapturedFrames::default();
                    copies.take(&mut frames, 0);
                    copies.take(&mut frames, 0);
                    lcore.join().expect("the lcore ends");
                    copies.take(&mut frames, 0);
                    let mut taken = 0;
                    for (frame, bytes) in frames.in_order() {
                        assert_eq!(bytes.len(), 8, "a frame of another length");
                        assert!(
                            bytes.iter().all(|byte| u64::from(*byte) == frame.time),
                            "bytes of two frames"
                        );
                        taken += 1;
                    }
                    assert_eq!(taken + copies.dropped(), 3, "a frame is lost");
                };
                super::check(model);
            }

            /// A write completes and is stamped while another thread carries out an fdatasync.
            pub(crate) fn stamp_and_sync() {
                use loom::sync::atomic::{AtomicBool, Ordering};

                use self::group_commit::Syncs;

                let model = || {
                    // The write's trace in memory, and whether it is durable.
                    let shared = Arc::new((Syncs::new(), AtomicBool::new(false), AtomicBool::new(false)));
                    let other = Arc::clone(&shared);
                    let leader = thread::spawn(move || {
                        let (syncs, written, durable) = &*other;
                        if let Some(lead) = syncs.lead() {
                            durable.store(written.load(Ordering::Relaxed), Ordering::Relaxed);
                            syncs.end(lead, Ok(()));
                        }
                    });
                    let (syncs, written, durable) = &*shared;
                    written.store(true, Ordering::Relaxed);
                    Syncs::order_completions();
                    if syncs.outcome(syncs.stamp()) == Some(Ok(())) {
                        assert!(durable.load(Ordering::Relaxed), "an answered write is not durable");
                    }
                    leader.join().expect("the leader ends");
                };
                super::check(model);
            }
        }
    };
}

under_test!(whole, true, Release, Acquire);
under_test!(without_fence, false, Release, Acquire);
under_test!(without_release, true, Relaxed, Acquire);
under_test!(without_acquire, true, Release, Relaxed);

/// A memory ordering that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakened {
    /// None.
    Nothing,
    /// `SeqCst` fences do nothing.
    Fence,
    /// `Release` is `Relaxed`.
    Release,
    /// `Acquire` is `Relaxed`.
    Acquire,
}

/// Orders in which one thread takes the turn from the other at will so often at most, beside those in which it waits.
const PREEMPTIONS: usize = 3;

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

/// Uses what only one thread may use at a time.
fn use_alone(port: &UnsafeCell<u32>) {
    port.with_mut(|_| ());
}

macro_rules! gate_model {
    ($variant:ident) => {
        check(|| {
            let shared = Arc::new(($variant::gate::Gate::opened(), UnsafeCell::new(0)));
            let queue = Arc::clone(&shared);
            let bursts = thread::spawn(move || {
                let (gate, port) = &*queue;
                for _ in 0..2 {
                    if let Some(_inside) = gate.enter() {
                        use_alone(port);
                    }
                }
            });
            let (gate, port) = &*shared;
            while !gate.close() {
                thread::yield_now();
            }
            use_alone(port);
            gate.open();
            bursts.join().expect("the queue's thread ends");
        })
    };
}

macro_rules! pass_model {
    ($variant:ident) => {
        check(|| {
            let shared = Arc::new(($variant::interrupt_pass::InterruptPass::running(), UnsafeCell::new(0)));
            let other = Arc::clone(&shared);
            let control = thread::spawn(move || {
                let (pass, ports) = &*other;
                while !pass.claim() {
                    thread::yield_now();
                }
                use_alone(ports);
                pass.give_back();
            });
            let (pass, ports) = &*shared;
            for _ in 0..2 {
                use_alone(ports);
                pass.end();
                while !pass.begin() {
                    thread::yield_now();
                }
            }
            use_alone(ports);
            pass.end();
            control.join().expect("the other thread ends");
        })
    };
}

/// A queue's thread runs two bursts while another thread closes the gate, changes the port and opens the gate.
///
/// # Panics
/// If a burst can run while the port is changed, or see half of a change.
pub fn gate(weakened: Weakened) {
    match weakened {
        Weakened::Nothing => gate_model!(whole),
        Weakened::Fence => gate_model!(without_fence),
        Weakened::Release => gate_model!(without_release),
        Weakened::Acquire => gate_model!(without_acquire),
    }
}

/// The interrupt thread makes two passes while another thread claims the ports once.
///
/// # Panics
/// If both can work at the same time, or one see half of the other's work.
pub fn interrupt_pass(weakened: Weakened) {
    match weakened {
        Weakened::Nothing | Weakened::Fence => pass_model!(whole),
        Weakened::Release => pass_model!(without_release),
        Weakened::Acquire => pass_model!(without_acquire),
    }
}

/// A write to a file completes and is stamped while another lcore starts and ends an fdatasync.
///
/// # Panics
/// If the write counts as covered by an fdatasync that did not see it.
pub fn group_commit(weakened: Weakened) {
    match weakened {
        Weakened::Nothing | Weakened::Acquire | Weakened::Release => whole::stamp_and_sync(),
        Weakened::Fence => without_fence::stamp_and_sync(),
    }
}

/// An lcore copies frames into a ring while another thread takes them out.
///
/// # Panics
/// If a frame is taken out before it is whole, or lost without being counted.
pub fn captured_frames(weakened: Weakened) {
    match weakened {
        Weakened::Nothing | Weakened::Fence => whole::copy_and_take(),
        Weakened::Release => without_release::copy_and_take(),
        Weakened::Acquire => without_acquire::copy_and_take(),
    }
}
