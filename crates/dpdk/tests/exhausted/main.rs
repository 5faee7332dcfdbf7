//! Memory that EAL does not have. In a process of its own: such a request takes all of EAL's memory before it fails, and
//! tests beside it would find none.

#[path = "../start/mod.rs"]
mod start;

use dpdk::{DataAlignment, Mempool};

#[test]
fn a_pool_larger_than_the_memory_is_refused_and_leaves_nothing() {
    let eal = start::start_eal_with(64);
    let alignment = DataAlignment { offset: 36, bytes: 512 };
    let make = |size| Mempool::aligned(eal, "large", size, 0, 16384, None, alignment);
    let refused = || make(100_000).expect_err("1.7 GB of 64 MB").errno;
    assert_eq!((refused(), refused()), (12, 12), "its name is free again");
    let fits = make(2047).expect("34 MB of 64 MB: the refused pool has given its memory back");
    assert_eq!(fits.available(), 2047);
}
