//! The atomics of `gate` and `interrupt_pass`. `crates/interleavings` has a module of this name in its place, with loom's.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
