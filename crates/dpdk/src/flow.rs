//! Flow rules by which a NIC distributes AoE's frames over several rx queues.

use std::ffi::c_char;

use crate::{
    error::{Error, Result, check},
    text,
};

/// EtherType of AoE.
const AOE: u16 = 0x88a2;

/// A PMD's refusal of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}{reason}", if reason.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// The error that it returned.
    pub error: Error,
    /// The PMD's message, if it gives one.
    pub reason: String,
}

/// A rule of `rte_flow.h` for frames that a port receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowRule {
    /// Distributes frames over rx queues by a hash of both Ethernet addresses (`eth / rss types eth`): with `aoe_only`
    /// those of AoE's EtherType, else all frames for which the NIC has no hash of an inner header.
    HashAddresses {
        /// Only EtherType 0x88a2.
        aoe_only: bool,
        /// The queues; empty for all that the port has.
        queues: Vec<u16>,
    },
    /// Steers frames for a MAC address to a queue.
    Steer {
        /// The address.
        to: [u8; 6],
        /// The queue.
        queue: u16,
    },
}

impl FlowRule {
    /// The rule as the shim takes it. Points to the queues in `self`.
    fn raw(&self) -> dpdk_sys::dpdk_shim_flow {
        let (ethertype, destination, action, queues) = match self {
            Self::HashAddresses { aoe_only, queues } => {
                let ethertype = if *aoe_only { AOE } else { 0 };
                (ethertype, None, dpdk_sys::DPDK_SHIM_FLOW_HASH, queues.as_slice())
            }
            Self::Steer { to, queue } => {
                (0, Some(*to), dpdk_sys::DPDK_SHIM_FLOW_QUEUE, std::slice::from_ref(queue))
            }
        };
        dpdk_sys::dpdk_shim_flow {
            ethertype,
            to_destination: destination.is_some(),
            destination: destination.unwrap_or_default(),
            action,
            queues: queues.as_ptr(),
            // A port has at most 65535 queues.
            queue_count: u32::try_from(queues.len()).unwrap_or(u32::MAX),
        }
    }

    fn ask(&self, number: u16, create: bool) -> std::result::Result<(), Refused> {
        let call = if create { "rte_flow_create" } else { "rte_flow_validate" };
        let mut reason = [0 as c_char; 256];
        // SAFETY: rte_flow_validate and rte_flow_create (rte_flow.h) check the port's number and copy the rule. The shim
        // builds the rule from this struct: `self` keeps the queues during the call, and a rule that steers has one. The
        // shim terminates the text within the buffer's length.
        let code = unsafe {
            dpdk_sys::dpdk_shim_flow(number, &self.raw(), create, reason.as_mut_ptr(), reason.len())
        };
        check(call, code).map(|_| ()).map_err(|error| Refused { error, reason: text::of_buffer(&reason) })
    }

    /// Asks the PMD of a configured port whether it takes the rule. Changes nothing.
    ///
    /// # Errors
    /// Why the PMD refuses it; `ENOSYS` from a PMD without rules.
    pub(crate) fn validate(&self, number: u16) -> std::result::Result<(), Refused> {
        self.ask(number, false)
    }

    /// Makes the PMD of a started port apply the rule until the port is closed.
    ///
    /// # Errors
    /// As [`FlowRule::validate`].
    pub(crate) fn create(&self, number: u16) -> std::result::Result<(), Refused> {
        self.ask(number, true)
    }
}

/// Writes the rule as the PMD gets it, in the syntax of testpmd's `flow create`.
impl std::fmt::Display for FlowRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut buffer = [0 as c_char; 512];
        // SAFETY: the shim reads the struct as in `ask`, and terminates the text within the buffer's length.
        unsafe { dpdk_sys::dpdk_shim_flow_describe(&self.raw(), buffer.as_mut_ptr(), buffer.len()) };
        formatter.write_str(&text::of_buffer(&buffer))
    }
}

/// Adds a MAC address to a started port.
pub(crate) fn add_address(number: u16, address: [u8; 6]) -> Result<()> {
    let mut address = dpdk_sys::rte_ether_addr { addr_bytes: address };
    // SAFETY: rte_eth_dev_mac_addr_add (rte_ethdev.h) checks the number and copies the address; pool 0 is for ports
    // without VMDq.
    let code = unsafe { dpdk_sys::rte_eth_dev_mac_addr_add(number, &mut address, 0) };
    check("rte_eth_dev_mac_addr_add", code).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_built_as_testpmd_would() {
        let queues: Vec<u16> = vec![0, 1, 2, 3];
        for (rule, text) in [
            (
                FlowRule::HashAddresses { aoe_only: false, queues: Vec::new() },
                "ingress pattern eth / end actions rss types eth end queues end / end",
            ),
            (
                FlowRule::HashAddresses { aoe_only: false, queues: queues.clone() },
                "ingress pattern eth / end actions rss types eth end queues 0 1 2 3 end / end",
            ),
            (
                FlowRule::HashAddresses { aoe_only: true, queues },
                "ingress pattern eth type is 0x88a2 / end actions rss types eth end queues 0 1 2 3 end / end",
            ),
            (
                FlowRule::Steer { to: [2, 0, 0xab, 3, 4, 5], queue: 3 },
                "ingress pattern eth dst is 02:00:ab:03:04:05 / end actions queue index 3 / end",
            ),
        ] {
            assert_eq!(rule.to_string(), text);
        }
    }
}
