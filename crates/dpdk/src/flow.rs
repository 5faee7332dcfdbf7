//! Before the first frame: rules by which a NIC brings AoE's frames to several rx queues.

use std::ffi::c_char;

use crate::{
    error::{Error, Result, check},
    port::{self, PortUse},
};

/// EtherType of AoE.
const AOE: u16 = 0x88a2;

/// Why a PMD does not take a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}{reason}", if reason.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// What it returned.
    pub error: Error,
    /// Its own words, if it has any.
    pub reason: String,
}

/// A rule of `rte_flow.h` for frames that a port receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowRule {
    /// Spreads frames over rx queues by a hash of both Ethernet addresses (`eth / rss types eth`): with `aoe_only`
    /// those of AoE's EtherType, else all whose inner headers the NIC does not know better.
    HashAddresses {
        /// Only EtherType 0x88a2.
        aoe_only: bool,
        /// None for all that the port has.
        queues: Vec<u16>,
    },
    /// Brings frames for a station address to a queue.
    Steer {
        /// The address.
        to: [u8; 6],
        /// The queue.
        queue: u16,
    },
}

impl FlowRule {
    /// The rule as the shim builds it from; good while `self` lives and does not change.
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
            // No PMD has more than 65536, and one that is told a part of them refuses none.
            queue_count: u32::try_from(queues.len()).unwrap_or(u32::MAX),
        }
    }

    fn ask(&self, number: u16, create: bool) -> std::result::Result<(), Refused> {
        let call = if create { "rte_flow_create" } else { "rte_flow_validate" };
        let mut reason = [0 as c_char; 256];
        // SAFETY: rte_flow_validate and rte_flow_create (rte_flow.h) check the port's number and copy the rule; the
        // shim builds it from this struct, whose queues `self` keeps, and ends the text within the buffer; a rule that
        // steers has one queue.
        let code = unsafe {
            dpdk_sys::dpdk_shim_flow(number, &self.raw(), create, reason.as_mut_ptr(), reason.len())
        };
        check(call, code).map(|_| ()).map_err(|error| Refused { error, reason: port::text(reason.as_ptr()) })
    }

    /// Asks the PMD of a configured port whether it would take the rule. Changes nothing.
    ///
    /// # Errors
    /// What the PMD says; `ENOSYS` from one that knows no rules.
    pub fn validate(&self, number: u16) -> std::result::Result<(), Refused> {
        self.ask(number, false)
    }

    /// Has the PMD of a started port take the rule, until the port is closed.
    ///
    /// # Errors
    /// As [`FlowRule::validate`].
    pub(crate) fn create(&self, number: u16) -> std::result::Result<(), Refused> {
        self.ask(number, true)
    }
}

/// The rule as the PMD gets it, in the words of testpmd's `flow create`.
impl std::fmt::Display for FlowRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0 as c_char; 512];
        // SAFETY: as for `ask`.
        unsafe { dpdk_sys::dpdk_shim_flow_describe(&self.raw(), text.as_mut_ptr(), text.len()) };
        formatter.write_str(&port::text(text.as_ptr()))
    }
}

/// Asks the PMD of a port that is not started whether it would spread frames over `queues` rx queues by their Ethernet
/// addresses, and returns the rule it takes. Configures the port for that: it is to be configured again before it is
/// started.
///
/// # Errors
/// What the PMD says to the first rule it was asked about, or to the configuration.
pub fn hash_rule(number: u16, queues: u16) -> std::result::Result<FlowRule, Refused> {
    let configured = port::configure(number, queues, None, PortUse { hashes: true, interrupts: false });
    configured.map_err(|error| Refused { error, reason: String::new() })?;
    // i40e, ice and iavf take a pattern only without EtherType and without queues (i40e_hash.c: "Header info should
    // not be specified", "RSS queues not supported when pattern specified"); others may want both.
    let all: Vec<u16> = (0..queues).collect();
    let mut refused = None;
    for (aoe_only, queues) in [(false, Vec::new()), (true, Vec::new()), (true, all.clone()), (false, all)] {
        let rule = FlowRule::HashAddresses { aoe_only, queues };
        match rule.validate(number) {
            Ok(()) => return Ok(rule),
            // The first is the one most likely to be taken, so what is said to it tells most.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let error = Error { call: "rte_flow_validate", errno: 95 };
    Err(refused.unwrap_or(Refused { error, reason: String::new() }))
}

/// Gives a started port a further station address.
pub(crate) fn add_address(number: u16, address: [u8; 6]) -> Result<()> {
    let mut address = dpdk_sys::rte_ether_addr { addr_bytes: address };
    // SAFETY: rte_eth_dev_mac_addr_add (rte_ethdev.h) checks the number and copies the address; 0 is the pool of
    // ports without VMDq.
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
