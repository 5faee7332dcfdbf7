//! One subject on the wire: raw frames to it, and what comes back.
//!
//! Silence is never a matter of waiting alone: behind a request goes a second one that must be answered, and only
//! when that answer is there does the wait for the first become short.

use std::time::{Duration, Instant};

use aoe_initiator::wire::{Envelope, Mac};
use aoe_initiator::{Link, ShelfSlot};

/// Time for a request on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for the answer to the first request after the answer to the second.
const GRACE: Duration = Duration::from_millis(120);

/// The same for a request that is answered when something is on disk, on a machine whose disk is busy.
const DISK_GRACE: Duration = Duration::from_secs(2);

/// Everybody's address.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

/// Disks that all rules share, because they are not of memory; their slots on a shelf of their own.
#[derive(Clone, Copy)]
pub(crate) enum Other {
    /// A file: without TRIM, and a write is on stable media when it is answered.
    File = 0,
    /// One that keeps nothing, so that it has no write cache either.
    Null = 1,
    /// A file with a write cache that the operator asked for.
    WriteBack = 2,
    /// Memory in [`VLAN`].
    InVlan = 3,
}

/// The VLAN of [`Other::InVlan`].
pub(crate) const VLAN: u16 = 100;

/// A frame as it was without its tag, and the priority and VLAN of that.
pub(crate) type Tagged = (Vec<u8>, Option<u16>);

/// A running target and one export of it.
pub(crate) struct Bench<'l> {
    pub(crate) link: &'l Link,
    /// The target's Ethernet address.
    pub(crate) target: [u8; 6],
    /// The source of our frames.
    pub(crate) own: [u8; 6],
    /// The sender of the second request.
    pub(crate) witness: [u8; 6],
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    /// The shelf of the exports of [`Other`], if they are not this one.
    others: Option<u16>,
    /// Shelf and slot that the second request asks.
    witness_at: (u16, u8),
    /// The advertisements of [`Other::InVlan`], or of this export if there are no others.
    pub(crate) heard_in_vlan: Vec<Tagged>,
    /// Advertisements of this export received when the target started.
    pub(crate) heard: Vec<Vec<u8>>,
    /// The network namespace of the initiators, and the name of its interface.
    pub(crate) namespace: &'l lab::Namespace,
    /// The target's process.
    pub(crate) pid: u32,
    tag: u32,
}

impl<'l> Bench<'l> {
    /// A subject at `shelf.slot` whose Ethernet address is found by asking for it.
    pub(crate) fn find(
        link: &'l Link,
        namespace: &'l lab::Namespace,
        shelf: u16,
        slot: u8,
        heard: Vec<Vec<u8>>,
        pid: u32,
    ) -> Result<Self, String> {
        let own = link.mac().0;
        // No tag comes twice on a link: what others answer late to a wildcard is not taken for an answer.
        let tag = u32::from(slot) << 12;
        let mut bench = Self {
            link,
            target: BROADCAST,
            own,
            witness: own,
            shelf,
            slot,
            others: None,
            witness_at: (shelf, slot),
            heard_in_vlan: heard.iter().map(|frame| (frame.clone(), None)).collect(),
            heard,
            namespace,
            pid,
            tag,
        };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let request = bench.config(0, &[]);
            bench.send(&request)?;
            let until = Instant::now() + Duration::from_millis(100);
            while let Some(frame) = bench.receive(until)? {
                if frame.len() >= 24 && frame[20..24] == request[20..24] && frame[14] & 8 != 0 {
                    bench.target.copy_from_slice(&frame[6..12]);
                    return Ok(bench);
                }
            }
        }
        Err(format!("{shelf}.{slot} does not answer"))
    }

    /// Says on which shelf the disks of [`Other`] are.
    pub(crate) fn with_others(mut self, shelf: u16, heard_in_vlan: Vec<Tagged>) -> Self {
        self.others = Some(shelf);
        self.heard_in_vlan = heard_in_vlan;
        self
    }

    /// From now on asks another disk, if there are several kinds.
    pub(crate) fn go_to(&mut self, other: Other) {
        if let Some(shelf) = self.others {
            (self.shelf, self.slot) = (shelf, other as u8);
            if !matches!(other, Other::InVlan) {
                self.witness_at = (self.shelf, self.slot);
            }
        }
    }

    /// A request with the next tag.
    pub(crate) fn message(&mut self, command: u8, argument: &[u8]) -> Vec<u8> {
        self.tag += 1;
        let address = ShelfSlot::new(self.shelf, self.slot);
        let envelope = Envelope { dst: Mac(self.target), src: Mac(self.own), address, tag: self.tag };
        envelope.frame(command, argument)
    }

    /// A query/config request of 32 bytes and the string.
    pub(crate) fn config(&mut self, ccmd: u8, string: &[u8]) -> Vec<u8> {
        let length = u16::try_from(string.len()).unwrap_or(u16::MAX).to_be_bytes();
        self.message(1, &[&[0, 0, 0, 0, 0, ccmd], &length[..], string].concat())
    }

    /// An ATA request: AFlags, count, opcode, address.
    pub(crate) fn ata(&mut self, flags: u8, count: u8, opcode: u8, lba: u64, data: &[u8]) -> Vec<u8> {
        self.message(0, &[&[flags, 0, count, opcode], &lba.to_le_bytes()[..6], &[0, 0], data].concat())
    }

    pub(crate) fn read(&mut self, lba: u64, count: u8) -> Vec<u8> {
        self.ata(0x40, count, 0x24, lba, &[])
    }

    pub(crate) fn write(&mut self, lba: u64, count: u8, data: &[u8]) -> Vec<u8> {
        self.ata(0x41, count, 0x34, lba, data)
    }

    pub(crate) fn identify(&mut self) -> Vec<u8> {
        self.ata(0, 1, 0xec, 0, &[])
    }

    /// Puts a frame on the wire.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), String> {
        match self.link.send(frame) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the kernel took no frame".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The next frame.
    pub(crate) fn receive(&self, until: Instant) -> Result<Option<Vec<u8>>, String> {
        Ok(self.receive_tagged(until)?.map(|(frame, _)| frame))
    }

    /// The next frame, and its tag.
    fn receive_tagged(&self, until: Instant) -> Result<Option<Tagged>, String> {
        let mut buffer = vec![0; 10_000];
        let received = self.link.receive_tagged(&mut buffer, until).map_err(|error| error.to_string())?;
        Ok(received.map(|(length, tag)| {
            buffer.truncate(length);
            (buffer, tag)
        }))
    }

    /// The answers of this export to a request; `None` for silence. A request too short to have a tag is answered
    /// by any frame.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.try_ask(request).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_ask(&mut self, request: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.answers(request, request, true)?.pop().map(|(frame, _)| frame))
    }

    /// The answers to a request, which goes out as `sent`, and their tags: the first of this export, or all of all
    /// exports.
    pub(crate) fn answers(
        &mut self,
        request: &[u8],
        sent: &[u8],
        first: bool,
    ) -> Result<Vec<Tagged>, String> {
        while self.receive(Instant::now())?.is_some() {}
        self.send(sent)?;
        let second = self.second();
        self.send(&second)?;
        let mut until = Instant::now() + PATIENCE;
        let mut witnessed = false;
        let mut answers = Vec::new();
        while Instant::now() < until {
            let patience = until.min(Instant::now() + Duration::from_millis(50));
            let Some((frame, tag)) = self.receive_tagged(patience)? else {
                if self.has_ended() {
                    return Err("it is gone".into());
                }
                continue;
            };
            if frame.len() < 24 || frame[14] & 8 == 0 {
                continue;
            }
            if frame[20..24] == second[20..24] {
                witnessed = true;
                until = Instant::now() + grace(request);
            } else if request.len() < 24
                || frame[20..24] == request[20..24]
                    && (!first || !is_wildcard(request) || frame[16..19] == self.address())
            {
                answers.push((frame, tag));
                if first {
                    return Ok(answers);
                }
            }
        }
        if witnessed { Ok(answers) } else { Err("nobody is answered".into()) }
    }

    /// The second request, which is never tagged.
    fn second(&mut self) -> Vec<u8> {
        let own = std::mem::replace(&mut self.own, self.witness);
        let here = (self.shelf, self.slot);
        (self.shelf, self.slot) = self.witness_at;
        let second = self.config(0, &[]);
        (self.shelf, self.slot) = here;
        self.own = own;
        second
    }

    /// True if the target's process is no more, or waits to be buried.
    fn has_ended(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).map_or(true, |stat| stat.contains(") Z "))
    }

    /// Sends all of `requests` at once and says how many are answered.
    pub(crate) fn flood(&mut self, requests: &[Vec<u8>], good: impl Fn(&[u8]) -> bool) -> String {
        let run = || -> Result<String, String> {
            for request in requests {
                self.send(request)?;
            }
            let mut open: Vec<&[u8]> = requests.iter().map(|request| &request[20..24]).collect();
            let until = Instant::now() + PATIENCE;
            while !open.is_empty() {
                let Some(frame) = self.receive(until)? else { break };
                if frame.len() >= 36 && frame[16..19] == self.address() && good(&frame) {
                    open.retain(|tag| *tag != &frame[20..24]);
                }
            }
            Ok(format!("{} of {} answered", requests.len() - open.len(), requests.len()))
        };
        run().unwrap_or_else(|error| error)
    }

    /// Shelf and slot as bytes 16 to 18 of a frame.
    pub(crate) fn address(&self) -> [u8; 3] {
        let [high, low] = self.shelf.to_be_bytes();
        [high, low, self.slot]
    }

    /// [`Bench::ask`] in words.
    pub(crate) fn seen(&mut self, request: &[u8]) -> String {
        match self.try_ask(request) {
            Ok(answer) => words(answer.as_deref()),
            Err(error) => error,
        }
    }
}

/// True if other exports may answer too.
fn is_wildcard(request: &[u8]) -> bool {
    request[16..18] == [0xff; 2] || request[18] == 0xff
}

/// How much later than the second the answer to `request` may come: it may wait for the state directory (config set,
/// mask, reservations, SET FEATURES, SMART), or for a write or flush.
fn grace(request: &[u8]) -> Duration {
    let byte = |at: usize| request.get(at).copied().unwrap_or(0);
    let waits = match byte(19) {
        0 => matches!(byte(27), 0x30 | 0x34 | 0x35 | 0xca | 0xe7 | 0xea | 0xef | 0xb0),
        1 => byte(29) & 0x0f > 2,
        2..=4 => true,
        _ => false,
    };
    if waits { DISK_GRACE } else { GRACE }
}

/// `frame` with `bytes` at `at`.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A reply in words.
pub(crate) fn words(reply: Option<&[u8]>) -> String {
    let Some(reply) = reply else { return "silence".into() };
    if reply.len() < 26 {
        return format!("a frame of {} bytes", reply.len());
    }
    if reply[14] & 4 != 0 {
        return format!("AoE error {}", reply[15]);
    }
    match reply[19] {
        0 if reply.len() >= 36 => {
            let data = match reply.len() {
                ..=60 => String::new(),
                length => format!(", {} bytes", length - 36),
            };
            format!("status {:02x} error {:02x}{data}", reply[27], reply[25])
        }
        1 if reply.len() >= 32 => format!("string {:?}", string(reply)),
        2 => format!("list of {}, MError {}", reply[27], reply[26]),
        3 => format!("list of {}", reply[25]),
        command => format!("an answer to command {command}"),
    }
}

/// The config string of a config reply.
pub(crate) fn string(reply: &[u8]) -> String {
    let length = usize::from(u16::from_be_bytes([reply[30], reply[31]]));
    reply
        .get(32..32 + length)
        .map_or_else(|| "cut".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}
