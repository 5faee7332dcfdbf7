//! `--spread`: the way in which a port's frames are distributed over several lcores.
//!
//! NICs do not hash frames of AoE's EtherType by default: without one of these ways all frames of a port with 24 queues
//! arrive in the first one.

use std::fmt;

use aoe_target::MacAddr;
use dpdk::{FlowRule, PortInfo};

/// Maximum number of MAC addresses of a port: they differ in four bits.
const MAX_ADDRESSES: usize = 16;

/// PMDs whose peer decides the number of queues, after the start.
const QUEUES_BY_PEER: [&str; 2] = ["net_memif", "net_vhost"];

/// The operator's choice for all ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DistributionOption {
    pub(crate) mode: DistributionMode,
    /// Maximum number of lcores for one port; `None` is all lcores.
    pub(crate) lcores: Option<usize>,
}

/// The ways that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DistributionMode {
    Auto,
    Off,
    Rss,
    Macs,
    Software,
}

impl Default for DistributionOption {
    fn default() -> Self {
        Self { mode: DistributionMode::Auto, lcores: None }
    }
}

impl DistributionOption {
    /// Reads `MODE[:LCORES]`.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mode, lcores) = match text.split_once(':') {
            Some((mode, lcores)) => (mode, Some(lcores)),
            None => (text, None),
        };
        let mode = match mode {
            "auto" => DistributionMode::Auto,
            "off" => DistributionMode::Off,
            "rss" => DistributionMode::Rss,
            "macs" => DistributionMode::Macs,
            "software" => DistributionMode::Software,
            _ => return Err("the ways are auto, off, rss, macs and software".into()),
        };
        let lcores = match lcores {
            None => None,
            Some(_) if mode == DistributionMode::Off => return Err("off takes no number of lcores".into()),
            Some(lcores) => Some(
                lcores
                    .parse()
                    .ok()
                    .filter(|lcores| (2..=64).contains(lcores))
                    .ok_or("a port is spread over 2 to 64 lcores")?,
            ),
        };
        Ok(Self { mode, lcores })
    }
}

/// The way chosen for a port, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) why: String,
}

/// A way to distribute frames over lcores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Frames come into the queues by themselves.
    AsTheyCome,
    /// By the NIC, with a hash of the Ethernet addresses.
    Rss(FlowRule),
    /// A MAC address for each queue.
    Macs(Vec<MacAddr>),
    /// The lcores distribute what comes into one queue, over rings.
    Software,
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AsTheyCome => "off",
            Self::Rss(_) => "rss",
            Self::Macs(_) => "macs",
            Self::Software => "software",
        })
    }
}

/// Chooses the way for a port with `queues` queue pairs on as many lcores, of `cores` lcores in all. `ask` asks the PMD for
/// a rule that hashes addresses.
///
/// # Errors
/// One sentence, if the port can't do what the operator chose.
pub(crate) fn plan(
    info: &PortInfo,
    queues: usize,
    cores: usize,
    option: DistributionOption,
    ask: impl FnOnce() -> Result<FlowRule, String>,
) -> Result<Plan, String> {
    let (name, driver) = (&info.name, &info.driver);
    let as_they_come = |why: String| Ok(Plan { way: Way::AsTheyCome, why });
    let mode = option.mode;
    if mode == DistributionMode::Off {
        return as_they_come("--spread off".into());
    }
    if queues < 2 {
        let why = if cores < 2 {
            "there is one lcore: -l gives more".into()
        } else {
            let more = if driver == "net_af_packet" { ": qpairs=N in its --vdev gives more" } else { "" };
            format!("the port has one queue pair{more}")
        };
        return match mode {
            DistributionMode::Auto => as_they_come(why),
            _ => Err(format!("port {name} ({driver}) can't be spread over lcores as --spread wants: {why}")),
        };
    }
    if mode == DistributionMode::Macs {
        return match addresses(info.mac, queues) {
            Some(macs) => Ok(Plan { way: Way::Macs(macs), why: "--spread macs".into() }),
            None => Err(format!(
                "port {name} would have {queues} MAC addresses, and {MAX_ADDRESSES} is the most: --spread macs:{MAX_ADDRESSES}"
            )),
        };
    }
    if mode == DistributionMode::Software {
        return Ok(Plan { way: Way::Software, why: "--spread software".into() });
    }
    match ask() {
        Ok(rule) => {
            let why = format!("the PMD takes the rule: {rule}");
            Ok(Plan { way: Way::Rss(rule), why })
        }
        Err(refused) if mode == DistributionMode::Rss => Err(format!(
            "port {name} ({driver}) does not spread frames by their addresses: {refused}: --spread software or macs do \
             without"
        )),
        Err(_) if QUEUES_BY_PEER.contains(&driver.as_str()) => {
            as_they_come("the other end decides how many queues there are and which of them it uses".into())
        }
        Err(refused) => Ok(Plan {
            way: Way::Software,
            why: format!("the PMD does not spread frames by their addresses: {refused}"),
        }),
    }
}

/// The MAC addresses of a port's queues: its own, and locally administered ones that differ from it in four bits of the
/// first byte. So they are the same after each start, and no other port has them.
fn addresses(own: [u8; 6], queues: usize) -> Option<Vec<MacAddr>> {
    if queues > MAX_ADDRESSES {
        return None;
    }
    let further = (1u8..).take(queues.checked_sub(1)?).map(|queue| {
        let mut mac = own;
        // The lowest bit marks a group, the next a locally administered address.
        mac[0] = (own[0] ^ queue << 4) & !1 | 2;
        MacAddr(mac)
    });
    Some(std::iter::once(MacAddr(own)).chain(further).collect())
}

#[cfg(test)]
mod tests;
