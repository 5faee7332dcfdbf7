//! The operator's options about ports, and the sizes that all ports share.

use crate::bdev_requirements::BdevRequirements;
use crate::distribution::DistributionOption;
use crate::idle::IdleOption;
use crate::payload_alignment::PayloadAlignment;

/// Bytes around an Ethernet payload: addresses, EtherType, two VLAN tags, FCS.
pub(super) const FRAME_OVERHEAD: u16 = 14 + 8 + 4;

/// The operator's options about ports.
#[derive(Debug, Clone)]
pub(crate) struct PortOptions {
    /// MTU of ports that have no Linux interface.
    pub(crate) mtu: Option<u16>,
    /// Mbufs of each queue pair.
    pub(crate) mbufs: u32,
    /// Alignment of the data in frames.
    pub(crate) alignment: PayloadAlignment,
    /// The requirements of the configuration's bdevs.
    pub(crate) requirements: BdevRequirements,
    /// The values of EAL's `--vdev`.
    pub(crate) vdevs: Vec<String>,
    /// The way a port's frames are distributed, and over how many lcores.
    pub(crate) spread: DistributionOption,
    /// The behaviour of idle lcores.
    pub(crate) idle: IdleOption,
}
