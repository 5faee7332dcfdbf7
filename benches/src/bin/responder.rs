//! The link alone: a poll-mode AoE responder with nothing behind it, to compare a target with.
//!
//! It turns each request into a reply of the right size in the same mbuf. There is no table of exports, no bdev and
//! no framework: what a target adds to the port's cost is the difference to this. With `--copy` it makes the copy that a
//! target makes: each payload once, from or to the place that its LBA names, in a store of `--mib` in hugepages. What
//! is asked once (discovery, IDENTIFY) is left to the target's own crate.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use aoe_target::{Disposition, Export, ExportId, Identity, MacAddr, PortLimits, Ports, Request, ShelfSlot};
use clap::Parser;
use dpdk::{
    Burst, EalStarted, Interface, Mbuf, Memory, Mempool, Port, PortConfig, PortInfo, RxQueue, TxQueue,
};
use kvblade_benches::interrupt;
use kvblade_benches::store::{DATA, SECTOR, Store, first_sector};

/// Where its header's parts are: EtherType, version and flags, command, ATA flags to command.
const ETHERTYPE: usize = 12;
const FLAGS: usize = 14;
const COMMAND: usize = 19;
const FEATURE: usize = 25;
const SECTORS: usize = 26;
const STATUS: usize = 27;
/// Set in the flags of a reply.
const RESPONSE: u8 = 0x08;
/// ATA status: ready, no error.
const READY: u8 = 0x40;
/// Shortest frame on Ethernet, without FCS.
const SHORTEST: usize = 60;
/// Bytes of a frame beside its payload: header, a tag, FCS.
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
    let (eal, args) = command_line(std::env::args());
    let args = Args::parse_from(args);
    let stop = interrupt::flag()?;
    let eal = dpdk::eal::init(&eal)?;
    let info = dpdk::port::list(eal).into_iter().next().context(
        "EAL has no port: give it one, such as --vdev=net_af_packet0,iface=eth1, and see its log above",
    )?;
    let (port, limits) = start(eal, &info, args.mtu)?;
    let (rx, tx) = port.take_queues(0).context("the port has no queue pair")?;
    let identity = Identity::new("responder", "responder", "1")?;
    let export = Export::new(ExportId(0), args.export, Ports::All, u64::from(args.mib) << 11, identity);
    let sectors = usize::from(limits.max_sectors());
    let link = Link { mac: MacAddr(info.mac), export, limits, largest: sectors * SECTOR };
    let ready = || eprintln!("responder: ready, up to {sectors} sectors a message");
    if args.copy {
        let bytes = usize::try_from(args.mib)? << 20;
        let memory = Memory::zeroed(eal, bytes, info.numa_node)
            .with_context(|| format!("{} MiB in hugepages for --copy", args.mib))?;
        ready();
        serve(rx, tx, &link, Store(memory), &stop)
    } else {
        ready();
        serve(rx, tx, &link, Untouched, &stop)
    }
}

/// The words of the command line, those for EAL and those after the first `--`, each with the program's name.
fn command_line(words: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let mut words = words.peekable();
    let program = words.next().unwrap_or_else(|| "responder".to_owned());
    let mut eal = vec![program.clone()];
    let mut ours = vec![program];
    let mut parted = false;
    for word in words {
        match (parted, word.as_str()) {
            (false, "--") => parted = true,
            // A question is answered wherever it stands.
            (false, "-h" | "--help" | "-V" | "--version") | (true, _) => ours.push(word),
            (false, _) => eal.push(word),
        }
    }
    (eal, ours)
}

/// Starts the port with mbufs that hold its largest frame.
fn start(eal: EalStarted, info: &PortInfo, mtu: Option<u16>) -> Result<(Port, PortLimits)> {
    let behind = info.interface_index;
    let mtu = match behind {
        Some(index) => u16::try_from(Interface::by_index(index)?.mtu)?,
        None => mtu.unwrap_or(info.mtu),
    };
    let limits = PortLimits::for_mtu(mtu).with_context(|| format!("an MTU of {mtu} is too small"))?;
    let room = if behind.is_some() { PACKET_ROOM } else { (mtu + AROUND_PAYLOAD).next_multiple_of(64) };
    let mempool = Mempool::new(eal, "responder", MBUFS, 0, room.max(2048), info.numa_node)?;
    let config = PortConfig {
        mempools: vec![mempool],
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: None,
    };
    Ok((Port::start(eal, info.number, &config)?, limits))
}

/// Answers until `stop` is set: a burst in, its replies out.
fn serve(
    mut rx: RxQueue,
    mut tx: TxQueue,
    link: &Link,
    mut payload: impl Payload,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        if rx.poll(&mut burst) > 0 {
            burst.prefetch();
            for frame in &mut burst {
                if let Some(reply) = link.answer(frame, &mut payload) {
                    ensure!(tx.push(reply).is_ok(), "more replies wait than there are mbufs");
                }
            }
        }
        if tx.waiting() > 0 {
            tx.flush();
        }
    }
    Ok(())
}

/// What is done with the bytes of a request or reply.
trait Payload {
    /// Fills a read's data, from this sector on; false if there is no such sector.
    fn fill(&mut self, first: u64, data: &mut [u8]) -> bool;
    /// Takes a write's data, to this sector and on; false if there is no such sector.
    fn take(&mut self, first: u64, data: &[u8]) -> bool;
}

/// Nothing: a read is answered with what the room held, for only its size costs the link.
struct Untouched;

impl Payload for Untouched {
    #[inline]
    fn fill(&mut self, _: u64, _: &mut [u8]) -> bool {
        true
    }

    #[inline]
    fn take(&mut self, _: u64, _: &[u8]) -> bool {
        true
    }
}

/// A copy from or to where a disk in memory has it.
impl Payload for Store<Memory> {
    #[inline]
    fn fill(&mut self, first: u64, data: &mut [u8]) -> bool {
        self.read(first, data)
    }

    #[inline]
    fn take(&mut self, first: u64, data: &[u8]) -> bool {
        self.write(first, data)
    }
}

struct Link {
    mac: MacAddr,
    export: Export,
    limits: PortLimits,
    /// Bytes of data in the largest message.
    largest: usize,
}

impl Link {
    #[inline]
    fn answer(&self, mut frame: Mbuf, payload: &mut impl Payload) -> Option<Mbuf> {
        let data = frame.data();
        // A query without a string has 32 bytes where links do not pad.
        let Some(head) = data.first_chunk::<DATA>() else { return self.answer_rarely(frame) };
        if head[ETHERTYPE..FLAGS] != [0x88, 0xa2] || head[FLAGS] & RESPONSE != 0 {
            return None;
        }
        let bytes = usize::from(head[SECTORS]) * SECTOR;
        let first = first_sector(head);
        match (head[COMMAND], head[STATUS]) {
            (0, 0x20 | 0x24) => {
                if bytes > self.largest || !frame.resize(DATA + bytes) {
                    return None;
                }
                if !payload.fill(first, &mut frame.data_mut()[DATA..]) {
                    return None;
                }
            }
            (0, 0x30 | 0x34) => {
                let data = data.get(DATA..DATA + bytes).filter(|data| data.len() <= self.largest)?;
                if !payload.take(first, data) || !frame.resize(SHORTEST) {
                    return None;
                }
                frame.data_mut()[DATA..].fill(0);
            }
            _ => return self.answer_rarely(frame),
        }
        let head = frame.data_mut().first_chunk_mut::<DATA>()?;
        head.copy_within(6..12, 0);
        head[6..12].copy_from_slice(&self.mac.0);
        head[FLAGS] |= RESPONSE;
        (head[FEATURE], head[STATUS]) = (0, READY);
        Some(frame)
    }

    /// Discovery and IDENTIFY.
    #[cold]
    fn answer_rarely(&self, mut frame: Mbuf) -> Option<Mbuf> {
        let request = Request::parse(frame.data(), frame.frame_len()).ok()?;
        let Disposition::Reply(reply) =
            self.export.admit(&request, frame.data(), frame.frame_len(), self.limits)
        else {
            return None;
        };
        if !request.address.matches(self.export.address()) || !frame.resize(reply.frame_len()) {
            return None;
        }
        reply.emit(frame.data_mut(), self.mac, &self.export, self.limits)?;
        Some(frame)
    }
}
