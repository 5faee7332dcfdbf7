//! The atomics of `ring`. `crates/interleavings` has a module of this name in its place, with loom's.

pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
