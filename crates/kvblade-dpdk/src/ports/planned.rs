//! The plan for a port, before it is started.

use aoe_target::PortLimits;
use control::PortInfo;
use dpdk::{Interface, Mempool};

use super::data_room::{self, MbufSpec, SharedBy};
use super::options::{FRAME_OVERHEAD, PortOptions};
use super::packet_ring::{PacketRing, check_packet_ring};
use super::start;
use crate::args::values::MTU_MIN;
use crate::distribution::Plan;

/// The PMD of Linux interfaces.
pub(super) const PACKET: &str = "net_af_packet";

/// The plan for a port: a queue pair on each of `cores`.
pub(super) struct Planned<'a> {
    pub(super) info: &'a dpdk::PortInfo,
    pub(super) cores: Vec<u32>,
    pub(super) plan: Plan,
    pub(super) limits: PortLimits,
    pub(super) mbufs: MbufSpec,
    pub(super) known: PortInfo,
    /// The rings of an af_packet port.
    pub(super) ring: Option<PacketRing>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// One sentence that names the port and what it lacks.
    pub(super) fn of(
        info: &'a dpdk::PortInfo,
        cores: Vec<u32>,
        plan: Plan,
        options: &PortOptions,
    ) -> Result<Self, String> {
        let name = &info.name;
        let interface = match info.interface_index {
            Some(index) => Some((
                index,
                Interface::by_index(index)
                    .map_err(|error| format!("port {name}: its Linux interface: {error}"))?,
            )),
            None => None,
        };
        let wanted = match (&interface, options.mtu) {
            (Some((_, interface)), _) => u16::try_from(interface.mtu).unwrap_or(u16::MAX),
            (None, Some(mtu)) => mtu,
            (None, None) => info.mtu,
        };
        let mtu = wanted.min(u16::MAX - FRAME_OVERHEAD - dpdk::HEADROOM);
        let Some(limits) = PortLimits::for_mtu(mtu) else {
            return Err(format!(
                "port {name} has an MTU of {mtu}: AoE needs at least {MTU_MIN}, and 9000 for whole pages"
            ));
        };
        let ring = (info.driver == PACKET).then(|| PacketRing::of(name, &options.vdevs));
        if let (Some((_, interface)), Some(ring)) = (&interface, ring) {
            check_packet_ring(name, ring, interface.mtu, &interface.name)?;
        }
        let netif = interface.as_ref().map(|(_, interface)| interface.name.clone());
        let known = PortInfo { number: info.number, name: name.clone(), netif, mtu, mac: info.mac };
        let mbufs = MbufSpec {
            data_room: data_room::room_for(mtu, ring.and_then(PacketRing::data_room).unwrap_or(0)),
            count: options.mbufs,
            for_others: 0,
            alignment: data_room::alignment_for(&info.driver, options, &known),
            shared_by: SharedBy::of(&info.driver, cores.len() > 1),
        };
        Ok(Self { info, cores, plan, limits, mbufs, known, ring })
    }

    /// Mbufs of each of its queue pairs for requests in flight: its rings may hold the others all the time.
    pub(super) fn in_flight(&self) -> u32 {
        self.mbufs.count.saturating_sub(2 * u32::from(start::DESCRIPTORS))
    }

    /// Adds mbufs for the requests of those of `lcores` lcores that have no queue pair of it, if there are any: together they
    /// have as many as one that has, whatever their number.
    pub(super) fn provide_for(&mut self, lcores: usize) {
        let others = lcores.saturating_sub(self.cores.len());
        if others > 0 {
            let caches = Mempool::CACHED_MOST.saturating_mul(u32::try_from(others).unwrap_or(u32::MAX));
            self.mbufs.for_others = self.in_flight().saturating_add(caches);
        }
    }
}
