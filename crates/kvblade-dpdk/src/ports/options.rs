//! The operator's options about ports, and the sizes that all ports share.

use crate::bdev_requirements::BdevRequirements;
use crate::idle::IdleOption;
use crate::payload_alignment::PayloadAlignment;
use crate::spread::SpreadOption;

/// Bytes around an Ethernet payload: addresses, EtherType, two VLAN tags, FCS.
pub(super) const FRAME_OVERHEAD: u16 = 14 + 8 + 4;

/// What the operator may say about ports.
#[derive(Debug, Clone)]
pub(crate) struct PortOptions {
    /// MTU of ports that have no Linux interface.
    pub(crate) mtu: Option<u16>,
    /// Mbufs of each queue pair's pool.
    pub(crate) mbufs: u32,
    /// Where frames carry their data.
    pub(crate) alignment: PayloadAlignment,
    /// What the exports of the start want.
    pub(crate) requirements: BdevRequirements,
    /// The values of EAL's `--vdev`.
    pub(crate) vdevs: Vec<String>,
    /// Over how many lcores, and how, a port's frames are spread.
    pub(crate) spread: SpreadOption,
    /// What lcores do without work.
    pub(crate) idle: IdleOption,
}
