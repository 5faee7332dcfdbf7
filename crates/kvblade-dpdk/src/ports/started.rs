//! A started port, and what becomes of its link and of the Linux interface behind it.

use aoe_target::{MacAddr, PortLimits};
use control::{PortChanges, PortFacts};
use dpdk::{Interface, Port};

use super::memif_client::MemifClient;
use super::options::FRAME_OVERHEAD;
use crate::args::values::MTU_MIN;

/// A started port.
pub(crate) struct Started {
    number: u16,
    name: String,
    alignment: usize,
    /// What `aoe_get_ports` shows of it.
    facts: PortFacts,
    /// The other process, without which the link is down.
    peer: Option<Peer>,
    interface: Option<Behind>,
    /// The link as it was when the port was last looked at.
    link: bool,
    /// The address that requests are answered from, and the MTU that replies are made for.
    mac: MacAddr,
    mtu: u16,
    counted: PortChanges,
    port: Port,
}

/// Another process that a port is connected to.
pub(super) struct Peer {
    /// What the port does to be connected, if it is a client.
    pub(super) client: Option<MemifClient>,
}

/// The Linux interface behind a port.
pub(super) struct Behind {
    pub(super) index: u32,
    /// Its name now.
    pub(super) name: String,
    /// The largest MTU that the port's rings and mbufs have room for.
    pub(super) largest_mtu: u16,
    /// How to make the port again, where its PMD can: an af_packet port's vdev.
    pub(super) vdev: Option<Vdev>,
    /// It was deleted, or is in another network namespace now.
    gone: bool,
    /// The cause of the last failed attempt to make the port again.
    failure: Option<String>,
}

/// The vdev of an af_packet port.
pub(super) struct Vdev {
    /// The interface that the operator named.
    pub(super) interface: String,
    /// The arguments but for the interface.
    pub(super) rest: String,
}

/// What others must know of a port that has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// For lcores: the former address, the address and the limits now.
    pub(crate) served: Option<(MacAddr, MacAddr, PortLimits)>,
    /// For reports: the name of its interface, its MTU and its address are others.
    pub(crate) shown: bool,
    /// Initiators should look at its exports.
    pub(crate) advertise: bool,
}

impl Behind {
    pub(super) fn new((index, name): (u32, String), largest_mtu: u16, vdev: Option<Vdev>) -> Self {
        Self { index, name, largest_mtu, vdev, gone: false, failure: None }
    }
}

impl Vdev {
    /// The vdev with these arguments.
    pub(super) fn parse(arguments: &str) -> Option<Self> {
        let words = arguments.split(',');
        let interface = words.clone().find_map(|word| word.strip_prefix("iface="))?.to_owned();
        let rest: Vec<&str> = words.filter(|word| !word.starts_with("iface=")).collect();
        Some(Self { interface, rest: rest.join(",") })
    }

    /// The arguments for an interface.
    fn arguments(&self, interface: &str) -> String {
        let separator = if self.rest.is_empty() { "" } else { "," };
        format!("iface={interface}{separator}{}", self.rest)
    }
}

impl Started {
    pub(super) fn new(
        known: &control::PortInfo,
        alignment: usize,
        facts: PortFacts,
        peer: Option<Peer>,
        interface: Option<Behind>,
        port: Port,
    ) -> Self {
        Self {
            number: known.number,
            name: known.name.clone(),
            alignment,
            facts,
            peer,
            interface,
            link: false,
            mac: MacAddr(known.mac),
            mtu: known.mtu,
            counted: PortChanges::default(),
            port,
        }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Alignment of the data in an untagged frame, in bytes.
    pub(crate) fn alignment(&self) -> usize {
        self.alignment
    }

    /// The name of the interface behind it, its MTU and its address, as they are now.
    pub(crate) fn shown(&self) -> (Option<String>, u16, [u8; 6]) {
        (self.interface.as_ref().map(|interface| interface.name.clone()), self.mtu, self.mac.0)
    }

    /// What is known of it, as it is now.
    pub(crate) fn facts(&self) -> PortFacts {
        PortFacts { link_up: self.link, ..self.facts.clone() }
    }

    /// Whether it had a link when it was last looked at.
    pub(crate) fn has_link(&self) -> bool {
        self.link
    }

    /// What has happened to its link and interface since the start.
    pub(crate) fn counted(&self) -> PortChanges {
        self.counted
    }

    /// Whether the start should wait for its link. Not for a peer, nor for an interface that is set down or gone: these come
    /// up by the hand of an operator.
    pub(crate) fn is_worth_waiting_for(&self) -> bool {
        match &self.interface {
            None => self.peer.is_none() && !self.link_up(),
            Some(interface) => {
                Interface::by_index(interface.index).is_ok_and(|seen| seen.up && !seen.running)
            }
        }
    }

    /// Whether frames can be sent. Linux knows the link of a port with an interface, whose PMD does not; the PMD knows that
    /// of others.
    fn link_up(&self) -> bool {
        match &self.interface {
            Some(interface) => {
                !interface.gone
                    && Interface::by_index(interface.index).is_ok_and(|seen| seen.up && seen.running)
            }
            None => self.port.link().is_ok_and(|link| link.up),
        }
    }

    /// Takes the link at the end of the start as seen, and warns if it is down.
    pub(crate) fn note_start(&mut self) {
        self.link = self.link_up();
        if self.link || self.peer.is_some() {
            return;
        }
        match &self.interface {
            Some(Behind { name, .. }) => tracing::warn!(
                "port {} is down: bring its interface up with 'ip link set {name} up', and the other end of a veth pair \
                 too: it is served when it is up",
                self.name
            ),
            None => tracing::warn!(
                "port {} is down: there is no link, look at its cable and the other end: it is served when it is up",
                self.name
            ),
        }
    }

    /// Looks at the interface and the link, logs their changes and returns those that others must know.
    pub(crate) fn look(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.look_at_interface(&mut changes);
        let up = self.link_up();
        if up != self.link {
            self.link = up;
            if up {
                self.counted.link_up += 1;
                tracing::info!(port = %self.name, "link up");
                changes.advertise = true;
            } else {
                self.counted.link_down += 1;
                tracing::warn!(port = %self.name, "link down: replies wait until it is up");
            }
        }
        if !up && let Some(client) = self.peer.as_mut().and_then(|peer| peer.client.as_mut()) {
            client.look(&self.name, &self.port);
        }
        changes.advertise &= up;
        changes
    }

    fn look_at_interface(&mut self, changes: &mut Changes) {
        let Some(behind) = &mut self.interface else { return };
        let seen = match Interface::by_index(behind.index) {
            // An interface with the index of one that was deleted is another one.
            Ok(seen) if !behind.gone && !self.port.is_detached() => seen,
            _ => match behind.find_again(&self.name, &self.port, &mut self.counted) {
                Some(seen) => {
                    changes.shown = true;
                    changes.advertise = true;
                    seen
                }
                None => return,
            },
        };
        if seen.name != behind.name {
            tracing::info!(port = %self.name, from = behind.name, to = seen.name, "the port's interface was renamed");
            behind.name.clone_from(&seen.name);
            self.counted.renamed += 1;
            changes.shown = true;
        }
        let mtu = u16::try_from(seen.mtu).unwrap_or(u16::MAX);
        // One of several addresses, if lcores have addresses of their own.
        let mac = MacAddr(seen.mac);
        if mtu == self.mtu && mac == self.mac {
            return;
        }
        let limits = behind.limits(&self.name, mtu, mtu != self.mtu);
        if mac != self.mac {
            tracing::info!(port = %self.name, from = %self.mac, to = %mac, "the port's MAC address has changed");
        }
        self.counted.mac += u64::from(mac != self.mac);
        self.counted.mtu += u64::from(mtu != self.mtu);
        changes.served = Some((self.mac, mac, limits));
        self.facts.max_sectors = limits.max_sectors();
        changes.shown = true;
        changes.advertise = true;
        self.mac = mac;
        self.mtu = mtu;
    }
}

impl Behind {
    /// The limits for this MTU, which is logged if it is `new`.
    fn limits(&self, port: &str, mtu: u16, new: bool) -> PortLimits {
        let served = mtu.min(self.largest_mtu);
        match PortLimits::for_mtu(served) {
            Some(limits) => {
                if new && served < mtu {
                    tracing::warn!(
                        port,
                        mtu,
                        sectors = limits.max_sectors(),
                        "the MTU of {} is {mtu} now; the port's buffers have room for {served}: restart the target to \
                         use more",
                        self.name
                    );
                } else if new {
                    tracing::info!(
                        port,
                        mtu,
                        sectors = limits.max_sectors(),
                        "the MTU of {} has changed",
                        self.name
                    );
                }
                limits
            }
            None => {
                if new {
                    tracing::error!(
                        port,
                        mtu,
                        "the MTU of {} is {mtu} now, and AoE needs at least {MTU_MIN}: disks can't be read there until it \
                         is larger",
                        self.name
                    );
                }
                SMALLEST
            }
        }
    }

    /// After the interface was deleted: makes the port again as soon as there is an interface of its name. `None` until then.
    fn find_again(&mut self, port_name: &str, port: &Port, counted: &mut PortChanges) -> Option<Interface> {
        if !self.gone {
            self.gone = true;
            counted.deleted += 1;
            let name = &self.name;
            match &self.vdev {
                Some(_) => tracing::warn!(
                    port = port_name,
                    "the port's interface {name} was deleted, or moved to another network namespace: the port is served \
                     again when there is an interface {name}"
                ),
                None => tracing::error!(
                    port = port_name,
                    "the port's interface {name} was deleted, or moved to another network namespace: this PMD can't follow, \
                     restart the target when the interface is there again"
                ),
            }
        }
        let vdev = self.vdev.as_ref()?;
        let seen =
            [&self.name, &vdev.interface].into_iter().find_map(|name| Interface::by_name(name).ok())?;
        match port.remake(&vdev.arguments(&seen.name)) {
            Ok(()) => {
                tracing::info!(
                    port = port_name,
                    interface = seen.name,
                    "the port's interface is there again"
                );
                counted.remade += 1;
                self.index = seen.index;
                self.gone = false;
                self.failure = None;
                Some(seen)
            }
            // An lcore is in a burst.
            Err(error) if error.is_temporary() => None,
            Err(error) => {
                let failure = error.to_string();
                if self.failure.as_ref() != Some(&failure) {
                    tracing::error!(
                        port = port_name,
                        "the port can't be made again on {}, which is tried again and again: {failure}",
                        seen.name
                    );
                    self.failure = Some(failure);
                }
                None
            }
        }
    }
}

/// The largest MTU for which mbufs of this data room hold whole frames.
pub(super) fn largest_mtu(data_room: u16) -> u16 {
    data_room.saturating_sub(FRAME_OVERHEAD)
}

/// The limits of a port whose MTU holds no sector: larger requests are refused, and config queries are answered.
const SMALLEST: PortLimits = match PortLimits::for_mtu(MTU_MIN) {
    Some(limits) => limits,
    None => panic!("MTU_MIN has room for one sector"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vdev_is_made_again_for_an_interface_of_another_name() {
        let vdev = Vdev::parse("qpairs=2,iface=t0,framesz=16384").expect("it has an interface");
        assert_eq!(vdev.interface, "t0");
        assert_eq!(vdev.arguments("t1"), "iface=t1,qpairs=2,framesz=16384");
        assert_eq!(Vdev::parse("iface=t0").expect("alone").arguments("t0"), "iface=t0");
        assert!(Vdev::parse("qpairs=2").is_none());
    }

    #[test]
    fn limits_follow_the_mtu_as_far_as_there_is_room() {
        let behind = |largest| Behind::new((1, "t0".into()), largest, None);
        let sectors = |largest, mtu| behind(largest).limits("p", mtu, true).max_sectors();
        assert_eq!([1500, 9000, 65535].map(|mtu| sectors(9000, mtu)), [2, 16, 16]);
        assert_eq!(sectors(largest_mtu(2048), 9000), 3);
        assert_eq!(sectors(9000, 68), 1);
    }
}
