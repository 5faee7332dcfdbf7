//! The ports of this process, and the names that requests have for them.

use std::collections::BTreeMap;
use std::fmt;

use aoe_target::{PortId, Ports};
use serde::{Serialize, Serializer};

use crate::error::{ErrorCode, Quoted, RpcError};

/// Longest port name, in bytes: `RTE_ETH_NAME_MAX_LEN` less the terminating zero (`rte_ethdev.h`).
pub const PORT_NAME_MAX: usize = 63;

/// A port as a user names it: `--export 1.1@PORT`, `"ports": [PORT]`, `kvadd ... NETIF`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// DPDK's port number.
    Number(u16),
    /// A DPDK device name, a PCI address, or the Linux interface behind the port.
    Name(String),
}

impl PortRef {
    /// Reads a port as written on a command line. Digits alone are a port number.
    ///
    /// # Errors
    /// A sentence naming the text when it is empty, too long, holds white space or is no 16-bit number.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "the port is empty: give a port number, a DPDK device name or a Linux interface".into()
            );
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text
                .parse()
                .map(Self::Number)
                .map_err(|_| format!("port {} is out of range: a port number is 0 to 65535", Quoted(text)));
        }
        if text.len() > PORT_NAME_MAX {
            return Err(format!(
                "port {} is too long: a name has at most {PORT_NAME_MAX} bytes",
                Quoted(text)
            ));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("port {} holds white space: a port name has none", Quoted(text)));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// As requests and configuration files have it: a number or a string.
impl Serialize for PortRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A running port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// DPDK's port number.
    pub number: u16,
    /// DPDK's device name: `net_af_packet0`, or the PCI address of a NIC.
    pub name: String,
    /// The Linux interface behind the port (af_packet, tap, bifurcated drivers), where there is one.
    pub netif: Option<String>,
    /// Largest Ethernet payload, in bytes.
    pub mtu: u16,
    /// Station address, in wire order.
    pub mac: [u8; 6],
}

/// What has happened to the link of a port and to the Linux interface behind it, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortChanges {
    /// The link came up.
    pub link_up: u64,
    /// The link went down.
    pub link_down: u64,
    /// The interface got another MTU.
    pub mtu: u64,
    /// It got another MAC address.
    pub mac: u64,
    /// It got another name.
    pub renamed: u64,
    /// It was deleted, or moved to another network namespace.
    pub deleted: u64,
    /// It was there again, and the port was made again on it.
    pub remade: u64,
}

impl PortChanges {
    /// Name and value of each count.
    #[must_use]
    pub const fn fields(&self) -> [(&'static str, u64); 7] {
        let Self { link_up, link_down, mtu, mac, renamed, deleted, remade } = *self;
        [
            ("link_up", link_up),
            ("link_down", link_down),
            ("mtu", mtu),
            ("mac", mac),
            ("renamed", renamed),
            ("deleted", deleted),
            ("remade", remade),
        ]
    }
}

/// The ports of this process, in the order of their numbers.
#[derive(Debug, Clone, Default)]
pub struct PortTable {
    ports: Vec<PortInfo>,
    /// By port number; a port that nothing has happened to may be missing.
    changes: BTreeMap<u16, PortChanges>,
}

impl PortTable {
    /// Takes the ports found at start, in any order.
    #[must_use]
    pub fn new(mut ports: Vec<PortInfo>) -> Self {
        ports.sort_by_key(|port| port.number);
        Self { ports, changes: BTreeMap::new() }
    }

    /// Takes over what has happened to a port.
    pub(crate) fn set_changes(&mut self, number: u16, changes: PortChanges) {
        self.changes.insert(number, changes);
    }

    /// What has happened to a port since the start.
    #[must_use]
    pub fn changes(&self, number: u16) -> PortChanges {
        self.changes.get(&number).copied().unwrap_or_default()
    }

    /// Takes over what has changed of a port that runs.
    pub(crate) fn change(&mut self, number: u16, netif: Option<String>, mtu: u16, mac: [u8; 6]) {
        if let Some(port) = self.ports.iter_mut().find(|port| port.number == number) {
            *port = PortInfo { number, name: std::mem::take(&mut port.name), netif, mtu, mac };
        }
    }

    /// All ports, in the order of their numbers.
    #[must_use]
    pub fn all(&self) -> &[PortInfo] {
        &self.ports
    }

    /// Those among `ports`, one by one.
    pub fn of(&self, ports: Ports) -> impl Iterator<Item = &PortInfo> {
        self.ports.iter().filter(move |port| ports.contains(PortId(port.number)))
    }

    /// The port of that number, if there is one.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<&PortInfo> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Finds a port: by number, else by DPDK name, else by PCI address in its short form, else by Linux interface.
    ///
    /// # Errors
    /// [`ErrorCode::NoDevice`] naming the ports there are; [`ErrorCode::InvalidParams`] when several ports sit
    /// on the named Linux interface.
    pub fn resolve(&self, wanted: &PortRef) -> Result<&PortInfo, RpcError> {
        let name = match wanted {
            PortRef::Number(number) => return self.get(*number).ok_or_else(|| self.unknown(wanted)),
            PortRef::Name(name) => name,
        };
        let by_device = |name: &str| self.ports.iter().find(|port| port.name.eq_ignore_ascii_case(name));
        if let Some(port) = by_device(name).or_else(|| by_device(&format!("0000:{name}"))) {
            return Ok(port);
        }
        let mut behind = self.ports.iter().filter(|port| port.netif.as_deref() == Some(name));
        match (behind.next(), behind.next()) {
            (Some(port), None) => Ok(port),
            (None, _) => Err(self.unknown(wanted)),
            (Some(first), Some(second)) => Err(RpcError::invalid(format!(
                "port {} is ambiguous: ports {} ({}) and {} ({}) both sit on that interface, give the number",
                Quoted(name),
                first.number,
                first.name,
                second.number,
                second.name
            ))),
        }
    }

    fn unknown(&self, wanted: &PortRef) -> RpcError {
        RpcError::new(
            ErrorCode::NoDevice,
            format!("no port {}: the ports are {}", Quoted(&wanted.to_string()), self.listing()),
        )
    }

    /// The ports as an error message lists them; cut short when there are many.
    fn listing(&self) -> String {
        const SHOWN: usize = 4;
        if self.ports.is_empty() {
            return "none (give EAL a --vdev or an -a)".into();
        }
        let mut text = self
            .ports
            .iter()
            .take(SHOWN)
            .map(|port| match &port.netif {
                Some(netif) => format!("{} ({}, {netif})", port.number, port.name),
                None => format!("{} ({})", port.number, port.name),
            })
            .collect::<Vec<_>>()
            .join(", ");
        if self.ports.len() > SHOWN {
            text.push_str(&format!(" and {} more", self.ports.len() - SHOWN));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, name: &str, netif: Option<&str>) -> PortInfo {
        PortInfo {
            number,
            name: name.into(),
            netif: netif.map(Into::into),
            mtu: 1500,
            mac: [2, 0, 0, 0, 0, 1],
        }
    }

    fn table() -> PortTable {
        PortTable::new(vec![
            port(3, "net_af_packet2", Some("veth9")),
            port(0, "0000:03:00.0", Some("eth3")),
            port(1, "net_af_packet0", Some("veth0")),
            port(2, "net_af_packet1", Some("veth9")),
        ])
    }

    #[test]
    fn reads_numbers_and_names() {
        assert_eq!(PortRef::parse("0"), Ok(PortRef::Number(0)));
        assert_eq!(PortRef::parse("65535"), Ok(PortRef::Number(65535)));
        assert_eq!(PortRef::parse("0000:03:00.0"), Ok(PortRef::Name("0000:03:00.0".into())));
        for (text, parts) in [
            ("", &["empty", "number"][..]),
            ("65536", &["'65536'", "0 to 65535"]),
            ("a b", &["'a b'", "white space"]),
            (&"x".repeat(64), &["xxx", "63 bytes"]),
        ] {
            let message = PortRef::parse(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text:?}: {message}");
            }
        }
    }

    #[test]
    fn finds_a_port_by_each_of_its_names() {
        let table = table();
        for (wanted, number) in
            [("1", 1), ("net_af_packet0", 1), ("veth0", 1), ("0000:03:00.0", 0), ("03:00.0", 0), ("eth3", 0)]
        {
            let wanted = PortRef::parse(wanted).unwrap();
            assert_eq!(table.resolve(&wanted).unwrap().number, number, "{wanted}");
        }
    }

    #[test]
    fn a_port_whose_interface_was_renamed_is_found_by_the_new_name() {
        let mut table = table();
        table.change(1, Some("new0".into()), 1500, [2; 6]);
        table.change(9, Some("nobody".into()), 1500, [2; 6]);
        let port = table.resolve(&PortRef::Name("new0".into())).unwrap();
        assert_eq!(
            (port.number, port.name.as_str(), port.mtu, port.mac),
            (1, "net_af_packet0", 1500, [2; 6])
        );
        assert!(table.resolve(&PortRef::Name("veth0".into())).is_err());
        assert_eq!(table.all().len(), super::tests::table().all().len());
    }

    #[test]
    fn an_unknown_port_is_answered_with_the_ports_there_are() {
        let error = table().resolve(&PortRef::Name("eth0".into())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoDevice);
        for part in ["'eth0'", "0 (0000:03:00.0, eth3)", "1 (net_af_packet0, veth0)"] {
            assert!(error.message().contains(part), "{error}");
        }
        let error = table().resolve(&PortRef::Number(7)).unwrap_err();
        assert!(error.message().contains("'7'"), "{error}");
        let error = PortTable::default().resolve(&PortRef::Number(0)).unwrap_err();
        assert!(error.message().contains("none"), "{error}");
    }

    #[test]
    fn an_interface_behind_two_ports_is_ambiguous() {
        let error = table().resolve(&PortRef::Name("veth9".into())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParams);
        for part in ["'veth9'", "2 (net_af_packet1)", "3 (net_af_packet2)"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}
