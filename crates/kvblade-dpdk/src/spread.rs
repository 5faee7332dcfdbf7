//! Before the first frame: by which way a port's frames are spread over several lcores.
//!
//! NICs do not hash AoE's EtherType by themselves: without one of these ways a port with 24 queues has all of its
//! frames in the first.

use std::fmt;

use aoe_target::MacAddr;
use dpdk::{FlowRule, PortInfo};

/// Most station addresses of a port: they differ in four bits.
const MAX_ADDRESSES: usize = 16;

/// Frames each ring between two lcores holds, when the lane that receives can serve what it has no room for.
const RING_FRAMES: u32 = 511;

/// PMDs whose other end decides, after the start, how many of the queues there are.
const QUEUES_BY_PEER: [&str; 2] = ["net_memif", "net_vhost"];

/// What the operator wants, for all ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpreadOption {
    pub(crate) mode: SpreadMode,
    /// Lcores of one port at most; `None` is all that there are.
    pub(crate) lcores: Option<usize>,
}

/// The ways to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpreadMode {
    Auto,
    Off,
    Rss,
    Macs,
    Software,
}

impl Default for SpreadOption {
    fn default() -> Self {
        Self { mode: SpreadMode::Auto, lcores: None }
    }
}

impl SpreadOption {
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
            "auto" => SpreadMode::Auto,
            "off" => SpreadMode::Off,
            "rss" => SpreadMode::Rss,
            "macs" => SpreadMode::Macs,
            "software" => SpreadMode::Software,
            _ => return Err("the ways are auto, off, rss, macs and software".into()),
        };
        let lcores = match lcores {
            None => None,
            Some(_) if mode == SpreadMode::Off => return Err("off takes no number of lcores".into()),
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

/// The way a port goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) why: String,
}

/// How frames get to the lcores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// As they come: each lcore serves what is in its queue.
    AsTheyCome,
    /// The NIC hashes.
    Rss(FlowRule),
    /// A station address for each lane.
    Macs(Vec<MacAddr>),
    /// Lcores hand them over.
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

impl Way {
    /// True if an mbuf of one queue may be in the hands of all lcores of the port.
    pub(crate) fn crosses_lcores(&self) -> bool {
        matches!(self, Self::Macs(_) | Self::Software)
    }

    /// Frames that the rings between its lcores hold, where all queues have `mbufs` mbufs.
    pub(crate) fn ring_capacity(&self, mbufs: u32) -> u32 {
        match self {
            // Only one lane can answer under its address, so there is room for every mbuf.
            Self::Macs(_) => mbufs,
            _ => RING_FRAMES,
        }
    }
}

/// The way for a port with `lanes` queue pairs on as many lcores, of `cores` lcores in all. `ask` asks its PMD for a
/// rule that hashes addresses.
///
/// # Errors
/// One sentence, when the operator wants a way that the port can't go.
pub(crate) fn plan(
    info: &PortInfo,
    lanes: usize,
    cores: usize,
    option: SpreadOption,
    ask: impl FnOnce() -> Result<FlowRule, String>,
) -> Result<Plan, String> {
    let (name, driver) = (&info.name, &info.driver);
    let as_they_come = |why: String| Ok(Plan { way: Way::AsTheyCome, why });
    let mode = option.mode;
    if mode == SpreadMode::Off {
        return as_they_come("--spread off".into());
    }
    if lanes < 2 {
        let why = if cores < 2 {
            "there is one lcore: -l gives more".into()
        } else {
            let more = if driver == "net_af_packet" { ": qpairs=N in its --vdev gives more" } else { "" };
            format!("the port has one queue pair{more}")
        };
        return match mode {
            SpreadMode::Auto => as_they_come(why),
            _ => Err(format!("port {name} ({driver}) can't be spread over lcores as --spread wants: {why}")),
        };
    }
    if mode == SpreadMode::Macs {
        return match addresses(info.mac, lanes) {
            Some(macs) => Ok(Plan { way: Way::Macs(macs), why: "--spread macs".into() }),
            None => Err(format!(
                "port {name} would have {lanes} station addresses, and {MAX_ADDRESSES} is the most: --spread macs:{MAX_ADDRESSES}"
            )),
        };
    }
    if mode == SpreadMode::Software {
        return Ok(Plan { way: Way::Software, why: "--spread software".into() });
    }
    match ask() {
        Ok(rule) => {
            let why = format!("the PMD takes the rule: {rule}");
            Ok(Plan { way: Way::Rss(rule), why })
        }
        Err(refused) if mode == SpreadMode::Rss => Err(format!(
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

/// The station addresses of a port's lanes: its own and locally administered ones that differ from it in four bits of
/// the first byte, so that they are the same after each start and no other port has them.
fn addresses(own: [u8; 6], lanes: usize) -> Option<Vec<MacAddr>> {
    if lanes > MAX_ADDRESSES {
        return None;
    }
    let further = (1u8..).take(lanes.checked_sub(1)?).map(|lane| {
        let mut mac = own;
        // The lowest bit is for groups, the next for what no registry has given out.
        mac[0] = (own[0] ^ lane << 4) & !1 | 2;
        MacAddr(mac)
    });
    Some(std::iter::once(MacAddr(own)).chain(further).collect())
}

#[cfg(test)]
mod tests;
