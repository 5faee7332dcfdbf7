//! Ports before they are configured: their names, PMDs and limits.

use std::ffi::{CStr, CString, c_char};

use crate::{
    control::Control,
    eal::EalStarted,
    error::{Result, check},
    text,
};

/// Ethernet header and FCS, which a PMD's largest frame counts and an MTU does not.
const FRAME_AROUND_PAYLOAD: u32 = 14 + 4;

/// The facts about a port before it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// DPDK's number of the port.
    pub number: u16,
    /// DPDK's name of it: a PCI address, or a vdev's name such as `net_af_packet0`.
    pub name: String,
    /// The PMD's name.
    pub driver: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The MTU that is set, in bytes of Ethernet payload.
    pub mtu: u16,
    /// Largest MTU that the PMD reports. Some report 1500 and take every frame that fits their buffers (memif,
    /// af_packet).
    pub max_mtu: u16,
    /// Queues of each kind it can have.
    pub max_queues: u16,
    /// NUMA node, where it has one.
    pub numa_node: Option<u32>,
    /// Index of the Linux interface behind it (af_packet, tap, af_xdp), where there is one.
    pub interface_index: Option<u32>,
}

/// Lists all ports, by number.
pub fn list(_: EalStarted) -> Vec<PortInfo> {
    let control = Control::lock();
    let mut ports = Vec::new();
    let mut from = 0;
    loop {
        // SAFETY: rte_eth_find_next_owned_by (rte_ethdev.h) takes any number; owner 0 is "no owner". EAL has started.
        let next = unsafe { dpdk_sys::rte_eth_find_next_owned_by(from, 0) };
        let Ok(number) = u16::try_from(next) else { break };
        if u32::from(number) >= dpdk_sys::RTE_MAX_ETHPORTS {
            break;
        }
        if let Ok(info) = read(&control, number) {
            ports.push(info);
        }
        from = number + 1;
    }
    ports
}

/// Returns the facts about one port.
///
/// # Errors
/// `ENODEV` for a number without a port.
pub fn info(_: EalStarted, number: u16) -> Result<PortInfo> {
    read(&Control::lock(), number)
}

pub(super) fn device_info(_: &Control, number: u16) -> Result<dpdk_sys::rte_eth_dev_info> {
    let mut info = dpdk_sys::rte_eth_dev_info::default();
    // SAFETY: rte_eth_dev_info_get (rte_ethdev.h) checks the number and fills the struct.
    let code = unsafe { dpdk_sys::rte_eth_dev_info_get(number, &mut info) };
    check("rte_eth_dev_info_get", code).map(|_| info)
}

pub(super) fn read(control: &Control, number: u16) -> Result<PortInfo> {
    let device = device_info(control, number)?;
    let mut name = [0 as c_char; dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: rte_eth_dev_get_name_by_port (rte_ethdev.h) checks the number and writes at most RTE_ETH_NAME_MAX_LEN bytes,
    // the buffer's length.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(number, name.as_mut_ptr()) };
    check("rte_eth_dev_get_name_by_port", code)?;
    let mut address = dpdk_sys::rte_ether_addr::default();
    // SAFETY: rte_eth_macaddr_get (rte_ethdev.h) checks the number and fills the address.
    let code = unsafe { dpdk_sys::rte_eth_macaddr_get(number, &mut address) };
    check("rte_eth_macaddr_get", code)?;
    let mut mtu = 0;
    // SAFETY: rte_eth_dev_get_mtu (rte_ethdev.h) checks the number and fills the value.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_mtu(number, &mut mtu) };
    check("rte_eth_dev_get_mtu", code)?;
    let driver = if device.driver_name.is_null() {
        String::new()
    } else {
        // SAFETY: rte_eth_dev_info_get has set driver_name to the NUL-terminated name of the port's driver, which stays
        // while the driver is registered: as long as the program runs.
        let name = unsafe { CStr::from_ptr(device.driver_name) };
        name.to_string_lossy().into_owned()
    };
    Ok(PortInfo {
        number,
        name: text::of_buffer(&name),
        driver,
        mac: address.addr_bytes,
        mtu,
        max_mtu: device.max_mtu.min(
            u16::try_from(device.max_rx_pktlen.saturating_sub(FRAME_AROUND_PAYLOAD)).unwrap_or(u16::MAX),
        ),
        max_queues: device.max_rx_queues.min(device.max_tx_queues),
        numa_node: u32::try_from(numa_node(control, number)).ok(),
        interface_index: Some(device.if_index).filter(|index| *index > 0),
    })
}

/// The port's NUMA node; negative for any node, and without a port of that number.
pub(super) fn numa_node(_: &Control, number: u16) -> i32 {
    // SAFETY: rte_eth_dev_socket_id (rte_ethdev.h) takes any number.
    unsafe { dpdk_sys::rte_eth_dev_socket_id(number) }
}

/// The number of the port that DPDK knows by `name`.
pub fn by_name(_: EalStarted, name: &str) -> Option<u16> {
    let _control = Control::lock();
    let name = CString::new(name).ok()?;
    let mut number = 0;
    // SAFETY: rte_eth_dev_get_port_by_name (rte_ethdev.h) reads a NUL-terminated string and fills the number.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut number) };
    (code == 0).then_some(number)
}
