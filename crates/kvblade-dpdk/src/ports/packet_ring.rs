//! The rings of an af_packet port, whose layout its `--vdev` gives.

use super::options::FRAME_OVERHEAD;

/// Bytes of a slot of a packet ring that hold no part of the received frame: the kernel's header, and its reserve for a
/// link header (`TPACKET_V2` in `tpacket_rcv`, Linux `net/packet/af_packet.c`).
const PACKET_RING_OVERHEAD: u32 = 66;

/// Bytes of a slot that the PMD does not count as room for a frame when it asks for mbufs (`eth_rx_queue_setup`,
/// DPDK `rte_eth_af_packet.c`: `TPACKET2_HDRLEN` less a `struct sockaddr_ll`).
const PMD_OVERHEAD: u32 = 32;

/// The largest slot that an mbuf can hold, in bytes; slots are multiples of 16 (`TPACKET_ALIGNMENT`).
const SLOT_MAX: u32 = {
    let largest = u16::MAX as u32 - dpdk::HEADROOM as u32 + PMD_OVERHEAD;
    largest - largest % 16
};

/// Bytes of a page, of which the blocks of a ring are a multiple (`packet_set_ring`, Linux `net/packet/af_packet.c`).
const PAGE: u32 = 4096;

/// Slots of each ring that is laid out here: DPDK's own default (`rte_eth_af_packet.c`, `DFLT_FRAME_COUNT`).
const SLOTS: u32 = 512;

/// The layout of an af_packet port's rings: the arguments `framesz`, `blocksz` and `framecnt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketRing {
    /// Bytes of a slot.
    pub(crate) frame: u32,
    /// Bytes of a block.
    pub(crate) block: u32,
    /// Slots.
    pub(crate) slots: u32,
}

impl PacketRing {
    /// The PMD's defaults (`rte_eth_af_packet.c`, `DFLT_FRAME_SIZE`; blocks of a page).
    const DEFAULT: Self = Self { frame: 2048, block: PAGE, slots: SLOTS };

    /// The ring of the port of this name, by the vdev that makes it.
    pub(super) fn of(name: &str, vdevs: &[String]) -> Self {
        arguments_of(name, vdevs).map_or(Self::DEFAULT, Self::parse)
    }

    /// The ring of a port with these arguments, as the PMD understands them: the last one of a name counts, and what
    /// follows the digits does not.
    fn parse(arguments: &str) -> Self {
        let number = |key: &str, default| {
            let value = arguments.split(',').rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            let digits = |value: &str| {
                let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
                value[..end].parse().ok()
            };
            value.and_then(digits).unwrap_or(default)
        };
        Self {
            frame: number("framesz", Self::DEFAULT.frame),
            block: number("blocksz", Self::DEFAULT.block),
            slots: number("framecnt", Self::DEFAULT.slots),
        }
    }

    /// The smallest ring for frames of this MTU: slots of a multiple of 1024 bytes, or of 256 near the maximum, in whole
    /// blocks. `None` if an mbuf can't hold such a slot.
    pub(crate) fn for_mtu(mtu: u32) -> Option<Self> {
        let needed = needed(mtu)?;
        let frame =
            [1024, 256].into_iter().map(|step| needed.next_multiple_of(step).max(Self::DEFAULT.frame));
        let frame = frame.into_iter().find(|frame| *frame <= SLOT_MAX)?;
        Some(Self { frame, block: block_for(frame), slots: SLOTS })
    }

    /// The data room that the PMD asks of mbufs, in bytes. `None` if no mbuf has as much.
    pub(super) fn data_room(self) -> Option<u16> {
        u16::try_from(self.frame.saturating_sub(PMD_OVERHEAD))
            .ok()
            .filter(|room| *room <= u16::MAX - dpdk::HEADROOM)
    }

    /// The largest MTU whose frames fit a slot.
    pub(super) fn largest_mtu(self) -> u32 {
        self.frame.saturating_sub(PACKET_RING_OVERHEAD + u32::from(FRAME_OVERHEAD))
    }

    /// The arguments of a vdev.
    pub(crate) fn arguments(self) -> String {
        format!("framesz={},blocksz={},framecnt={}", self.frame, self.block, self.slots)
    }
}

/// The arguments of the vdev that makes the port of this name.
pub(super) fn arguments_of<'a>(name: &str, vdevs: &'a [String]) -> Option<&'a str> {
    vdevs.iter().find_map(|vdev| {
        let (vdev_name, arguments) = vdev.split_once(',')?;
        (vdev_name == name).then_some(arguments)
    })
}

/// Bytes of a slot that a frame of this MTU needs.
fn needed(mtu: u32) -> Option<u32> {
    mtu.checked_add(u32::from(FRAME_OVERHEAD) + PACKET_RING_OVERHEAD)
}

/// The smallest block of whole pages that slots of this size fill completely, as the PMD assumes: the least common
/// multiple.
fn block_for(frame: u32) -> u32 {
    let frames = (1..=PAGE).find(|frames| (frames * frame).is_multiple_of(PAGE)).unwrap_or(PAGE);
    frames * frame
}

/// Refuses an af_packet port whose ring can't take the largest frames of its interface, or whose slots fit no mbuf. The kernel
/// would truncate the frames, and an initiator would wait for its reply for many seconds, again and again.
pub(super) fn check_packet_ring(
    name: &str,
    ring: PacketRing,
    mtu: u32,
    interface: &str,
) -> Result<(), String> {
    let remedy = match PacketRing::for_mtu(mtu) {
        Some(fitting) => format!(
            "give its --vdev {} in place of {}, or set a smaller MTU",
            fitting.arguments(),
            ring.arguments()
        ),
        None => format!(
            "no ring takes frames of the MTU of {interface}, which is {mtu}: set one of at most {} with 'ip link set \
             {interface} mtu 9000'",
            PacketRing { frame: SLOT_MAX, ..ring }.largest_mtu()
        ),
    };
    if ring.data_room().is_none() {
        return Err(format!(
            "port {name} has slots of {} bytes (framesz), and an mbuf holds at most {SLOT_MAX}: {remedy}",
            ring.frame
        ));
    }
    if mtu <= ring.largest_mtu() {
        return Ok(());
    }
    Err(format!(
        "port {name} has room for frames of {} bytes (framesz), and the MTU of {mtu} of {interface} needs {}: {remedy}",
        ring.frame,
        needed(mtu).unwrap_or(u32::MAX)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vdevs() -> [String; 4] {
        [
            "net_af_packet0,iface=a,framesz=16384".to_owned(),
            "net_af_packet1,iface=b,blocksz=8192".to_owned(),
            "net_af_packet2,iface=c,framesz=4096,qpairs=1,framecnt=64,framesz=65536".to_owned(),
            "net_af_packet3,iface=d,framesz=4096k,framecnt=x".to_owned(),
        ]
    }

    #[test]
    fn the_ring_of_a_packet_port_is_read_from_its_own_vdev_as_the_pmd_reads_it() {
        let ring = |name| PacketRing::of(name, &vdevs());
        assert_eq!(ring("net_af_packet0"), PacketRing { frame: 16384, block: 4096, slots: 512 });
        assert_eq!(ring("net_af_packet1"), PacketRing { frame: 2048, block: 8192, slots: 512 });
        assert_eq!(ring("net_af_packet2"), PacketRing { frame: 65536, block: 4096, slots: 64 });
        assert_eq!(ring("net_af_packet3"), PacketRing { frame: 4096, block: 4096, slots: 512 });
        assert_eq!(ring("net_af_packet4"), PacketRing::DEFAULT);
    }

    #[test]
    fn a_ring_for_an_mtu_takes_its_frames_and_the_pmd_can_lay_it_out() {
        for mtu in [68, 576, 1500, 1900, 2000, 4000, 4096, 8192, 9000, 9216, 16_000, 50_000, 64_420, 65_188] {
            let ring = PacketRing::for_mtu(mtu).expect("there is one");
            let PacketRing { frame, block, slots } = ring;
            assert!(ring.largest_mtu() >= mtu && block <= 1 << 20, "{mtu}: {ring:?}");
            assert!(ring.data_room().is_some(), "{mtu}: {ring:?}");
            assert!(frame.is_multiple_of(16) && block.is_multiple_of(4096), "{mtu}: {ring:?}");
            assert!(block.is_multiple_of(frame) && slots.is_multiple_of(block / frame), "{mtu}: {ring:?}");
            assert_eq!(check_packet_ring("net_af_packet0", ring, mtu, "a"), Ok(()), "{mtu}");
            assert_eq!(PacketRing::parse(&ring.arguments()), ring);
        }
        for mtu in [65_536, u32::MAX] {
            assert_eq!(PacketRing::for_mtu(mtu), None);
        }
    }

    #[test]
    fn the_largest_slot_is_the_largest_that_an_mbuf_holds() {
        assert!(SLOT_MAX.is_multiple_of(16), "{SLOT_MAX}");
        let room = |frame| PacketRing { frame, ..PacketRing::DEFAULT }.data_room();
        assert!(room(SLOT_MAX).is_some() && room(SLOT_MAX + 16).is_none(), "{SLOT_MAX}");
        assert_eq!(room(16384), Some(16352));
    }

    #[test]
    fn a_ring_that_is_refused_is_answered_with_one_that_fits_or_an_mtu_that_fits() {
        let refused = |arguments: &str, mtu, interface: &str| {
            check_packet_ring("net_af_packet1", PacketRing::parse(arguments), mtu, interface)
                .expect_err("refused")
        };
        for (arguments, mtu, interface, parts) in [
            (
                "",
                9000,
                "b",
                &[
                    "2048",
                    "9000 of b",
                    "9092",
                    "framesz=9216,blocksz=36864,framecnt=512 in place of framesz=2048",
                ][..],
            ),
            ("framesz=65536,blocksz=65536", 1500, "b", &["slots of 65536", "at most 65424", "framesz=2048"]),
            (
                "framesz=16384,blocksz=65536,framecnt=512",
                65536,
                "lo",
                &["16384 bytes", "65536 of lo needs 65628", "no ring", "ip link set lo mtu 9000"],
            ),
        ] {
            let sentence = refused(arguments, mtu, interface);
            for part in parts {
                assert!(sentence.contains(part), "{sentence}: {part}");
            }
        }
        // The advice is not what was given.
        assert!(!refused("framesz=16384,blocksz=65536", 65536, "lo").contains("give its --vdev"));
    }
}
