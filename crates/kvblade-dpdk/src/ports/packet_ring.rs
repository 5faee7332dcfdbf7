//! The ring of an af_packet port, whose layout its `--vdev` gives.

use super::options::FRAME_OVERHEAD;

/// Bytes of a slot of a packet ring that hold no part of the received frame: the kernel's header, and its reserve for a
/// link header (`TPACKET_V2` in `tpacket_rcv`, Linux `net/packet/af_packet.c`).
const PACKET_RING_OVERHEAD: u32 = 66;

/// `framesz` of the af_packet PMD when it is not given (DPDK `rte_eth_af_packet.c`, `DFLT_FRAME_SIZE`).
const PACKET_RING_FRAME: u16 = 2048;

/// The slot size for frames of this MTU, in bytes: the smallest multiple of 1024, or of 256 near the maximum, so that few
/// slots fill whole pages. `None` if an mbuf can't hold such a slot.
pub(crate) fn frame_for(mtu: u32) -> Option<u32> {
    let needed = mtu.checked_add(u32::from(FRAME_OVERHEAD) + PACKET_RING_OVERHEAD)?;
    let frame = [1024, 256].into_iter().map(|step| needed.next_multiple_of(step));
    frame.map(|frame| frame.max(PACKET_RING_FRAME.into())).find(|frame| u16::try_from(*frame).is_ok())
}

/// The slot size of an af_packet port's rings, in bytes, which is also the data room that its PMD asks for.
pub(super) fn packet_ring_frame(info: &dpdk::PortInfo, vdevs: &[String]) -> Option<u16> {
    if info.driver != "net_af_packet" {
        return None;
    }
    let arguments = vdevs.iter().find_map(|vdev| {
        let (name, arguments) = vdev.split_once(',')?;
        (name == info.name).then_some(arguments)
    });
    let given = arguments.and_then(|arguments| {
        arguments.split(',').find_map(|argument| argument.strip_prefix("framesz=")?.parse().ok())
    });
    Some(given.unwrap_or(PACKET_RING_FRAME))
}

/// Refuses an af_packet port whose ring can't take the largest frames of its interface. The kernel would truncate them, and
/// an initiator would wait for its reply for many seconds, again and again.
pub(super) fn check_packet_ring(name: &str, frame: u16, mtu: u16, interface: &str) -> Result<(), String> {
    let needed = u32::from(mtu) + u32::from(FRAME_OVERHEAD) + PACKET_RING_OVERHEAD;
    if u32::from(frame) >= needed {
        return Ok(());
    }
    Err(format!(
        "port {name} has room for frames of {frame} bytes (framesz), and the MTU of {mtu} of {interface} needs {needed}: \
         add framesz=16384,blocksz=65536,framecnt=512 to its --vdev, or set a smaller MTU"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, driver: &str) -> dpdk::PortInfo {
        dpdk::PortInfo {
            number: 0,
            name: name.into(),
            driver: driver.into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            max_mtu: 1500,
            max_queues: 1,
            numa_node: None,
            interface_index: Some(1),
        }
    }

    #[test]
    fn the_ring_of_a_packet_port_is_read_from_its_own_vdev() {
        let packet = port("net_af_packet1", "net_af_packet");
        let vdevs = [
            "net_af_packet0,iface=a,framesz=16384".to_owned(),
            "net_af_packet1,iface=b,blocksz=4096".to_owned(),
            "net_af_packet2,iface=c,framesz=4096,qpairs=1".to_owned(),
        ];
        assert_eq!(packet_ring_frame(&packet, &vdevs), Some(2048), "DPDK's default");
        assert_eq!(packet_ring_frame(&port("net_af_packet2", "net_af_packet"), &vdevs), Some(4096));
        assert_eq!(packet_ring_frame(&port("net_tap0", "net_tap"), &vdevs), None);
    }

    #[test]
    fn a_packet_ring_too_small_for_the_mtu_is_refused() {
        assert_eq!(check_packet_ring("net_af_packet1", 2048, 1500, "b"), Ok(()));
        assert_eq!(check_packet_ring("net_af_packet1", 16384, 9000, "b"), Ok(()));
        let refused =
            check_packet_ring("net_af_packet1", 2048, 9000, "b").expect_err("2048 bytes are too few");
        for part in ["net_af_packet1", "2048", "9000 of b", "9092", "framesz=16384"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
