//! Mempools whose frames carry their data at a boundary: of AoE's offset, and others.

use std::sync::Arc;

use dpdk::{DataAlignment, HEADROOM, Mbuf, Mempool, Port, ring_port};

use crate::{one_queue, start_eal, unique};

fn aligned(size: u32, private: u16, room: u16, offset: u16, bytes: u16) -> Arc<Mempool> {
    start_eal();
    let alignment = DataAlignment { offset, bytes };
    let pool = Mempool::aligned(crate::start_eal(), &unique("aligned"), size, private, room, None, alignment)
        .expect("memory");
    assert_eq!(pool.alignment(), Some(alignment));
    pool
}

/// Where the byte at `offset` of a frame lies.
fn place(frame: &Mbuf, offset: u16) -> usize {
    frame.data().as_ptr() as usize + usize::from(offset)
}

#[test]
fn the_data_of_every_frame_lies_at_its_boundary() {
    for (size, private, room, offset, bytes) in [
        (1023, 0, 2048, 36, 512),
        (127, 8, 2048, 36, 512),
        (511, 296, 9152, 36, 512),
        (127, 296, 9152, 36, 4096),
        (63, 64, 16384, 36, 4096),
        (63, 1024, 100, 36, 512),
        (63, 0, 2048, 14, 64),
        (7, 296, u16::MAX - HEADROOM, 36, 4096),
    ] {
        let pool = aligned(size, private, room, offset, bytes);
        let mut all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!((all.len(), pool.size(), pool.available()), (size as usize, size, 0));
        for (number, frame) in (0..=u8::MAX).cycle().zip(&mut all) {
            assert_eq!((frame.room(), frame.segments(), frame.frame_len()), (usize::from(room), 1, 0));
            assert_eq!(frame.private_area().1, usize::from(private));
            assert!(place(frame, offset).is_multiple_of(bytes.into()), "{private} {room} {offset} {bytes}");
            // All of the room and of the private area is the mbuf's own: what overlapped would be overwritten.
            assert!(frame.resize(room.into()) && !frame.resize(usize::from(room) + 1));
            frame.data_mut().fill(number);
            let (area, length) = frame.private_area();
            // SAFETY: an owned mbuf's private area, of that length.
            unsafe { area.write_bytes(!number, length) };
        }
        for (number, frame) in (0..=u8::MAX).cycle().zip(&all) {
            assert!(frame.data().iter().all(|byte| *byte == number), "another frame wrote here");
            let (area, length) = frame.private_area();
            // SAFETY: as above.
            let private = unsafe { std::slice::from_raw_parts(area.as_ptr(), length) };
            assert!(private.iter().all(|byte| *byte == !number), "another frame wrote here");
        }
        drop(all);
        assert_eq!(pool.available(), size, "all are back");
        // And as good as before.
        let again = pool.alloc().expect("an mbuf");
        assert!(place(&again, offset).is_multiple_of(bytes.into()));
        assert_eq!((again.room(), again.frame_len()), (usize::from(room), 0));
    }
}

#[test]
fn a_pool_without_alignment_says_so() {
    assert_eq!(crate::pool(31, 512).alignment(), None);
}

#[test]
fn frames_that_come_through_a_port_are_aligned_too() {
    let pool = aligned(127, 64, 2048, 36, 512);
    let (number, peer) = ring_port(crate::start_eal(), &unique("wire"), 64).expect("a ring port");
    let port = Port::start(crate::start_eal(), number, &one_queue(&pool)).expect("a ring port starts");
    let (mut rx, mut tx) = port.take_queues(0).expect("its queue pair");
    peer.send(crate::frame(&pool, &[7; 1500])).expect("room");
    let mut burst = dpdk::Burst::new();
    assert_eq!(rx.poll(&mut burst), 1);
    let frame = burst.next().expect("the frame");
    assert!(place(&frame, 36).is_multiple_of(512));
    let frame = frame.into_exclusive().expect("nobody shares it");
    tx.push(frame.into_tx().expect("one segment")).expect("a place");
    assert_eq!(tx.flush(), 1);
    assert_eq!(peer.receive().expect("the frame").data(), [7; 1500]);
    assert_eq!(pool.available(), 127);
}

#[test]
fn a_tag_that_is_taken_out_moves_the_data_off_its_boundary() {
    let pool = aligned(31, 0, 2048, 36, 512);
    let mut bytes = [0; 100];
    bytes[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
    let mut frame = crate::frame(&pool, &bytes);
    assert!(frame.take_tag());
    assert_eq!(place(&frame, 36) % 512, 4);
}

#[test]
fn an_aligned_pool_goes_when_it_has_all_its_mbufs_back() {
    start_eal();
    let name = unique("goes");
    let alignment = DataAlignment { offset: 36, bytes: 512 };
    let make = || Mempool::aligned(crate::start_eal(), &name, 31, 0, 512, None, alignment);
    // Its memory goes too, and its name: EAL here has less than three thousand such pools would take.
    for _ in 0..3000 {
        make().expect("memory");
    }
    let pool = make().expect("memory");
    let held = pool.alloc().expect("an mbuf");
    drop(pool);
    assert_eq!(make().expect_err("it still has an mbuf outside").errno, 17);
    assert_eq!(held.segments(), 1, "which is still good");
}

#[test]
fn an_aligned_pool_that_cannot_be_is_refused() {
    let eal = start_eal();
    for (size, private, room, bytes) in [
        (0, 0, 2048, 512),
        (31, 4, 2048, 512),
        (31, 0, u16::MAX, 512),
        (31, 0, 2048, 4),
        (31, 0, 2048, 0),
        (31, 0, 2048, 500),
        (31, 0, 2048, 8192),
    ] {
        let alignment = DataAlignment { offset: 36, bytes };
        let refused = Mempool::aligned(eal, &unique("bad"), size, private, room, None, alignment)
            .expect_err("impossible");
        assert_eq!(refused.errno, 22, "{size} {private} {room} {bytes}: {refused}");
    }
    let alignment = DataAlignment { offset: 36, bytes: 512 };
    let nul = Mempool::aligned(eal, "a\0b", 31, 0, 512, None, alignment).expect_err("no C string");
    assert_eq!(nul.errno, 22);
}
