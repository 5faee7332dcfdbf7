//! Discovery of targets, their paths and sizes, once, before the first request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{
    ATA_DATA_OFFSET, AtaRequest, Body, ConfigCommand, Envelope, Identity, MIN_FRAME, Mac, Reply, SECTOR,
    config_frame,
};
use dpdk::Burst;

use crate::ports::PortQueue;

/// Time to wait for answers before the next round.
const ROUND: Duration = Duration::from_millis(300);

/// Rounds of discovery.
const ROUNDS: u32 = 10;

/// Rounds when no target is missing: a frame of the first round may have been lost.
const ENOUGH: u32 = 2;

/// IDENTIFY requests under way at once.
const AT_ONCE: usize = 32;

/// A MAC address that answers for a target on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Index of the port among those polled.
    pub queue: usize,
    /// The MAC address.
    pub mac: Mac,
    /// Messages it says it can queue.
    pub buffer_count: u16,
    /// Most sectors in a message: what it says, and what the port's MTU has room for.
    pub max_sectors: u8,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub address: ShelfSlot,
    /// Its size in sectors; 0 before it is asked.
    pub sectors: u64,
    /// Its config string.
    pub config: Vec<u8>,
    /// At least one.
    pub routes: Vec<Route>,
}

/// Finds the targets with these addresses, or all that answer if there are none, in the order of their addresses.
///
/// # Errors
/// One that names what did not answer.
pub fn discover(queues: &mut [PortQueue], wanted: &[ShelfSlot], wait: Duration) -> Result<Vec<Found>> {
    let begun = Instant::now();
    let wanted: BTreeSet<ShelfSlot> = wanted.iter().copied().collect();
    let mut found = BTreeMap::new();
    let mut burst = Burst::new();
    for round in 1.. {
        ask_who_is_there(queues, &wanted, &found, round);
        let mut heard = Instant::now();
        while heard.elapsed() < ROUND {
            let before: usize = found.len();
            hear(queues, &mut burst, &wanted, &mut found);
            if found.len() > before {
                heard = Instant::now();
            }
        }
        let missed = wanted.iter().any(|address| !found.contains_key(address));
        let is_complete = !missed && !found.is_empty();
        if round >= ENOUGH && (is_complete || begun.elapsed() >= wait) {
            break;
        }
    }
    if found.is_empty() && wanted.is_empty() {
        bail!("no target answers on any port ({})", names(queues));
    }
    let missing: Vec<ShelfSlot> =
        wanted.iter().copied().filter(|address| !found.contains_key(address)).collect();
    if let [first, others @ ..] = missing.as_slice() {
        let others =
            if others.is_empty() { String::new() } else { format!(", nor do {} others", others.len()) };
        bail!("target {first} does not answer on any port ({}){others}", names(queues));
    }
    let mut found: Vec<Found> = found.into_values().collect();
    identify(queues, &mut burst, &mut found)?;
    Ok(found)
}

fn names(queues: &[PortQueue]) -> String {
    queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Everybody at first; later those that are missed, by name.
fn ask_who_is_there(
    queues: &mut [PortQueue],
    wanted: &BTreeSet<ShelfSlot>,
    found: &BTreeMap<ShelfSlot, Found>,
    round: u32,
) {
    for queue in queues {
        let ask = |queue: &mut PortQueue, address| {
            let envelope = Envelope { dst: Mac::BROADCAST, src: queue.mac(), address, tag: round };
            send(queue, config_frame(&envelope, ConfigCommand::Read, &[]));
        };
        if round <= ENOUGH {
            ask(queue, ShelfSlot::ANY);
        } else {
            wanted
                .iter()
                .filter(|one| !found.contains_key(one))
                .take(AT_ONCE)
                .for_each(|one| ask(queue, *one));
        }
    }
}

/// Sends a frame, padded. One for which there is no mbuf now is asked again in the next round.
fn send(queue: &mut PortQueue, mut frame: Vec<u8>) {
    frame.resize(frame.len().max(MIN_FRAME), 0);
    if let Some(mut mbuf) = queue.mempool.alloc()
        && mbuf.resize(frame.len())
    {
        mbuf.data_mut().copy_from_slice(&frame);
        // A frame that the queue refuses is dropped, and sent again in the next round: a queue with as many frames waiting as
        // there are mbufs has lost its link.
        if let Ok(mbuf) = mbuf.into_tx() {
            drop(queue.tx.push(mbuf));
        }
        queue.tx.flush();
    }
}

/// Takes the config answers that have come.
fn hear(
    queues: &mut [PortQueue],
    burst: &mut Burst,
    wanted: &BTreeSet<ShelfSlot>,
    found: &mut BTreeMap<ShelfSlot, Found>,
) {
    for (index, queue) in queues.iter_mut().enumerate() {
        queue.tx.flush();
        queue.rx.poll(burst);
        for frame in &mut *burst {
            let Ok(reply) = Reply::parse(frame.data()) else { continue };
            let Body::Config(config) = reply.body else { continue };
            let ours = reply.is_response() && !reply.is_error();
            if !ours || !wanted.is_empty() && !wanted.contains(&reply.address) {
                continue;
            }
            let room = usize::from(queue.mtu).saturating_sub(ATA_DATA_OFFSET - 14) / SECTOR;
            let offered = if config.sector_count == 0 { 2 } else { config.sector_count };
            let route = Route {
                queue: index,
                mac: reply.src,
                buffer_count: config.buffer_count,
                max_sectors: offered.min(u8::try_from(room).unwrap_or(u8::MAX)),
            };
            let target = found.entry(reply.address).or_insert_with(|| Found {
                address: reply.address,
                sectors: 0,
                config: config.string.to_vec(),
                routes: Vec::new(),
            });
            if !target.routes.iter().any(|known| known.queue == index && known.mac == reply.src) {
                target.routes.push(route);
            }
        }
    }
}

/// Asks every target for its size.
fn identify(queues: &mut [PortQueue], burst: &mut Burst, found: &mut [Found]) -> Result<()> {
    let mut silent = 0;
    while let Some(first) = found.iter().position(|target| target.sectors == 0) {
        if silent == ROUNDS {
            bail!("target {} does not answer IDENTIFY DEVICE", found[first].address);
        }
        let mut open = 0;
        for (index, target) in
            found.iter().enumerate().filter(|(_, target)| target.sectors == 0).take(AT_ONCE)
        {
            let route = &target.routes[silent as usize % target.routes.len()];
            let queue = &mut queues[route.queue];
            let tag = u32::try_from(index + 1)?;
            let envelope = Envelope { dst: route.mac, src: queue.mac(), address: target.address, tag };
            send(queue, AtaRequest::identify().frame(&envelope, &[]));
            open += 1;
        }
        let (begun, before) = (Instant::now(), open);
        while open > 0 && begun.elapsed() < ROUND {
            open -= hear_sizes(queues, burst, found)?;
        }
        silent = if open == before { silent + 1 } else { 0 };
    }
    Ok(())
}

/// Takes the IDENTIFY answers that have come; how many were new.
fn hear_sizes(queues: &mut [PortQueue], burst: &mut Burst, found: &mut [Found]) -> Result<usize> {
    let mut new = 0;
    for queue in queues {
        queue.tx.flush();
        queue.rx.poll(burst);
        for frame in &mut *burst {
            let Ok(reply) = Reply::parse(frame.data()) else { continue };
            let index = (reply.tag as usize).wrapping_sub(1);
            let Some(target) = found.get_mut(index).filter(|target| target.address == reply.address) else {
                continue;
            };
            if !reply.is_response() || target.sectors > 0 {
                continue;
            }
            let address = target.address;
            match reply.body {
                Body::Ata(ata) if !reply.is_error() && !ata.failed() => {
                    let Some(page) = ata.data.first_chunk() else {
                        bail!("target {address} answers IDENTIFY DEVICE with {} bytes", ata.data.len());
                    };
                    let identity = Identity::parse(page);
                    if !identity.lba48 || identity.sectors == 0 {
                        bail!("target {address} has {} sectors and no 48-bit commands", identity.sectors);
                    }
                    target.sectors = identity.sectors;
                    new += 1;
                }
                Body::Config(_) => {}
                body => {
                    bail!("target {address} refuses IDENTIFY DEVICE: error {}, {body:?}", reply.error);
                }
            }
        }
    }
    Ok(new)
}
