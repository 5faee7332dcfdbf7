//! The parts of lcores in distributing the frames of ports: their rings are made, and each lcore gets its ends.

use std::sync::Arc;

use aoe_target::{PortId, PortSet};
use dpdk::{EalStarted, FrameReceiver, FrameSender, frame_ring};

use super::{DistributeBy, Distribution, return_ring::ReturnRing};
use crate::owner::Owners;

/// A port whose frames more than one lcore serves.
#[derive(Debug, Clone)]
pub struct DistributedPort {
    /// Its number, 0 to 63.
    pub port: PortId,
    /// The number of the lcore that polls each of its queues, each another one.
    pub lcores: Vec<usize>,
    /// By what.
    pub by: DistributeBy,
    /// Frames that each ring holds. No other lcore can serve a frame, so it ought to be every mbuf of the port.
    pub capacity: u32,
    /// The node of the rings' memory; `None` is any.
    pub numa_node: Option<u32>,
}

/// The parts of the lcores in distributing a port's frames.
#[derive(Debug)]
pub struct Parts {
    /// Those of its queues, in their order: [`crate::PortQueue::distributed`].
    pub queues: Vec<Distribution>,
    /// Those of the lcores without a queue of it, with their numbers: [`crate::PortQueue::detached`].
    pub others: Vec<(usize, DetachedPart)>,
}

/// The part of an lcore without a queue of the port.
#[derive(Debug)]
pub struct DetachedPart {
    pub(crate) part: Distribution,
    pub(crate) replies: ReturnRing,
}

impl Distribution {
    /// The parts of `queues` queues of a port, in their order, where lcore n polls queue n and there are no other lcores. Rings
    /// hold `capacity` frames each: see [`DistributedPort::capacity`].
    ///
    /// # Errors
    /// As [`Distribution::among`].
    pub fn over(
        eal: EalStarted,
        port: PortId,
        queues: usize,
        by: &DistributeBy,
        capacity: u32,
        numa_node: Option<u32>,
    ) -> dpdk::Result<Vec<Self>> {
        let lcores = (0..queues).collect();
        let port = DistributedPort { port, lcores, by: by.clone(), capacity, numa_node };
        let parts = Self::among(eal, queues, &[port])?;
        Ok(parts.into_iter().flat_map(|parts| parts.queues).collect())
    }

    /// The parts of `lcores` lcores, numbered from 0, in distributing the frames of these ports; for each port in turn.
    ///
    /// # Errors
    /// What [`frame_ring`] says. `EINVAL` for a port without a queue, or a number of an lcore past `lcores`.
    pub fn among(eal: EalStarted, lcores: usize, ports: &[DistributedPort]) -> dpdk::Result<Vec<Parts>> {
        let mut polled = vec![PortSet::EMPTY; lcores];
        for port in ports {
            for lcore in &port.lcores {
                let added = polled.get_mut(*lcore).map(|polled| polled.insert(port.port));
                if !matches!(added, Some(Ok(true))) {
                    return Err(invalid());
                }
            }
        }
        let polled: Arc<[PortSet]> = polled.into();
        ports.iter().map(|port| parts_of(eal, &polled, port)).collect()
    }
}

fn invalid() -> dpdk::Error {
    dpdk::Error { call: "rte_ring_create", errno: 22 }
}

/// The parts of all lcores in distributing the frames of one port.
fn parts_of(eal: EalStarted, polled: &Arc<[PortSet]>, port: &DistributedPort) -> dpdk::Result<Parts> {
    let DistributedPort { port: PortId(number), lcores, by, capacity, numa_node } = port;
    if lcores.is_empty() {
        return Err(invalid());
    }
    let ring = |name: String, senders: usize| frame_ring(eal, &name, *capacity, senders.max(1), *numa_node);
    let all = polled.len();
    let mut outboxes: Vec<Vec<Option<FrameSender>>> = (0..all).map(|_| Vec::with_capacity(all)).collect();
    let mut inboxes = Vec::with_capacity(all);
    for to in 0..all {
        let (mut ends, inbox) = ring(format!("aoe_p{number}l{to}"), all - 1)?;
        for (from, outboxes) in outboxes.iter_mut().enumerate() {
            outboxes.push(if from == to { None } else { ends.pop() });
        }
        inboxes.push(inbox);
    }
    let serving = Arc::new(());
    let part_of = |(lcore, (outboxes, inbox)): (usize, (Vec<Option<FrameSender>>, FrameReceiver))| {
        let queue = lcores.iter().position(|polling| *polling == lcore);
        let owners = Owners::new(lcore, Arc::clone(polled));
        Distribution::new(by.clone(), owners, queue, lcores.clone(), outboxes, inbox, &serving)
    };
    let parts = outboxes.into_iter().zip(inboxes).enumerate().map(part_of);
    let mut parts: Vec<Option<Distribution>> = parts.map(Some).collect();
    let queues = lcores.iter().filter_map(|lcore| parts[*lcore].take());
    let mut queues: Vec<Distribution> = queues.collect();
    let detached: Vec<(usize, Distribution)> =
        parts.into_iter().enumerate().filter_map(|(lcore, part)| Some((lcore, part?))).collect();
    // Their replies are shared by the queues.
    let mut rings = Vec::new();
    for (nth, queue) in queues.iter_mut().enumerate() {
        let senders = (nth..detached.len()).step_by(lcores.len()).count();
        if senders > 0 {
            let (ends, returned) = ring(format!("aoe_p{number}r{nth}"), senders)?;
            queue.send_for_others(returned);
            rings.push(ends);
        }
    }
    let mut others = Vec::with_capacity(detached.len());
    for (nth, (lcore, part)) in detached.into_iter().enumerate() {
        let ring = rings[nth % lcores.len()].pop().ok_or_else(invalid)?;
        others.push((lcore, DetachedPart { part, replies: ReturnRing::new(ring) }));
    }
    Ok(Parts { queues, others })
}
