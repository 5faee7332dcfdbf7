//! The link alone: a poll-mode AoE responder with nothing behind it, to compare a target with.
//!
//! It turns each request into a reply of the right size in the same mbuf and copies the payload once, from or
//! into one buffer, as a disk in memory would at least have to. There is no table of exports, no bdev and no
//! framework: what a target adds to the port's cost is the difference to this. What is asked once (discovery,
//! IDENTIFY) is left to the target's own crate.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use aoe_target::{Disposition, Export, ExportId, Identity, MacAddr, PortLimits, Ports, Request, ShelfSlot};
use dpdk::{Burst, Interface, Mbuf, Mempool, Port, PortConfig};

/// Where an ATA message's data starts in a frame.
const DATA: usize = 36;
/// The largest mbuf room an af_packet port asks for with frames of 16 KiB.
const ROOM: u16 = 16_384;
const MBUFS: u32 = 4095;

/// `responder SHELF.SLOT MIB [EAL option]...`
fn main() -> Result<()> {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let usage = "usage: responder SHELF.SLOT MIB [EAL option]...";
    let address: ShelfSlot = words.next().context(usage)?.parse()?;
    let mib: u64 = words.next().context(usage)?.parse().context("MIB is a number")?;
    let eal: Vec<String> = std::iter::once(program).chain(words).collect();

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    dpdk::eal::init(&eal)?;
    let info = dpdk::port::list().into_iter().next().context("EAL has no port")?;
    let mtu = match info.interface_index {
        Some(index) => u16::try_from(Interface::by_index(index)?.mtu)?,
        None => info.mtu,
    };
    let limits = PortLimits::for_mtu(mtu).context("the MTU is too small")?;
    let mempool = Mempool::new("responder", MBUFS, 0, ROOM, info.numa_node)?;
    let config =
        PortConfig { mempools: vec![mempool], rx_descriptors: 1024, tx_descriptors: 1024, mtu: None };
    let port = Port::start(info.number, &config)?;
    let (mut rx, mut tx) = port.take_queues(0).context("the port has no queue pair")?;

    let identity = Identity::new("responder", "responder", "1")?;
    let export = Export::new(ExportId(0), address, Ports::All, mib << 11, identity);
    let mut responder =
        Responder { mac: MacAddr(info.mac), export, limits, buffer: vec![0x5a; 16 * 512].into() };
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        if rx.poll(&mut burst) > 0 {
            for frame in &mut burst {
                if let Some(reply) = responder.answer(frame) {
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

struct Responder {
    mac: MacAddr,
    export: Export,
    limits: PortLimits,
    buffer: Box<[u8]>,
}

impl Responder {
    #[inline]
    fn answer(&mut self, mut frame: Mbuf) -> Option<Mbuf> {
        let data = frame.data();
        if data.len() < DATA {
            // A query without a string has 32 bytes where links do not pad.
            return self.answer_rarely(frame);
        }
        if data[12..14] != [0x88, 0xa2] || data[14] & 0x08 != 0 {
            return None;
        }
        let bytes = usize::from(data[26]) * 512;
        match (data[19], data[27]) {
            (0, 0x20 | 0x24) => {
                let room = frame.resize(DATA + bytes);
                if !room {
                    return None;
                }
                frame.data_mut()[DATA..].copy_from_slice(self.buffer.get(..bytes)?);
            }
            (0, 0x30 | 0x34) => {
                self.buffer.get_mut(..bytes)?.copy_from_slice(data.get(DATA..DATA + bytes)?);
                if !frame.resize(60) {
                    return None;
                }
                frame.data_mut()[DATA..].fill(0);
            }
            _ => return self.answer_rarely(frame),
        }
        let head = frame.data_mut();
        head.copy_within(6..12, 0);
        head[6..12].copy_from_slice(&self.mac.0);
        head[14] |= 0x08;
        (head[25], head[27]) = (0, 0x40);
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
