//! Mempools give what they have and get it back; mbufs are what they say.

use dpdk::{HEADROOM, Mbuf, Mempool};

use crate::{frame, pool, unique};

#[test]
fn a_pool_gives_each_mbuf_once_and_gets_all_back() {
    let pool = pool(63, 1024);
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.size(), pool.available()), (63, 63, 0));
    let mut places: Vec<_> = all.iter().map(|frame| frame.private_area().0).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 63, "no two are the same");
    drop(all);
    assert_eq!(pool.available(), 63);
}

#[test]
fn a_pool_goes_when_it_has_all_its_mbufs_back_and_not_before() {
    let name = unique("goes");
    let eal = crate::start_eal();
    drop(Mempool::new(eal, &name, 31, 0, 512, None).expect("memory"));
    let again = Mempool::new(eal, &name, 31, 0, 512, None).expect("its name is free again");
    let held = again.alloc().expect("an mbuf");
    drop(again);
    let taken = Mempool::new(eal, &name, 31, 0, 512, None).expect_err("it still has an mbuf outside");
    assert_eq!((taken.call, taken.errno), ("rte_pktmbuf_pool_create", 17));
    assert_eq!(held.segments(), 1, "which is still good");
}

#[test]
fn a_pool_that_cannot_be_is_refused() {
    let eal = crate::start_eal();
    for (size, private, room) in [(0, 0, 2048), (31, 4, 2048), (31, 0, u16::MAX)] {
        let refused = Mempool::new(eal, &unique("bad"), size, private, room, None).expect_err("impossible");
        assert_eq!(refused.errno, 22, "{size} {private} {room}: {refused}");
    }
    let nul = Mempool::new(eal, "a\0b", 31, 0, 512, None).expect_err("no C string");
    assert_eq!(nul.errno, 22);
}

#[test]
fn a_fresh_mbuf_is_empty_and_grows_up_to_its_room() {
    let pool = pool(31, 1024);
    let mut frame = pool.alloc().expect("an mbuf");
    assert_eq!((frame.frame_len(), frame.segments(), frame.room()), (0, 1, 1024));
    assert!(frame.data().is_empty() && !frame.is_tag_taken());
    assert!(frame.resize(1024));
    assert_eq!((frame.frame_len(), frame.data().len()), (1024, 1024));
    for beyond in [1025, 0x1_0000, 0x1_0010] {
        assert!(!frame.resize(beyond), "{beyond}");
        assert_eq!(frame.frame_len(), 1024, "as it was");
    }
    assert!(frame.resize(3));
    frame.data_mut().copy_from_slice(b"abc");
    assert!(frame.resize(2));
    assert_eq!(frame.data(), b"ab");
}

#[test]
fn private_areas_are_as_large_as_asked_and_lie_before_the_buffer() {
    let pool = pool(31, 512);
    let frame = frame(&pool, b"x");
    let (area, size) = frame.private_area();
    assert_eq!(size, 64);
    assert_eq!(area.as_ptr() as usize % 8, 0);
    let data = frame.data().as_ptr() as usize;
    assert_eq!(data - area.as_ptr() as usize, size + usize::from(HEADROOM));
}

#[test]
fn segments_are_walked_copied_joined_and_cut_off() {
    let pool = pool(31, 16);
    let large = crate::pool(31, 64);
    let mut chained = frame(&pool, b"first ");
    chained.chain(frame(&pool, b"")).expect("few segments");
    chained.chain(frame(&pool, b"second")).expect("few segments");
    assert_eq!((chained.segments(), chained.frame_len(), chained.data().len()), (3, 12, 6));
    assert!(!chained.resize(1), "several segments have no one length");
    let lengths: Vec<usize> = chained.segments_raw().map(|(_, length)| length).collect();
    assert_eq!(lengths, [6, 0, 6]);

    let mut copy = large.alloc().expect("an mbuf");
    assert!(copy.copy_from(&chained));
    assert_eq!((copy.data(), copy.segments()), (&b"first second"[..], 1));
    let mut small = frame(&pool, b"1");
    chained.chain(frame(&pool, b" and third")).expect("few segments");
    assert!(!small.copy_from(&chained), "no room");
    assert_eq!(small.frame_len(), 1);
    assert!(!chained.linearize(), "22 bytes have no room in 16");
    assert_eq!((chained.segments(), chained.frame_len()), (4, 22), "as it was");

    let mut joined = frame(&pool, b"one");
    joined.chain(frame(&pool, b"two")).expect("few segments");
    assert!(joined.linearize());
    assert_eq!((joined.data(), joined.segments()), (&b"onetwo"[..], 1));

    chained.truncate_to_first_segment();
    assert_eq!((chained.data(), chained.segments(), chained.frame_len()), (&b"first "[..], 1, 6));
    joined.truncate_to_first_segment();
    assert_eq!(joined.data(), b"onetwo", "it was one already");
    drop((chained, joined, copy, small));
    assert_eq!((pool.available(), large.available()), (31, 31), "every segment came back");
}

#[test]
fn mbufs_may_be_freed_on_another_thread() {
    let pool = pool(31, 512);
    let frames: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    std::thread::spawn(move || drop(frames)).join().expect("freed");
    assert_eq!(pool.available(), 31);
}
