//! A target in memory, at the far end of ring ports: as good or bad as a test wants it.

use std::collections::VecDeque;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{AtaRequest, Mac, Received, SECTOR, ata, opcode};
use dpdk::{Mbuf, PeerRing};

use crate::eal::start_eal;

/// The treatment of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Answer,
    Lose,
    AnswerTwice,
    /// With ATA ERR and ABRT.
    Fail,
    /// With this AoE error.
    Refuse(u8),
    /// A read with one sector less, a write as it should be.
    Short,
    /// As another shelf.
    AsAnother,
    /// To another MAC address.
    ToAnother,
    /// A read with one bit wrong.
    Corrupt,
}

/// A request as the disk received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) queue: usize,
    pub(crate) source: [u8; 6],
    pub(crate) tag: u32,
    pub(crate) is_write: bool,
    pub(crate) lba: u64,
    pub(crate) frame: Vec<u8>,
}

pub(crate) struct Disk {
    pub(crate) address: ShelfSlot,
    pub(crate) buffer_count: u16,
    bytes: Vec<u8>,
    /// For the next requests; then all are answered.
    pub(crate) deeds: VecDeque<Deed>,
    pub(crate) seen: Vec<Seen>,
    /// Whether `seen` is kept.
    pub(crate) looks: bool,
    /// Requests that wait for an answer, when answers are held back.
    pub(crate) held: VecDeque<(usize, Mbuf)>,
    pub(crate) holds: bool,
}

impl Disk {
    pub(crate) fn new(address: &str, sectors: usize) -> Self {
        Self {
            address: address.parse().expect("an address"),
            buffer_count: 16,
            bytes: vec![0; sectors * SECTOR],
            deeds: VecDeque::new(),
            seen: Vec::new(),
            looks: true,
            held: VecDeque::new(),
            holds: false,
        }
    }

    pub(crate) fn sectors(&self) -> u64 {
        (self.bytes.len() / SECTOR) as u64
    }

    /// Its MAC address on a queue.
    pub(crate) fn mac(&self, queue: usize) -> Mac {
        Mac([2, 0xd1, 0x5c, self.address.slot, 0, u8::try_from(queue).expect("few queues")])
    }

    /// Whether a frame on this queue is for it.
    fn is_meant(&self, queue: usize, frame: &[u8]) -> bool {
        Received::parse(frame).is_some_and(|Received { envelope, .. }| {
            envelope.dst == self.mac(queue) && envelope.address == self.address
        })
    }

    /// Takes one request off a queue.
    #[track_caller]
    pub(crate) fn take(&mut self, queue: usize, frame: Mbuf, peer: &PeerRing) {
        let data = frame.data();
        assert!(
            self.is_meant(queue, data),
            "not for {} on queue {queue}: {:02x?}",
            self.address,
            &data[..36]
        );
        assert!(data.len() >= 60, "a frame of {} bytes", data.len());
        if self.looks {
            let Received { envelope, request, .. } = Received::parse(data).expect("it is meant");
            self.seen.push(Seen {
                queue,
                source: envelope.src.0,
                tag: envelope.tag,
                is_write: request.opcode == opcode::WRITE_EXT,
                lba: request.lba,
                frame: data.to_vec(),
            });
        }
        match self.deeds.pop_front().unwrap_or(Deed::Answer) {
            Deed::Lose => {}
            Deed::Answer if self.holds => self.held.push_back((queue, frame)),
            deed => self.answer(frame, deed, peer),
        }
    }

    /// Answers the requests that were held back.
    pub(crate) fn release(&mut self, peers: &[&PeerRing]) {
        while let Some((queue, frame)) = self.held.pop_front() {
            self.answer(frame, Deed::Answer, peers[queue]);
        }
    }

    fn answer(&mut self, mut frame: Mbuf, deed: Deed, peer: &PeerRing) {
        let bytes = frame.data().to_vec();
        let received = Received::parse(&bytes).expect("a request was taken");
        let AtaRequest { opcode, lba, count, .. } = received.request;
        let start = usize::try_from(lba).expect("a small disk") * SECTOR;
        let place = &mut self.bytes[start..start + usize::from(count) * SECTOR];
        let data = match opcode {
            opcode::READ_EXT => place.to_vec(),
            opcode::WRITE_EXT => {
                place.copy_from_slice(&received.data[..place.len()]);
                Vec::new()
            }
            other => panic!("command {other:#x}"),
        };
        let good = (ata::DRDY, 0);
        let mut reply = match deed {
            Deed::Fail => received.reply(0, (ata::DRDY | ata::ERR, ata::ABRT), &[]),
            Deed::Refuse(code) => received.reply(code, good, &data),
            Deed::Short => received.reply(0, good, &data[..data.len().saturating_sub(SECTOR)]),
            _ => received.reply(0, good, &data),
        };
        match deed {
            Deed::AsAnother => reply[17] ^= 1,
            Deed::ToAnother => reply[5] ^= 1,
            Deed::Corrupt => *reply.last_mut().expect("bytes") ^= 0x10,
            _ => {}
        }
        reply.resize(reply.len().max(60), 0);
        let copies = if deed == Deed::AnswerTwice { 2 } else { 1 };
        assert!(frame.resize(reply.len()), "a request's mbuf has room for its reply");
        frame.data_mut().copy_from_slice(&reply);
        if copies == 2 {
            peer.send(copy(&frame)).expect("the ring has room");
        }
        peer.send(frame).expect("the ring has room");
    }
}

/// The same frame in an mbuf of a pool of the tests' own.
pub(crate) fn copy(frame: &Mbuf) -> Mbuf {
    use std::sync::{Arc, OnceLock};
    static POOL: OnceLock<Arc<dpdk::Mempool>> = OnceLock::new();
    let pool =
        POOL.get_or_init(|| dpdk::Mempool::new(start_eal(), "copies", 255, 0, 9216, None).expect("memory"));
    let mut copy = pool.alloc().expect("an mbuf");
    assert!(copy.copy_from(frame));
    copy
}

/// Has each disk answer what came for it; a frame for none of them is an error.
pub(crate) fn serve(disks: &mut [Disk], peers: &[&PeerRing]) {
    for (queue, peer) in peers.iter().enumerate() {
        while let Some(frame) = peer.receive() {
            let meant = disks.iter_mut().find(|disk| disk.is_meant(queue, frame.data()));
            let disk = meant.unwrap_or_else(|| panic!("for nobody: {:02x?}", &frame.data()[..36]));
            disk.take(queue, frame.into_exclusive().expect("nobody shares it"), peer);
        }
    }
}
