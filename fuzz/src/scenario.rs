//! A sequence of requests and events, made of the fuzzer's bytes.
//!
//! The first byte chooses the port. Then each step is a byte that says what, one that says how the bdev behaves, and
//! what the step needs; when the bytes run out, zeroes are read until the step is complete.

use aoe_target::PortLimits;

use crate::model::{Disk, Fate, InitiatorState, Model, PORT};
use crate::subject::Subject;

/// Most steps of one input; longer ones only slow the fuzzer down.
const MAX_STEPS: usize = 64;

/// MAC addresses that send requests.
pub const INITIATORS: [[u8; 6]; 4] =
    [[0x52, 0x54, 0, 0, 0, 1], [0x52, 0x54, 0, 0, 0, 3], [2, 0, 0, 0, 0, 4], [2, 0, 0, 0, 0, 5]];

/// Opcodes that deserve most of the attempts.
const OPCODES: [u8; 24] = [
    0x20, 0x24, 0x30, 0x34, 0x24, 0x34, 0x25, 0x35, 0xc8, 0xca, 0xec, 0xe7, 0xea, 0xe5, 0xb0, 0xef, 0x06,
    0xe0, 0xe1, 0xe2, 0xe3, 0xe6, 0xc4, 0x00,
];

/// Plays the input to the target and the model; panics where they differ.
pub fn check(input: &[u8]) {
    let mut source = Source(input);
    let mtu = [9000, 1500, 4200, 548][usize::from(source.byte() & 3)];
    let limits = PortLimits::for_mtu(mtu).expect("room for a sector");
    let max_sectors = u8::try_from((mtu - 36) / 512).expect("few").min(16);
    let max_frame = usize::from(mtu) + 14;
    let mut model = Model { disks: disks(), max_sectors, max_frame };
    let mut subject = Subject::new(&model.disks, limits);
    for step in 0..MAX_STEPS {
        if source.0.is_empty() {
            break;
        }
        let (what, fate) = (source.byte(), source.fate());
        let frame = match what % 8 {
            0 => source.raw(),
            1..=3 => source.ata(&model),
            4 => source.query(),
            5 => source.mask(),
            6 => source.reservation(),
            _ => {
                let (id, disk) = source.change(&mut model);
                subject.follow(id, &disk);
                continue;
            }
        };
        let expected = model.replies(&frame, fate);
        let got = subject.replies(&frame, fate);
        assert!(
            got == expected,
            "step {step}, {fate:?}, {frame:02x?}:\n got {got:02x?}\n not {expected:02x?}"
        );
    }
}

/// A step that is this frame as it stands, for [`check`]'s first byte 0 and a bdev that works.
pub fn raw_step(frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).expect("a frame");
    [&[0, 0][..], &length.to_be_bytes(), frame].concat()
}

/// A small disk, one that cannot be written, and one as large as a 48-bit address can tell and larger.
fn disks() -> Vec<Disk> {
    let disk = |shelf, slot, size, read_only, config: &[u8]| Disk {
        shelf,
        slot,
        size,
        read_only,
        offline: false,
        buffers: 16,
        state: InitiatorState::of(config),
        allow: Vec::new(),
        deny: Vec::new(),
        rich: slot == 2,
        cache_off: false,
        smart_off: false,
        names: ["0123456789abcdef", "a model", "1.0"],
        written: std::collections::BTreeMap::new(),
    };
    vec![
        disk(1, 2, 40, false, b""),
        disk(1, 3, 5000, true, b"claimed"),
        disk(2, 2, (1 << 48) + 5, false, &[7; 1024]),
    ]
}

/// The rest of the input.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    fn fate(&mut self) -> Fate {
        match self.byte() {
            0xf0..=0xf3 => Fate::BadMedium,
            0xf4..=0xf7 => Fate::Fails,
            0xf8..=0xfb => Fate::Shrunk,
            0xfc.. => Fate::Refuses,
            _ => Fate::Works,
        }
    }

    fn raw(&mut self) -> Vec<u8> {
        let length = usize::from(self.two()) % 9216;
        self.bytes(length)
    }

    /// The AoE header: mostly a disk that is there, sometimes a wildcard or nobody.
    fn header(&mut self, command: u8) -> Vec<u8> {
        let (whom, from) = (self.byte(), self.byte());
        let mut frame = match whom >> 4 {
            0..=11 => PORT.to_vec(),
            12..=14 => vec![0xff; 6],
            _ => INITIATORS[1].to_vec(),
        };
        let mut mac = INITIATORS[usize::from(from % 4)];
        // Now and then a multicast address.
        mac[0] |= u8::from(from == 0xff);
        frame.extend(mac);
        let flags = if from & 0xf0 == 0xe0 { self.byte() } else { 0x10 };
        frame.extend([0x88, 0xa2, flags, 0]);
        frame.extend(match whom & 0x0f {
            0..=4 => [0, 1, 2],
            5..=7 => [0, 1, 3],
            8..=10 => [0, 2, 2],
            11 => [0xff, 0xff, 0xff],
            12 => [0xff, 0xff, 2],
            13 => [0, 1, 0xff],
            14 => [0, 2, 3],
            _ => [0, 3, 0xff],
        });
        frame.push(command);
        frame.extend(self.two().to_be_bytes());
        frame.extend([0x80, whom]);
        frame
    }

    fn ata(&mut self, model: &Model) -> Vec<u8> {
        let mut frame = self.header(0);
        let opcode = match self.byte() {
            choice @ 0..0xe0 => OPCODES[usize::from(choice) % OPCODES.len()],
            _ => self.byte(),
        };
        let flags = self.byte();
        let feature = match (opcode, self.byte()) {
            (0x06, _) => 1,
            (0xb0, choice @ 0..0xf0) => [0xd0, 0xd1, 0xd8, 0xd9, 0xda][usize::from(choice % 5)],
            (0xef, choice @ 0..0xf0) => [0x02, 0x82][usize::from(choice % 2)],
            (_, other) => other,
        };
        let count = match self.byte() {
            choice @ 0..0xd0 => choice % 20,
            _ => self.byte(),
        };
        let (near, off) = (self.byte(), i64::from(self.byte().cast_signed()));
        let base: i64 = match near % 8 {
            0..=2 => 8,
            3 => model.disks[0].size.cast_signed(),
            4 => model.disks[1].size.cast_signed(),
            5 => 1 << 28,
            6 => (1 << 48) - 1,
            _ => i64::from(self.two()) << 32 | i64::from(self.two()) << 16 | i64::from(self.two()),
        };
        frame.extend([flags, feature, count, opcode]);
        frame.extend(&base.wrapping_add(off).to_le_bytes()[..6]);
        frame.extend(self.two().to_be_bytes());
        if opcode == 0xb0 && near < 0xf0 {
            frame[29..31].copy_from_slice(&[0x4f, 0xc2]);
        }
        let (amount, fill) = (self.byte(), self.byte());
        let whole = 512 * usize::from(count);
        let length = match amount {
            0..=63 if opcode & 0x30 == 0x30 || opcode == 0xca => whole,
            0..=199 => 0,
            200..=220 => whole.saturating_sub(1),
            221..=230 => whole + 1,
            _ => usize::from(amount) * 7,
        };
        // Every byte and every sector differs from its neighbours.
        frame.extend((0..length).map(|at| fill.wrapping_add((at % 251 + at / 512) as u8)));
        if opcode == 0x06 && amount < 200 {
            // A few ranges near the limits, and nothing behind them.
            frame.truncate(36);
            for _ in 0..fill % 5 {
                let first = u64::from(self.two()) % 64;
                let length = u64::from(self.byte()) % 48;
                frame.extend((length << 48 | first).to_le_bytes());
            }
            frame.resize(36 + whole, 0);
        }
        self.cut(frame)
    }

    fn query(&mut self) -> Vec<u8> {
        let mut frame = self.header(1);
        let command = self.byte();
        let string = match command >> 6 {
            0 => b"claimed"[..usize::from(self.byte() % 8)].to_vec(),
            1 => vec![7; 1020 + usize::from(self.byte() % 8)],
            2 => Vec::new(),
            _ => {
                let length = usize::from(self.byte() % 64);
                self.bytes(length)
            }
        };
        frame.extend([0; 5]);
        frame.push(if command & 0x20 == 0 { 0x10 | (command % 7) } else { self.byte() });
        let lie = self.byte();
        let length = if lie < 0xf0 { u16::try_from(string.len()).expect("short") } else { self.two() };
        frame.extend(length.to_be_bytes());
        frame.extend(string);
        if frame[29] & 0x0f == 5 {
            // What replaces it.
            let length = self.two() % 1030;
            frame.extend(length.to_be_bytes());
            frame.extend(b"claimed".iter().cycle().take(length.into()));
        }
        frame.extend(vec![0x77; usize::from(lie % 4) * 9]);
        self.cut(frame)
    }

    /// A MAC address: often one that sends, or one of many so that lists grow long.
    fn mac(&mut self) -> [u8; 6] {
        match self.byte() {
            choice @ 0..0xc0 => INITIATORS[usize::from(choice % 4)],
            choice => [6, 0, 0, 0, choice, self.byte()],
        }
    }

    /// Up to 3 addresses, or a run of up to 255.
    fn macs(&mut self) -> Vec<[u8; 6]> {
        let choice = self.byte();
        if choice < 0xe0 {
            return (0..choice % 4).map(|_| self.mac()).collect();
        }
        let (first, many) = (self.byte(), self.byte());
        let mut run: Vec<_> = (0..many).map(|at| [6, 0, 0, 0, first, at]).collect();
        if choice & 1 != 0 && !run.is_empty() {
            run[0] = INITIATORS[0];
        }
        run
    }

    /// The number of a list: now and then not what it is.
    fn count(&mut self, length: usize) -> u8 {
        match self.byte() {
            0xf0.. => self.byte(),
            _ => u8::try_from(length).expect("at most 255"),
        }
    }

    fn mask(&mut self) -> Vec<u8> {
        let mut frame = self.header(2);
        let (command, verb) = (self.byte(), self.byte());
        let macs = self.macs();
        frame.extend([u8::from(command >= 0xf8), if command < 0xe0 { command % 2 } else { command % 5 }, 0]);
        frame.push(self.count(macs.len()));
        for mac in macs {
            let verb = match verb {
                0..0x80 => 1,
                0x80..0xc0 => 2,
                _ => self.byte() % 4,
            };
            frame.extend([verb >> 7, verb]);
            frame.extend(mac);
        }
        self.cut(frame)
    }

    fn reservation(&mut self) -> Vec<u8> {
        let choice = self.byte();
        if choice & 1 == 0 {
            let mut frame = self.header(3);
            let macs = self.macs();
            frame.push((choice >> 1) % 4);
            frame.push(self.count(macs.len()));
            frame.extend(macs.concat());
            return self.cut(frame);
        }
        let mut frame = self.header(4);
        let command = (choice >> 1) % 6;
        frame.push(command);
        match command {
            1 => {
                let macs = self.macs();
                frame.push(self.count(macs.len()));
                frame.extend([0, 0]);
                frame.extend(self.key());
                frame.extend(macs.concat());
            }
            2 => {
                frame.extend([self.byte() % 8, 0, 0]);
                frame.extend(self.key());
            }
            _ => {
                frame.extend([self.byte() % 8, self.byte() & 1, 0]);
                frame.extend(self.key());
                frame.extend(self.key());
            }
        }
        self.cut(frame)
    }

    /// One of a few keys, two of which are not to be used.
    fn key(&mut self) -> [u8; 8] {
        match self.byte() {
            0xf0..=0xf7 => [0; 8],
            0xf8.. => [0xff; 8],
            choice => [choice % 5 + 1; 8],
        }
    }

    /// The frame, one time in sixteen with its end cut off.
    fn cut(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let cut = self.byte();
        if cut & 0xf0 == 0xf0 {
            frame.truncate(usize::from(self.byte() % 80));
        }
        frame
    }

    /// What the operator or the bdev changes; returns the disk as it is then.
    fn change(&mut self, model: &mut Model) -> (u32, Disk) {
        let id = usize::from(self.byte()) % model.disks.len();
        let what = self.byte();
        let value = self.two();
        let disk = &mut model.disks[id];
        match what % 8 {
            0 => disk.offline = true,
            1 | 2 => disk.offline = false,
            3 => disk.read_only = value & 1 != 0,
            4 => disk.buffers = value,
            5 => disk.allow = INITIATORS[..usize::from(value % 4)].to_vec(),
            6 => disk.deny = INITIATORS[usize::from(value % 5)..].to_vec(),
            _ => disk.size = u64::from(value),
        }
        (u32::try_from(id).expect("few"), disk.clone())
    }
}
