//! The answers the protocol demands, worked out from the bytes of a frame with none of the target's code.
//!
//! Source: the AoE protocol (AoEr11 and, for what it leaves open, what this target has chosen: ATA abort for counts
//! of 0, for what a port can't carry and for short payloads).

use std::collections::BTreeMap;

mod initiator_state;
mod opcode;

pub use initiator_state::InitiatorState;
use opcode::is_write;

/// The port's MAC address.
pub const PORT: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

/// How the disk behind a request behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what it is asked.
    Works,
    /// The medium fails.
    BadMedium,
    /// The device fails.
    Fails,
    /// It has no such sectors any more.
    Shrunk,
    /// It refuses.
    Refuses,
}

/// A disk and what belongs to it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Shelf address.
    pub shelf: u16,
    /// Slot address.
    pub slot: u8,
    /// Size, in sectors of 512 bytes.
    pub size: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// The bdev is gone.
    pub offline: bool,
    /// Buffer count as the operator set it.
    pub buffers: u16,
    /// What initiators keep here.
    pub state: InitiatorState,
    /// The operator's list of the only initiators to answer; everybody when empty.
    pub allow: Vec<[u8; 6]>,
    /// The operator's list of initiators never to answer.
    pub deny: Vec<[u8; 6]>,
    /// The bdev unmaps, tells of its health, and has a volatile write cache.
    pub rich: bool,
    /// SET FEATURES has turned the cache off.
    pub cache_off: bool,
    /// SMART has been turned off.
    pub smart_off: bool,
    /// Serial, model and firmware as in the IDENTIFY page.
    pub names: [&'static str; 3],
    /// What was written; all else is zero.
    pub written: BTreeMap<u64, Vec<u8>>,
}

/// The target on one port.
#[derive(Clone, Debug)]
pub struct Model {
    /// By id.
    pub disks: Vec<Disk>,
    /// Most sectors the port can carry.
    pub max_sectors: u8,
    /// Most bytes of a frame the port can carry.
    pub max_frame: usize,
}

impl Model {
    /// The replies to a frame, one for each disk meant, in the order of the disks.
    pub fn replies(&mut self, frame: &[u8], fate: Fate) -> Vec<Vec<u8>> {
        let (most, room) = (self.max_sectors, self.max_frame);
        if !is_request(frame) || frame[..6] != PORT && frame[..6] != [0xff; 6] {
            return Vec::new();
        }
        let (shelf, slot) = (u16::from_be_bytes([frame[16], frame[17]]), frame[18]);
        self.disks
            .iter_mut()
            .filter(|disk| (shelf == 0xffff || shelf == disk.shelf) && (slot == 0xff || slot == disk.slot))
            .filter(|disk| disk.check_sender(&frame[6..12]))
            .filter_map(|disk| match frame[19] {
                0 if !disk.state.let_through(frame) => Some(disk.header(frame, Some(6))),
                0 => Some(disk.ata(frame, most, fate)),
                1 => disk.query(frame, most),
                2..=4 => disk.claim(frame, room),
                _ => Some(disk.header(frame, Some(1))),
            })
            .map(|mut reply| {
                reply.resize(reply.len().max(60), 0);
                reply
            })
            .collect()
    }
}

/// Long enough, of AoE version 1, no response, from a mac.
fn is_request(frame: &[u8]) -> bool {
    let least = |frame: &[u8]| match frame[19] {
        0 => 36,
        1 => 32,
        2 => 28,
        3 | 4 => 26,
        _ => 24,
    };
    frame.len() >= 24
        && frame[12..14] == [0x88, 0xa2]
        && frame[14] >> 4 == 1
        && frame[14] & 8 == 0
        && frame[6] & 1 == 0
        && frame.len() >= least(frame)
}

impl Disk {
    fn header(&self, frame: &[u8], error: Option<u8>) -> Vec<u8> {
        let mut reply = frame[6..12].to_vec();
        reply.extend(PORT);
        reply.extend([0x88, 0xa2]);
        reply.extend(error.map_or([0x18, 0], |error| [0x1c, error]));
        reply.extend(self.shelf.to_be_bytes());
        reply.push(self.slot);
        reply.extend(&frame[19..24]);
        reply
    }

    /// The ATA answer: status and error; count and address as in the request unless they are given.
    fn registers(&self, frame: &[u8], status: u8, error: u8, count: Option<u8>) -> Vec<u8> {
        let mut reply = self.header(frame, None);
        // Flags that are not defined are not sent back.
        reply.extend([frame[24] & 0x53, error, count.unwrap_or(frame[26]), status]);
        reply.extend(&frame[28..34]);
        reply.extend([0, 0]);
        reply
    }

    fn ata(&mut self, frame: &[u8], most: u8, fate: Fate) -> Vec<u8> {
        let abort = self.registers(frame, 0x41, 0x04, None);
        if self.offline {
            return self.registers(frame, 0x61, 0x04, None);
        }
        let (opcode, feature, count) = (frame[27], frame[25], frame[26]);
        let done = self.registers(frame, 0x40, 0, Some(0));
        let wide = matches!(opcode, 0x24 | 0x34 | 0x25 | 0x35);
        match opcode {
            0xec if count == 1 => [done, self.identify(most)].concat(),
            0xe5 => self.registers(frame, 0x40, 0, Some(0xff)),
            0xe0..=0xe3 | 0xe6 => done,
            0xe7 | 0xea => self.failed(frame, fate, false).unwrap_or(done),
            0x06 => self.trim(frame, most, fate),
            0xb0 if self.rich && frame[29..31] == [0x4f, 0xc2] => match feature {
                0xd8 => {
                    self.smart_off = false;
                    done
                }
                _ if self.smart_off => abort,
                0xd9 => {
                    self.smart_off = true;
                    done
                }
                0xd0 | 0xd1 => {
                    self.failed(frame, fate, false).unwrap_or_else(|| [done, vec![feature; 512]].concat())
                }
                0xda => self.failed(frame, fate, false).unwrap_or_else(|| {
                    let mut status = done;
                    // The address registers as a 28-bit command leaves them.
                    status[28] = 0;
                    status[31] &= 0xf0;
                    status
                }),
                _ => abort,
            },
            0xef if self.rich && matches!(feature, 0x02 | 0x82) => {
                self.cache_off = feature == 0x82;
                done
            }
            0x20 | 0x24 | 0x25 | 0xc8 | 0x30 | 0x34 | 0x35 | 0xca => {
                let write = is_write(opcode);
                let first = address(frame, wide);
                let bytes = 512 * usize::from(count);
                if count == 0 || count > most || write && (self.read_only || frame.len() - 36 < bytes) {
                    return abort;
                }
                if first + u128::from(count) > u128::from(self.size) {
                    return self.registers(frame, 0x41, 0x10, None);
                }
                match self.failed(frame, fate, !write) {
                    Some(failure) => failure,
                    None => self.transfer(frame, write, wide),
                }
            }
            _ => abort,
        }
    }

    /// What a bdev's failure becomes; a medium that can't be read is told as that only of a read.
    fn failed(&self, frame: &[u8], fate: Fate, read: bool) -> Option<Vec<u8>> {
        let (status, error) = match fate {
            Fate::Works => return None,
            Fate::BadMedium if read => (0x41, 0x40),
            Fate::BadMedium | Fate::Fails => (0x61, 0x04),
            Fate::Shrunk => (0x41, 0x10),
            Fate::Refuses => (0x41, 0x04),
        };
        Some(self.registers(frame, status, error, None))
    }

    /// DATA SET MANAGEMENT: entries of 8 bytes, 48 bits of address and 16 of length, little endian. All or nothing.
    fn trim(&mut self, frame: &[u8], most: u8, fate: Fate) -> Vec<u8> {
        let blocks = frame[26];
        let can = self.rich && !self.read_only && frame[25] & 1 == 1 && blocks != 0 && blocks <= most;
        let Some(entries) = frame.get(36..36 + 512 * usize::from(blocks)).filter(|_| can) else {
            return self.registers(frame, 0x41, 0x04, None);
        };
        let ranges: Vec<(u128, u128)> = entries
            .chunks(8)
            .map(|entry| entry.iter().rev().fold(0u128, |all, byte| all << 8 | u128::from(*byte)))
            .map(|entry| (entry & 0xffff_ffff_ffff, entry >> 48))
            .filter(|(_, length)| *length > 0)
            .collect();
        if ranges.iter().any(|(first, length)| first + length > u128::from(self.size)) {
            return self.registers(frame, 0x41, 0x10, None);
        }
        if let Some(failure) = self.failed(frame, fate, false).filter(|_| !ranges.is_empty()) {
            return failure;
        }
        let gone = |sector: u64| {
            ranges.iter().any(|(first, length)| (*first..first + length).contains(&u128::from(sector)))
        };
        self.written.retain(|sector, _| !gone(*sector));
        self.registers(frame, 0x40, 0, Some(0))
    }

    fn transfer(&mut self, frame: &[u8], write: bool, wide: bool) -> Vec<u8> {
        let first = u64::try_from(address(frame, wide)).expect("48 bits");
        let count = u64::from(frame[26]);
        let mut reply = self.registers(frame, 0x40, 0, Some(0));
        // The address past the last sector, in the bits the command has; a 28-bit one leaves the device register.
        let next = (first + count).to_le_bytes();
        if wide {
            reply[28..34].copy_from_slice(&next[..6]);
        } else {
            reply[28..31].copy_from_slice(&next[..3]);
            reply[31] = frame[31] & 0xf0 | next[3] & 0x0f;
        }
        for sector in first..first + count {
            let at = 36 + 512 * usize::try_from(sector - first).expect("at most 255");
            if write {
                self.written.insert(sector, frame[at..at + 512].to_vec());
            } else {
                reply.extend(self.written.get(&sector).map_or(&[0; 512][..], Vec::as_slice));
            }
        }
        reply
    }

    fn query(&mut self, frame: &[u8], most: u8) -> Option<Vec<u8>> {
        let command = frame[29] & 0x0f;
        let error = self.state.query(command, &frame[30..])?;
        let config = &self.state.config;
        let mut reply = self.header(frame, error);
        reply.extend(self.buffers.max(2).to_be_bytes());
        reply.extend([0, 1, most, 0x10 | command]);
        reply.extend(u16::try_from(config.len()).expect("at most 1024").to_be_bytes());
        reply.extend(config);
        Some(reply)
    }

    /// Commands 2, 3 and 4. Silence only for a mask request whose reserved byte is set.
    fn claim(&mut self, frame: &[u8], room: usize) -> Option<Vec<u8>> {
        let (error, argument) = match frame[19] {
            2 if frame[24] != 0 => return None,
            2 => self.state.mask_request(&frame[24..], room),
            3 => self.state.reserve_request(&frame[6..12], &frame[24..], room),
            _ => self.state.keyed_request(&frame[6..12], &frame[24..], room),
        };
        let mut reply = self.header(frame, error);
        reply.extend(argument);
        Some(reply)
    }

    fn check_sender(&self, mac: &[u8]) -> bool {
        let lists = |list: &[[u8; 6]]| list.iter().any(|listed| listed == mac);
        !lists(&self.deny)
            && (self.allow.is_empty() || lists(&self.allow))
            && (self.state.mask.is_empty() || lists(&self.state.mask))
    }

    /// The IDENTIFY page: little-endian words, texts with the first character of each pair in the high byte.
    fn identify(&self, most: u8) -> Vec<u8> {
        let mut words = [0u16; 256];
        for (at, value) in [
            (0, 0x0040),
            (2, 0xc837),
            (47, 0x8000),
            (49, 0x0300),
            (50, 0x4000),
            (83, 0x7400),
            (84, 0x4000),
            (86, 0x3400),
            (87, 0x4000),
        ] {
            words[at] = value;
        }
        if self.rich {
            words[82] = 0x21;
            words[85] = u16::from(!self.smart_off) | if self.cache_off { 0 } else { 0x20 };
            if !self.read_only {
                (words[105], words[169]) = (most.into(), 1);
            }
        }
        for ((at, len), name) in [(10, 10), (27, 20), (23, 4)].into_iter().zip(self.names) {
            let mut characters = name.bytes().chain(std::iter::repeat(b' '));
            for word in &mut words[at..at + len] {
                let (high, low) = (characters.next().expect("endless"), characters.next().expect("endless"));
                *word = u16::from(high) << 8 | u16::from(low);
            }
        }
        let (short, long) = (self.size.min(0x0fff_ffff), self.size.min(0xffff_ffff_ffff));
        for (at, size, len) in [(60, short, 2), (100, long, 4)] {
            for part in 0..len {
                words[at + part] = (size >> (16 * part) & 0xffff) as u16;
            }
        }
        let mut page: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        page[510] = 0xa5;
        page[511] = 0u8.wrapping_sub(page[..511].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        page
    }
}

/// The first sector; of a 28-bit command the nibble above belongs to the device register.
fn address(frame: &[u8], wide: bool) -> u128 {
    let all = frame[28..34].iter().rev().fold(0, |all, byte| all << 8 | u128::from(*byte));
    if wide { all } else { all & 0x0fff_ffff }
}
