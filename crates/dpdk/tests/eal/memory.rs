//! Memory is zero, its owner's alone, and given back.

use dpdk::Memory;

use crate::start_eal;

const MIB: usize = 1 << 20;

#[test]
fn it_is_zero_each_time_and_no_two_have_the_same_bytes() {
    let eal = crate::start_eal();
    start_eal();
    let mut one = Memory::zeroed(eal, 3 * MIB + 1, None).expect("memory");
    assert_eq!(one.len(), 3 * MIB + 1);
    assert!(one.iter().all(|byte| *byte == 0));
    one.fill(0xa5);
    let other = Memory::zeroed(eal, MIB, None).expect("memory");
    assert!(other.iter().all(|byte| *byte == 0));
    assert!(one.iter().all(|byte| *byte == 0xa5));
    let place = one.as_ptr();
    drop(one);
    let again = Memory::zeroed(eal, 3 * MIB + 1, None).expect("memory");
    assert!(again.iter().all(|byte| *byte == 0), "what was written before is gone, be it at {place:?} again");
}

#[test]
fn it_is_given_back_when_dropped() {
    start_eal();
    // More in all than EAL was given.
    for round in 0..24 {
        let mut memory = Memory::zeroed(crate::start_eal(), 32 * MIB, None)
            .unwrap_or_else(|error| panic!("{round}: {error}"));
        memory[32 * MIB - 1] = 1;
    }
}

#[test]
fn what_cannot_be_had_is_an_error() {
    start_eal();
    let errno =
        |bytes, node| Memory::zeroed(crate::start_eal(), bytes, node).expect_err("no such memory").errno;
    assert_eq!(errno(0, None), 22);
    assert_eq!(errno(1, Some(u32::MAX)), 22);
    assert_eq!(errno(1 << 40, None), 12);
}
