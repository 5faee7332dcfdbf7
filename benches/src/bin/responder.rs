//! The link alone: a poll-mode AoE responder with nothing behind it, to compare a target with.
//!
//! It turns each request into a reply of the right size in the same mbuf. There is no table of exports, no bdev and
//! no framework: the cost that a target adds to the port's is the difference to this. With `--copy` it makes the copy that a
//! target makes: each payload once, from or to the place that its LBA names, in `--mib` of memory in hugepages. Its
//! codec is the initiator's, so that a mistake in the target's codec cannot hide here.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{ATA_DATA_OFFSET, ETHERTYPE, MIN_FRAME, SECTOR, ata, command, opcode};
use clap::Parser;
use dpdk::{
    Burst, EalStarted, Interface, Mbuf, Memory, Mempool, Port, PortConfig, PortInfo, RxQueue, TxQueue,
};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Offsets in a frame: EtherType; version and flags; shelf and slot; AoE command; the arguments of a query/config message;
/// of an ATA request, the feature register, which in a reply is the error register, sectors, opcode or status, and LBA.
const ETHERTYPE_AT: usize = 12;
const FLAGS: usize = 14;
const SHELF: usize = 16;
const SLOT: usize = 18;
const COMMAND: usize = 19;
const CONFIG: usize = 24;
const FEATURE: usize = 25;
const SECTORS: usize = 26;
const OPCODE: usize = 27;
const LBA: Range<usize> = 28..34;
/// Set in the flags of a reply.
const RESPONSE: u8 = 0x08;
/// Messages that may be outstanding, as the target advertises.
const BUFFERS: u16 = 256;
/// Bytes of a frame around its Ethernet payload: header, a tag, FCS.
const AROUND_PAYLOAD: u16 = 22;
/// The largest mbuf room an af_packet port asks for with frames of 16 KiB.
const PACKET_ROOM: u16 = 16_384;
const MBUFS: u32 = 4095;
const DESCRIPTORS: u16 = 1024;

/// Answer AoE requests on EAL's first port without a disk behind it.
///
/// EAL's options stand before `--`, those of the responder after it.
#[derive(Parser)]
#[command(version, override_usage = "responder [EAL option]... -- --export SHELF.SLOT --mib N [OPTION]...")]
struct Args {
    /// The address to answer
    #[arg(long, value_name = "SHELF.SLOT")]
    export: ShelfSlot,
    /// MiB the disk has, or without --copy pretends to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    mib: u32,
    /// Copy each payload once, from or to its place in memory of --mib; without, no data is touched
    #[arg(long)]
    copy: bool,
    /// MTU of a port without a Linux interface behind it [default: what the port says]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(548..=16_000))]
    mtu: Option<u16>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("responder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let parted = words.iter().position(|word| word == "--");
    // Without "--" all words are ours.
    let (eal, ours) = parted.map_or((&words[..1], &words[1..]), |at| (&words[..at], &words[at + 1..]));
    let args = Args::parse_from([&words[..1], ours].concat());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("installing a signal handler")?;
    }
    let eal = dpdk::eal::init(eal)?;
    let info = dpdk::port::list(eal).into_iter().next().context(
        "EAL has no port: give it one, such as --vdev=net_af_packet0,iface=eth1, and see its log above",
    )?;
    let (port, mtu) = start(eal, &info, args.mtu)?;
    let (rx, tx) = port.take_queues(0).context("the port has no queue pair")?;
    // The ATA header leaves the MTU less 22 bytes for data.
    let sectors = u8::try_from((usize::from(mtu) + 14 - ATA_DATA_OFFSET) / SECTOR).unwrap_or(u8::MAX).min(16);
    let bytes = usize::try_from(args.mib)? << 20;
    let copied = args.copy.then(|| Memory::zeroed(eal, bytes, info.numa_node)).transpose();
    let copied = copied.with_context(|| format!("{} MiB in hugepages for --copy", args.mib))?;
    let disk = Disk { export: args.export, size: u64::from(args.mib) << 11, copied };
    eprintln!("responder: ready, up to {sectors} sectors a message");
    serve(rx, tx, Responder { mac: info.mac, sectors, disk }, &stop)
}

/// Starts the port with mbufs that hold its largest frame. Returns its MTU, too.
fn start(eal: EalStarted, info: &PortInfo, mtu: Option<u16>) -> Result<(Port, u16)> {
    let behind = info.interface_index;
    let mtu = match behind {
        Some(index) => u16::try_from(Interface::by_index(index)?.mtu)?,
        None => mtu.unwrap_or(info.mtu),
    };
    let room = if behind.is_some() { PACKET_ROOM } else { (mtu + AROUND_PAYLOAD).next_multiple_of(64) };
    let mempool = Mempool::new(eal, "responder", MBUFS, 0, room.max(2048), info.numa_node)?;
    let config = PortConfig {
        mempools: vec![mempool],
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: None,
    };
    Ok((Port::start(eal, info.number, &config)?, mtu))
}

/// Frames taken and replies sent with one call, as many as the target takes. With longer bursts the two ends would take turns at
/// small depths: the initiator would wait while the responder works on all of its requests.
const LINK_BURST: usize = 8;

/// Answers until `stop` is set. Replies leave when a burst is full, or no further request waits.
fn serve(mut rx: RxQueue, mut tx: TxQueue, mut responder: Responder, stop: &AtomicBool) -> Result<()> {
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        let received = rx.poll_at_most(&mut burst, LINK_BURST);
        burst.prefetch();
        for frame in &mut burst {
            let Ok(frame) = frame.into_exclusive() else { continue };
            if let Some(Ok(reply)) = responder.answer(frame).map(Mbuf::into_tx) {
                ensure!(tx.push(reply).is_ok(), "more replies wait than there are mbufs");
            }
        }
        let waiting = tx.waiting();
        if waiting >= LINK_BURST || waiting > 0 && received == 0 {
            tx.flush();
        }
    }
    Ok(())
}

struct Disk {
    export: ShelfSlot,
    /// In sectors.
    size: u64,
    /// Its data; `None` where no data is touched.
    copied: Option<Memory>,
}

impl Disk {
    /// The bytes of a request that begins at this sector: none where no data is touched, `None` beyond the end.
    #[inline]
    fn place(&mut self, first: u64, bytes: usize) -> Option<&mut [u8]> {
        let Some(memory) = &mut self.copied else { return Some(&mut []) };
        memory.get_mut(place(first, bytes)?)
    }
}

/// Where so many bytes from this sector on are; `None` if no memory goes that far.
#[inline]
fn place(first: u64, bytes: usize) -> Option<Range<usize>> {
    let start = usize::try_from(first).ok()?.checked_mul(SECTOR)?;
    Some(start..start.checked_add(bytes)?)
}

/// The first sector of a read or write: 48 bits, or 28 by commands without the bit that "EXT" has.
#[inline]
fn first_sector(head: &[u8; ATA_DATA_OFFSET]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&head[LBA]);
    let lba = u64::from_le_bytes(bytes);
    if head[OPCODE] & (opcode::READ_EXT ^ opcode::READ) == 0 { lba & 0x0fff_ffff } else { lba }
}

struct Responder {
    mac: [u8; 6],
    /// In the largest message.
    sectors: u8,
    disk: Disk,
}

impl Responder {
    #[inline]
    fn answer(&mut self, mut frame: Mbuf) -> Option<Mbuf> {
        let data = frame.data();
        // A query without a string has 32 bytes where links do not pad.
        let Some(head) = data.first_chunk::<ATA_DATA_OFFSET>() else { return self.answer_query(frame) };
        if !is_request(head) || head[SECTORS] > self.sectors {
            return None;
        }
        let bytes = usize::from(head[SECTORS]) * SECTOR;
        let first = first_sector(head);
        match (head[COMMAND], head[OPCODE]) {
            (command::ATA, opcode::READ | opcode::READ_EXT) => {
                if !frame.resize(ATA_DATA_OFFSET + bytes) {
                    return None;
                }
                let stored = self.disk.place(first, bytes)?;
                frame.data_mut()[ATA_DATA_OFFSET..][..stored.len()].copy_from_slice(stored);
            }
            (command::ATA, opcode::WRITE | opcode::WRITE_EXT) => {
                let data = data.get(ATA_DATA_OFFSET..ATA_DATA_OFFSET + bytes)?;
                let stored = self.disk.place(first, bytes)?;
                stored.copy_from_slice(&data[..stored.len()]);
                if !frame.resize(MIN_FRAME) {
                    return None;
                }
                frame.data_mut()[ATA_DATA_OFFSET..].fill(0);
            }
            (command::ATA, opcode::IDENTIFY) => {
                if !frame.resize(ATA_DATA_OFFSET + SECTOR) {
                    return None;
                }
                self.identify(&mut frame.data_mut()[ATA_DATA_OFFSET..]);
            }
            _ => return self.answer_query(frame),
        }
        let head = frame.data_mut().first_chunk_mut::<ATA_DATA_OFFSET>()?;
        self.address_reply(head);
        (head[FEATURE], head[OPCODE]) = (0, ata::DRDY);
        Some(frame)
    }

    /// Turns a request's addresses round.
    #[inline]
    fn address_reply(&self, frame: &mut [u8]) {
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&self.mac);
        frame[FLAGS] |= RESPONSE;
    }

    /// IDENTIFY DEVICE: 48-bit addresses, and the size in words 60-61 and 100-103.
    #[cold]
    fn identify(&self, page: &mut [u8]) {
        page.fill(0);
        let size28 = u32::try_from(self.disk.size).unwrap_or(u32::MAX).min(0x0fff_ffff);
        page[2 * 60..2 * 62].copy_from_slice(&size28.to_le_bytes());
        page[2 * 83..2 * 84].copy_from_slice(&(1_u16 << 10).to_le_bytes());
        page[2 * 100..2 * 104].copy_from_slice(&self.disk.size.to_le_bytes());
    }

    /// A query for this export, or for all.
    #[cold]
    fn answer_query(&self, mut frame: Mbuf) -> Option<Mbuf> {
        let ShelfSlot { shelf, slot } = self.disk.export;
        let data = frame.data();
        let asked = (data.get(SHELF..SLOT)?, *data.get(SLOT)?);
        let is_ours = [shelf.to_be_bytes(), [0xff; 2]].iter().any(|shelf| shelf == asked.0)
            && [slot, 0xff].contains(&asked.1);
        if !is_request(data) || !is_ours || *data.get(COMMAND)? != command::CONFIG || !frame.resize(MIN_FRAME)
        {
            return None;
        }
        let data = frame.data_mut();
        self.address_reply(data);
        data[SHELF..SLOT].copy_from_slice(&shelf.to_be_bytes());
        data[SLOT] = slot;
        data[CONFIG..].fill(0);
        data[CONFIG..CONFIG + 2].copy_from_slice(&BUFFERS.to_be_bytes());
        // Sectors a message, then AoE version 1 with the command "read the config string".
        (data[CONFIG + 4], data[CONFIG + 5]) = (self.sectors, 0x10);
        Some(frame)
    }
}

#[inline]
fn is_request(frame: &[u8]) -> bool {
    frame.get(ETHERTYPE_AT..FLAGS) == Some(&ETHERTYPE.to_be_bytes()[..])
        && frame.get(FLAGS).is_some_and(|flags| flags & RESPONSE == 0)
}
