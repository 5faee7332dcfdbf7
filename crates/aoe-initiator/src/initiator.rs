//! A blocking initiator: discovery, IDENTIFY, reads and writes, and raw frames for whatever a test wants to
//! send.
//!
//! One request at a time, retransmitted like any other. [`crate::queue`] is the way to many.

use crate::error::{Error, Result};
use crate::link::{FRAME_ROOM, Link};
use crate::window::Retransmit;
use crate::wire::{
    AtaReply, AtaRequest, Body, ConfigCommand, ConfigReply, Envelope, Identity, Mac, Reply, SECTOR,
    ShelfSlot, config_frame, opcode,
};
use std::time::{Duration, Instant};

/// An export that answered a query or advertised itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its address.
    pub address: ShelfSlot,
    /// The MAC address it answered from.
    pub mac: Mac,
    /// Messages it says it can queue.
    pub buffer_count: u16,
    /// Firmware version.
    pub firmware: u16,
    /// Most sectors in one message, as advertised.
    pub sector_count: u8,
    /// Config string.
    pub config: Vec<u8>,
    /// Rules for a target's replies that its answer broke, in words.
    pub breaches: Vec<String>,
}

impl Export {
    fn new(reply: &Reply<'_>, config: &ConfigReply<'_>) -> Self {
        Self {
            address: reply.address,
            mac: reply.src,
            buffer_count: config.buffer_count,
            firmware: config.firmware,
            sector_count: config.sector_count,
            config: config.string.to_vec(),
            breaches: reply.breaches(),
        }
    }

    /// Sectors to put into one message: what is advertised, 0 meaning 2, and never above 16, as Linux should
    /// have it for 4 KiB pages.
    pub const fn max_sectors(&self) -> u8 {
        match self.sector_count {
            0 => 2,
            1..=16 => self.sector_count,
            _ => 16,
        }
    }
}

/// A blocking initiator on one interface.
#[derive(Debug)]
pub struct Initiator {
    link: Link,
    timing: Retransmit,
    sequence: u32,
    retransmits: u64,
    buffer: Box<[u8]>,
}

impl Initiator {
    /// An initiator on `interface` of the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of [`Link::open`].
    pub fn open(interface: &str) -> Result<Self> {
        Ok(Self::new(Link::open(interface)?, Retransmit::default()))
    }

    /// An initiator on an open link.
    pub fn new(link: Link, timing: Retransmit) -> Self {
        Self { link, timing, sequence: 0, retransmits: 0, buffer: vec![0; FRAME_ROOM].into() }
    }

    /// The link.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// The link, back to its owner.
    pub fn into_link(self) -> Link {
        self.link
    }

    /// Copies sent after the first, all requests together.
    pub const fn retransmits(&self) -> u64 {
        self.retransmits
    }

    /// When requests are sent again and given up on.
    pub const fn set_timing(&mut self, timing: Retransmit) {
        self.timing = timing;
    }

    /// A tag no other request of this initiator carries; bit 31 clear, as the Linux driver keeps it, and
    /// never 0.
    pub const fn next_tag(&mut self) -> u32 {
        self.sequence = if self.sequence >= 0x7fff_ffff { 1 } else { self.sequence + 1 };
        self.sequence
    }

    /// The envelope of a next request to `export`.
    pub const fn envelope(&mut self, export: &Export) -> Envelope {
        Envelope { dst: export.mac, src: self.link.mac(), address: export.address, tag: self.next_tag() }
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// Those of [`Link::send`].
    pub fn send_raw(&self, frame: &[u8]) -> Result<()> {
        self.link.send(frame).map(drop)
    }

    /// The next AoE frame within `wait`, whatever it is.
    ///
    /// # Errors
    /// Those of [`Link::receive_until`].
    pub fn receive_raw(&mut self, wait: Duration) -> Result<Option<Vec<u8>>> {
        let len = self.link.receive_until(&mut self.buffer, Instant::now() + wait)?;
        Ok(len.map(|len| self.buffer[..len].to_vec()))
    }

    /// Sends any bytes and collects every AoE frame that arrives within `wait`: what a target says to bad
    /// input, or that it says nothing.
    ///
    /// # Errors
    /// Those of [`Link::send`] and [`Link::receive_until`].
    pub fn exchange_raw(&mut self, frame: &[u8], wait: Duration) -> Result<Vec<Vec<u8>>> {
        let deadline = Instant::now() + wait;
        self.send_raw(frame)?;
        let mut frames = Vec::new();
        while let Some(len) = self.link.receive_until(&mut self.buffer, deadline)? {
            frames.push(self.buffer[..len].to_vec());
        }
        Ok(frames)
    }

    /// Drops what was received and not read: late replies of an earlier test.
    ///
    /// # Errors
    /// Those of [`Link::receive_now`].
    pub fn drain(&mut self) -> Result<usize> {
        let mut dropped = 0;
        while self.link.receive_now(&mut self.buffer)?.is_some() {
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Broadcasts a query for `address`, which may have wildcards, and collects the exports that answer
    /// within `wait`, ordered by export and MAC address.
    ///
    /// # Errors
    /// Those of the link; [`Error::Malformed`] for an answer to the query that cannot be read.
    pub fn discover(&mut self, address: ShelfSlot, wait: Duration) -> Result<Vec<Export>> {
        let tag = self.next_tag();
        let envelope = Envelope { dst: Mac::BROADCAST, src: self.link.mac(), address, tag };
        let frames = self.exchange_raw(&config_frame(&envelope, ConfigCommand::Read, b""), wait)?;
        let mut exports = Vec::new();
        for frame in &frames {
            let reply = match Reply::parse(frame) {
                Ok(reply) => reply,
                Err(source) => {
                    let mac =
                        frame.get(6..).and_then(|rest| rest.first_chunk()).map_or(Mac([0; 6]), |m| Mac(*m));
                    return Err(Error::Malformed { mac, source });
                }
            };
            if let Body::Config(config) = &reply.body
                && reply.is_response()
                && reply.tag == tag
            {
                exports.push(Export::new(&reply, config));
            }
        }
        exports.sort_by_key(|export| (export.address, export.mac));
        Ok(exports)
    }

    /// The export `address`, asked for again and again until it answers or the timing gives up.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], and those of [`Initiator::discover`].
    pub fn find(&mut self, address: ShelfSlot) -> Result<Export> {
        let begun = Instant::now();
        loop {
            // A short wait: the answer of a present export takes microseconds.
            let found = self.discover(address, Duration::from_millis(20))?;
            if let Some(export) = found.into_iter().find(|export| export.address == address) {
                return Ok(export);
            }
            if begun.elapsed() >= self.timing.give_up {
                let what = "a config query".to_owned();
                return Err(Error::NoAnswer { address, what, waited: begun.elapsed() });
            }
        }
    }

    /// Advertisements (config responses with tag 0 to the broadcast address) that arrive within `wait`, with
    /// `enough` ending the wait early.
    ///
    /// # Errors
    /// Those of the link.
    pub fn advertisements(
        &mut self,
        wait: Duration,
        mut enough: impl FnMut(&[Export]) -> bool,
    ) -> Result<Vec<Export>> {
        let deadline = Instant::now() + wait;
        let mut heard = Vec::new();
        while !enough(&heard) {
            let Some(len) = self.link.receive_until(&mut self.buffer, deadline)? else { break };
            if let Ok(reply) = Reply::parse(&self.buffer[..len])
                && let Body::Config(config) = &reply.body
                && reply.is_response()
                && reply.tag == 0
                && reply.dst == Mac::BROADCAST
            {
                heard.push(Export::new(&reply, config));
            }
        }
        Ok(heard)
    }

    /// Sends `request` with `data` to `export`, with retransmits, and hands the answer to `read`, whatever
    /// its status.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], [`Error::Aoe`] for an AoE error reply, those of the link, and what `read`
    /// returns.
    pub fn ata<T>(
        &mut self,
        export: &Export,
        request: &AtaRequest,
        data: &[u8],
        read: impl FnOnce(&AtaReply<'_>) -> Result<T>,
    ) -> Result<T> {
        let envelope = self.envelope(export);
        let frame = request.frame(&envelope, data);
        let begun = Instant::now();
        let give_up = begun + self.timing.give_up;
        let mut wait = self.timing.first;
        loop {
            self.link.send(&frame)?;
            let deadline = (Instant::now() + wait).min(give_up);
            while let Some(len) = self.link.receive_until(&mut self.buffer, deadline)? {
                let Ok(reply) = Reply::parse(&self.buffer[..len]) else { continue };
                if !reply.is_response() || reply.tag != envelope.tag || reply.address != export.address {
                    continue;
                }
                if reply.is_error() {
                    let (address, what) = (export.address, request.to_string());
                    return Err(Error::Aoe { address, what, code: reply.error });
                }
                if let Body::Ata(registers) = &reply.body {
                    return read(registers);
                }
            }
            if Instant::now() >= give_up {
                let (address, what) = (export.address, request.to_string());
                return Err(Error::NoAnswer { address, what, waited: begun.elapsed() });
            }
            self.retransmits += 1;
            wait = (wait * 2).min(self.timing.longest);
        }
    }

    /// As [`Initiator::ata`], but a failed status is an error and `read` gets just the data asked for.
    fn succeed<T>(
        &mut self,
        export: &Export,
        request: &AtaRequest,
        data: &[u8],
        read: impl FnOnce(&AtaReply<'_>, &[u8]) -> T,
    ) -> Result<T> {
        self.ata(export, request, data, |reply| {
            let (address, what) = (export.address, || request.to_string());
            if reply.failed() {
                return Err(Error::Ata { address, what: what(), status: reply.status, error: reply.error });
            }
            let wanted = request.bytes_in();
            let got = reply.data.len();
            let data = reply.data.get(..wanted).ok_or_else(|| Error::ShortData {
                address,
                what: what(),
                got,
                wanted,
            })?;
            Ok(read(reply, data))
        })
    }

    /// IDENTIFY DEVICE.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn identify(&mut self, export: &Export) -> Result<Identity> {
        self.succeed(export, &AtaRequest::identify(), &[], |_, data| {
            let mut page = [0; SECTOR];
            page.copy_from_slice(data);
            Identity::parse(&page)
        })
    }

    /// Reads whole sectors from `lba` on into `data`, a message for each [`Export::max_sectors`], with 48-bit
    /// commands.
    ///
    /// # Errors
    /// [`Error::Ata`], [`Error::Aoe`], [`Error::ShortData`], [`Error::NoAnswer`], and those of the link.
    pub fn read(&mut self, export: &Export, mut lba: u64, data: &mut [u8]) -> Result<()> {
        for chunk in data.chunks_mut(usize::from(export.max_sectors()) * SECTOR) {
            let count = whole_sectors(chunk.len())?;
            self.succeed(export, &AtaRequest::read(lba, count), &[], |_, data| chunk.copy_from_slice(data))?;
            lba += u64::from(count);
        }
        Ok(())
    }

    /// Writes whole sectors from `lba` on, a message for each [`Export::max_sectors`], with 48-bit commands.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn write(&mut self, export: &Export, mut lba: u64, data: &[u8]) -> Result<()> {
        for chunk in data.chunks(usize::from(export.max_sectors()) * SECTOR) {
            let count = whole_sectors(chunk.len())?;
            self.succeed(export, &AtaRequest::write(lba, count), chunk, |_, _| ())?;
            lba += u64::from(count);
        }
        Ok(())
    }

    /// READ SECTORS: one message with a 28-bit address.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn read28(&mut self, export: &Export, lba: u32, data: &mut [u8]) -> Result<()> {
        let request = AtaRequest::read28(lba, whole_sectors(data.len())?);
        self.succeed(export, &request, &[], |_, received| data.copy_from_slice(received))
    }

    /// WRITE SECTORS: one message with a 28-bit address.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn write28(&mut self, export: &Export, lba: u32, data: &[u8]) -> Result<()> {
        let request = AtaRequest::write28(lba, whole_sectors(data.len())?);
        self.succeed(export, &request, data, |_, _| ())
    }

    /// FLUSH CACHE.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn flush(&mut self, export: &Export) -> Result<()> {
        self.succeed(export, &AtaRequest::bare(opcode::FLUSH), &[], |_, _| ())
    }

    /// FLUSH CACHE EXT.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn flush_ext(&mut self, export: &Export) -> Result<()> {
        self.succeed(export, &AtaRequest::bare(opcode::FLUSH_EXT), &[], |_, _| ())
    }

    /// CHECK POWER MODE: the count register, 0xff for active or idle.
    ///
    /// # Errors
    /// As [`Initiator::read`].
    pub fn check_power_mode(&mut self, export: &Export) -> Result<u8> {
        self.succeed(export, &AtaRequest::bare(opcode::CHECK_POWER_MODE), &[], |reply, _| reply.count)
    }
}

/// The sectors in `bytes`, if they are whole and fit in a message's count.
fn whole_sectors(bytes: usize) -> Result<u8> {
    u8::try_from(bytes / SECTOR)
        .ok()
        .filter(|count| *count > 0 && bytes.is_multiple_of(SECTOR))
        .ok_or_else(|| Error::Load(format!("{bytes} bytes are no whole number of sectors from 1 to 255")))
}
