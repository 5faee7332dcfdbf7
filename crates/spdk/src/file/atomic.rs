//! The atomics of `group_commit`. `crates/interleavings` has a module of this name in its place, with loom's.

pub(super) use std::sync::atomic::{AtomicI32, AtomicU64, Ordering, fence};
