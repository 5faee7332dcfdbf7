//! Frames that were valid requests of every kind, and were changed at random. One seed gives one row of frames.

use aoe_initiator::ShelfSlot;
use aoe_initiator::sector::Random;
use aoe_initiator::wire::{
    AtaRequest, ConfigCommand, Envelope, Mac, config_frame, mask_add_frame, opcode, reserve_frame,
};

/// Bytes of an Ethernet header; the kernel sends nothing shorter.
const ETHERNET: usize = 14;
/// Bytes in front of which most fields lie.
const HEADERS: u64 = 48;
/// Senders, so that masks and reservations concern some of them and not others.
const SENDERS: u8 = 4;
const DATA_SET_MANAGEMENT: u8 = 0x06;

pub(super) struct Mutator {
    random: Random,
    valid: Vec<Vec<u8>>,
    longest: usize,
}

impl Mutator {
    /// Of requests to `address` at `mac`, on a link with this MTU.
    pub(super) fn new(seed: u64, mac: Mac, address: ShelfSlot, mtu: usize) -> Self {
        let mut valid = Vec::new();
        for sender in 0..SENDERS {
            let src = Mac([2, 0, 0, 0, 1, sender]);
            for dst in [mac, Mac::BROADCAST] {
                valid.extend(requests(&Envelope { dst, src, address, tag: 0x1000 + u32::from(sender) }));
            }
        }
        Self { random: Random::new(seed), valid, longest: ETHERNET + mtu }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.random.next().to_be_bytes()[0]
    }

    /// The next frame: a valid one, changed none to four times.
    pub(super) fn next_frame(&mut self) -> Vec<u8> {
        let which = self.below(self.valid.len());
        let mut frame = self.valid[which].clone();
        for _ in 0..self.below(5) {
            self.change(&mut frame);
        }
        frame.truncate(self.longest);
        let least = frame.len().max(ETHERNET);
        frame.resize(least, 0);
        frame
    }

    fn change(&mut self, frame: &mut Vec<u8>) {
        let end = frame.len().max(1);
        // Most changes hit the headers.
        let near = end.min(usize::try_from(HEADERS).unwrap());
        let at = if self.below(4) == 0 { self.below(end) } else { self.below(near) };
        match self.below(12) {
            0 | 1 => frame[at] ^= 1 << self.below(8),
            2 => frame[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
            3 => {
                let value = self.random.next().to_be_bytes();
                for (byte, value) in frame[at..].iter_mut().take(4).zip(value) {
                    *byte = value;
                }
            }
            4 => frame.truncate(at.max(ETHERNET)),
            5 => {
                let more = self.below(self.longest);
                for _ in 0..more {
                    let byte = self.byte();
                    frame.push(byte);
                }
            }
            // VLAN tags: priority only, another VLAN, a service tag, one more than is allowed.
            6 => {
                let kind = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]][self.below(3)];
                let vlan = [[0x00, 0x00], [0xe0, 0x00], [0x00, 0x05], [0x0f, 0xff]][self.below(4)];
                let place = frame.len().min(12);
                frame.splice(place..place, [kind, vlan].concat());
            }
            7 => {
                let kind =
                    [[0x08, 0x00], [0x86, 0xdd], [0x88, 0xcc], [0x00, 0x2e], [0xff, 0xff]][self.below(5)];
                put(frame, 12, &kind);
            }
            // Wildcards of shelf and slot, then an address that nobody serves.
            8 => put(frame, 16, [&[0xff, 0xff, 0xff][..], &[0xff, 0xff], &[0, 9, 9]][self.below(3)]),
            9 => {
                let group = [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2, 0, 0, 0, 0, 0x77], [0; 6]][self.below(4)];
                put(frame, 6 * self.below(2), &group);
            }
            10 => {
                let other = self.below(self.valid.len());
                let other = &self.valid[other];
                let from = at.max(ETHERNET).min(other.len());
                frame.truncate(at.max(ETHERNET));
                frame.extend_from_slice(&other[from..]);
            }
            // Lengths: the sector count, the config string's length, the counts of mask and reserve.
            _ => {
                let place = [26, 27, 28, 30, 31, 25][self.below(6)];
                let value = self.byte();
                put(frame, place, &[value]);
            }
        }
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in frame.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// A request of each kind.
fn requests(to: &Envelope) -> Vec<Vec<u8>> {
    let ata = |request: AtaRequest, data: usize| request.frame(to, &vec![0xa5; data]);
    let bare = |opcode| ata(AtaRequest::bare(opcode), 0);
    let mut frames = vec![
        ata(AtaRequest::identify(), 0),
        ata(AtaRequest::read(8, 2), 0),
        ata(AtaRequest::read28(1, 1), 0),
        ata(AtaRequest::write(16, 2), 1024),
        ata(AtaRequest::write28(3, 1), 512),
        ata(AtaRequest { count: 1, feature: 1, aflags: 0x41, ..AtaRequest::bare(DATA_SET_MANAGEMENT) }, 512),
        ata(AtaRequest { feature: 0xd0, lba: 0x00c2_4f00, ..AtaRequest::bare(opcode::SMART) }, 0),
        ata(AtaRequest { feature: 0x82, ..AtaRequest::bare(opcode::SET_FEATURES) }, 0),
        bare(opcode::FLUSH),
        bare(opcode::FLUSH_EXT),
        bare(opcode::CHECK_POWER_MODE),
        bare(0x42),
        mask_add_frame(to, to.src),
        to.frame(0xf0, &[0; 36]),
        // Key-value reservation and a mask list that is read.
        to.frame(4, &[0; 20]),
        to.frame(2, &[0; 4]),
    ];
    for command in [
        ConfigCommand::Read,
        ConfigCommand::Test,
        ConfigCommand::Prefix,
        ConfigCommand::Set,
        ConfigCommand::ForceSet,
    ] {
        frames.push(config_frame(to, command, b"name"));
    }
    frames.push(config_frame(to, ConfigCommand::TestAndReplace, b"name\0\x04other"));
    for command in 0..3 {
        frames.push(reserve_frame(to, command, &[to.src, Mac([2, 0, 0, 0, 1, 0])]));
    }
    frames
}
