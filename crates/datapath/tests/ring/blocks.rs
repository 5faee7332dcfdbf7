//! Sectors on a bdev with blocks of 4096 bytes: every place in a block, and writers that meet in one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aoe_target::{Export, ExportId, Identity, Ports};
use datapath::Remote;
use dpdk::{Mbuf, Mempool, PeerRing, Port, ring_port};
use ring_lab::frames::{self, DATA, pattern, status, tag};
use spdk::Bdev;

use crate::bench::{Bench, RING};
use crate::script::{Scenario, Step};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("every_place_in_a_large_block_is_read_and_written", every_place),
    ("neighbours_in_a_large_block_keep_their_updates", neighbours),
    ("more_unaligned_requests_than_buffers_are_all_answered", more_than_buffers),
];

/// Slot of the export of the whole bdev, and of one that starts in the middle of its first block.
const WHOLE: u8 = 40;
const SHIFTED: u8 = 41;
/// The shifted export's first sector.
const OFFSET: u64 = 3;
/// Blocks of bdev m4, and its sectors.
const BLOCKS: usize = 64;
const SECTORS: usize = BLOCKS * 8;

/// Every export here has an id from 10 on.
fn export(slot: u8, bdev: &Bdev) -> Box<Export> {
    let identity = Identity::new("blocks", "ring test", "1").expect("printable");
    let address = format!("1.{slot}").parse().expect("an address");
    let first = if slot == SHIFTED { OFFSET } else { 0 };
    let id = ExportId(u32::from(slot - 30));
    let mut export = Export::new(id, address, Ports::All, bdev.sectors() - first, identity);
    export.configure(|settings| settings.first_sector = first);
    Box::new(export)
}

fn open() -> Bdev {
    ring_lab::open("m4")
}

/// One request at a time: every place in a block times every count, written through both exports, read back with a
/// sector on each side, and compared with an array of bytes.
fn every_place() -> Step {
    let mut plan: VecDeque<(u8, u64, usize)> = VecDeque::new();
    for slot in [WHOLE, SHIFTED] {
        for place in 0..8 {
            for count in 1..=16 {
                plan.push_back((slot, 16 + place, count));
            }
        }
    }
    let mut disk = vec![0u8; SECTORS * 512];
    let mut expected: Option<Vec<u8>> = None;
    let mut reads: VecDeque<(u8, u64, u8)> = VecDeque::new();
    let mut bdev = None;
    let mut number = 0;
    Box::new(move |bench, arrived| {
        if bdev.is_none() {
            let opened = open();
            bench.lcore.add(export(WHOLE, &opened), &opened).expect("a free address");
            bench.lcore.add(export(SHIFTED, &opened), &opened).expect("a free address");
            bdev = Some(opened);
        } else {
            let [reply] = &arrived[..] else {
                assert!(arrived.is_empty(), "one answer at a time");
                return false;
            };
            assert_eq!(status(reply), (0x40, 0), "request {number}");
            if let Some(expected) = expected.take() {
                assert!(reply[DATA..] == expected[..], "request {number} read something else");
            }
        }
        number += 1;
        if let Some((slot, lba, count)) = reads.pop_front() {
            assert!(bench.send(&frames::read(slot, number, lba, count)));
            let from = usize::try_from(lba).expect("small") + if slot == SHIFTED { 3 } else { 0 };
            expected = Some(disk[from * 512..][..usize::from(count) * 512].to_vec());
            return false;
        }
        if let Some((slot, lba, count)) = plan.pop_front() {
            let data = pattern(number, count);
            let from = usize::try_from(lba).expect("small") + if slot == SHIFTED { 3 } else { 0 };
            disk[from * 512..][..data.len()].copy_from_slice(&data);
            let frame = frames::write(slot, number, lba, &data);
            // Data that a PMD cut in the middle of a sector, every third time.
            if number % 3 == 0 {
                bench.send_segments(&frame, &[300])
            } else {
                assert!(bench.send(&frame))
            }
            let count = u8::try_from(count).expect("at most 16");
            // What was written, and what lies around it.
            reads.push_back((slot, lba, count));
            reads.push_back((slot, lba - 2, 16));
            reads.push_back((slot, lba + u64::from(count), 9));
            return false;
        }
        bench.lcore.remove(ExportId(10), || ());
        bench.lcore.remove(ExportId(11), || ());
        bdev = None;
        true
    })
}

/// An initiator that writes the sectors of its parity in the first block again and again, several at once.
struct Writer {
    /// The first sector: 0 or 1.
    first: u32,
    sent: u32,
    answered: u32,
}

impl Writer {
    const WRITES: u32 = 4000;

    /// The next write: sector `first`, `first + 2`, ... in turn. A sector's next write is sent when its last has been
    /// answered, so the last one sent is the one that stays.
    fn next(&mut self) -> Option<Vec<u8>> {
        (self.sent < Self::WRITES && self.sent - self.answered < 4).then(|| {
            let sector = self.first + 2 * (self.sent % 4);
            let tag = self.first << 24 | self.sent;
            self.sent += 1;
            frames::write(WHOLE, tag, u64::from(sector), &pattern(tag + 1, 1))
        })
    }

    /// What sector `sector` holds in the end.
    fn last(sector: u32) -> Vec<u8> {
        let (first, turn) = (sector % 2, sector / 2);
        let last = Self::WRITES - 4 + turn;
        pattern((first << 24 | last) + 1, 1)
    }
}

fn mbuf(pool: &Mempool, bytes: &[u8]) -> Option<Mbuf> {
    let mut frame = pool.alloc()?;
    assert!(frame.resize(bytes.len()));
    frame.data_mut().copy_from_slice(bytes);
    Some(frame)
}

/// A second lcore with a ring of its own, on another core if there is one.
struct Second {
    peer: PeerRing,
    remote: Option<Remote>,
    ports: Vec<Port>,
    added: Arc<AtomicBool>,
}

fn second(bench: &Bench, bdev: &Bdev) -> Second {
    let (number, peer) = ring_port(ring_lab::eal(), "wire2", RING).expect("another ring port");
    let mut ports = Vec::new();
    let queue = ring_lab::port_queue(&mut ports, number, &bench.second_pool);
    let core = spdk::app::cores().last().copied().expect("a reactor");
    let remote = Remote::start(core, vec![queue], |started| started.expect("an lcore")).expect("a thread");
    let added = Arc::new(AtomicBool::new(false));
    let (noted, bdev) = (Arc::clone(&added), bdev.clone());
    let sent = remote.send(move |lcore| {
        lcore.add(export(WHOLE, &bdev), &bdev).expect("an empty table");
        noted.store(true, Ordering::Release);
    });
    sent.expect("a message");
    Second { peer, remote: Some(remote), ports, added }
}

/// Two lcores, each with channels of its own, write to different sectors of the same block all the time: no sector may
/// end with anything but what was last written to it.
fn neighbours() -> Step {
    let mut setup: Option<(Bdev, Second)> = None;
    let mut writers = [0, 1].map(|first| Writer { first, sent: 0, answered: 0 });
    let mut reading = false;
    let stopped = Arc::new(AtomicBool::new(false));
    let done = Rc::new(Cell::new(false));
    Box::new(move |bench, arrived| {
        if done.get() {
            // The second lcore's queues are dropped on its thread, then the port closes here.
            let ended = stopped.load(Ordering::Acquire);
            if ended {
                setup = None;
            }
            return ended;
        }
        let (_, second) = setup.get_or_insert_with(|| {
            let bdev = open();
            bench.lcore.add(export(WHOLE, &bdev), &bdev).expect("a free address");
            let second = second(bench, &bdev);
            (bdev, second)
        });
        if !second.added.load(Ordering::Acquire) {
            return false;
        }
        if reading {
            let [reply] = &arrived[..] else { return false };
            assert_eq!(status(reply), (0x40, 0));
            for sector in 0..8u32 {
                let found = &reply[DATA + 512 * sector as usize..][..512];
                assert!(found == Writer::last(sector), "an update of sector {sector} is lost");
            }
            bench.lcore.remove(ExportId(10), || ());
            let noted = Arc::clone(&stopped);
            if let Some(remote) = second.remote.take() {
                let ended = remote.stop(move |left| {
                    assert_eq!(left, 0);
                    noted.store(true, Ordering::Release);
                });
                ended.expect("a message");
            }
            done.set(true);
            return false;
        }
        let from_second = std::iter::from_fn(|| second.peer.receive()).map(|frame| frame.data().to_vec());
        let replies: Vec<Vec<u8>> = arrived.into_iter().chain(from_second).collect();
        for reply in replies {
            assert_eq!(status(&reply), (0x40, 0), "write {:x}", tag(&reply));
            let writer = usize::from(tag(&reply) >> 24 != 0);
            writers[writer].answered += 1;
        }
        for (index, writer) in writers.iter_mut().enumerate() {
            // A round of four goes out when the one before is answered.
            if writer.sent != writer.answered {
                continue;
            }
            while let Some(frame) = writer.next() {
                let frame = mbuf(&bench.outside, &frame).expect("a mbuf for the initiator");
                let peer = if index == 0 { &bench.peer } else { &second.peer };
                peer.send(frame).expect("room in the ring");
            }
        }
        if writers.iter().all(|writer| writer.answered == Writer::WRITES) {
            reading = true;
            assert!(bench.send(&frames::read(WHOLE, 1, 0, 8)));
        }
        // Named here, so that the closure owns the second lcore's ports until the scenario ends.
        let _ = &second.ports;
        false
    })
}

/// More unaligned requests at once than there are buffers for: they wait, and all are answered.
fn more_than_buffers() -> Step {
    const REQUESTS: u32 = 600;
    let mut bdev = None;
    let mut sent = 0;
    let mut answered = std::collections::BTreeSet::new();
    Box::new(move |bench, arrived| {
        if bdev.is_none() {
            let opened = open();
            bench.lcore.add(export(WHOLE, &opened), &opened).expect("a free address");
            bdev = Some(opened);
        }
        while sent < REQUESTS {
            let lba = u64::from(sent) % 256;
            let frame = match sent % 2 {
                0 => frames::write(WHOLE, sent, lba * 2, &pattern(sent, 1)),
                _ => frames::read(WHOLE, sent, lba, 3),
            };
            if !bench.send(&frame) {
                break;
            }
            sent += 1;
        }
        for reply in arrived {
            assert_eq!(status(&reply), (0x40, 0));
            assert!(answered.insert(tag(&reply)), "answered twice: {}", tag(&reply));
        }
        if answered.len() < REQUESTS as usize {
            return false;
        }
        bench.lcore.remove(ExportId(10), || ());
        bdev = None;
        true
    })
}
