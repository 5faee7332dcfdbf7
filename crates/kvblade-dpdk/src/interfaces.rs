//! `--interface NAME`: the af_packet port for a Linux interface, laid out for its MTU.

use control::error::Quoted;

use crate::eal_options::EalOptions;
use crate::launch_error::LaunchError;
use crate::ports::packet_ring::PacketRing;

/// Longest name of a Linux interface, in bytes (`IFNAMSIZ`, `linux/if.h`, less the terminating zero).
const NAME_MAX: usize = 15;

/// The MTU that each port has room for at least, in bytes, so that an interface's MTU can be raised while it is served.
const JUMBO: u32 = 9000;

/// Most queue pairs of an af_packet port (`RTE_PMD_AF_PACKET_MAX_RINGS`).
const QUEUE_PAIRS_MAX: usize = 16;

/// Checks that a word can be the name of an interface to serve on.
///
/// # Errors
/// The fault, and the remedy.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    const WANTED: &str = "give the name of a network interface, as 'ip link' shows it";
    if name.is_empty() {
        return Err(format!("the name is empty: {WANTED}"));
    }
    if name.len() > NAME_MAX {
        return Err(format!(
            "{} is too long: the name of an interface has at most {NAME_MAX} bytes, {} are given",
            Quoted(name),
            name.len()
        ));
    }
    if name == "lo" {
        return Err("'lo' is the loopback interface, on which no initiator is: give another one".into());
    }
    // Characters at which EAL splits a --vdev, and characters that Linux does not allow in a name.
    let stray = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii() || ",/:[]()\"'".contains(c);
    match name.chars().find(|c| stray(*c)) {
        Some(stray) => Err(format!("{} can't be used, because of {stray:?}: {WANTED}", Quoted(name))),
        None => Ok(()),
    }
}

/// Checks every `--interface`, by itself and beside the others and `--vdev`.
///
/// # Errors
/// A usage error naming it.
pub(crate) fn check(interfaces: &[String], eal: &EalOptions) -> Result<(), LaunchError> {
    for (index, name) in interfaces.iter().enumerate() {
        let refused = |what: String| LaunchError::usage(format!("--interface {}: {what}", Quoted(name)));
        check_name(name).map_err(refused)?;
        if interfaces.iter().take(index).any(|earlier| earlier == name) {
            return Err(refused("it is given twice: give each interface once".into()));
        }
        let takes =
            |vdev: &&str| vdev.split(',').skip(1).any(|word| word.strip_prefix("iface=") == Some(name));
        if let Some(vdev) = eal.vdevs().find(takes) {
            return Err(refused(format!("--vdev={vdev} takes it already: leave out one of the two")));
        }
    }
    Ok(())
}

/// The port of an interface, in the form that EAL takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PacketPort {
    /// The value of a `--vdev`.
    pub(crate) vdev: String,
    /// Slot size of its rings and data room of its mbufs, in bytes.
    pub(crate) frame: u32,
}

/// The port of an interface with this MTU, for `lcores` lcores.
///
/// # Errors
/// One sentence, if no ring can take its frames.
pub(crate) fn packet_port(interface: &str, mtu: u32, lcores: usize) -> Result<PacketPort, LaunchError> {
    let ring = PacketRing::for_mtu(mtu.max(JUMBO)).ok_or_else(|| {
        LaunchError::environment(format!(
            "--interface {}: its MTU is {mtu}, and frames of that size fit no packet ring: 'ip link set {interface} mtu \
             9000' sets one that does",
            Quoted(interface)
        ))
    })?;
    let queue_pairs = lcores.clamp(1, QUEUE_PAIRS_MAX);
    let vdev = format!(
        "net_af_packet_{interface},iface={interface},qpairs={queue_pairs},{},qdisc_bypass=1",
        ring.arguments()
    );
    Ok(PacketPort { vdev, frame: ring.frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eal(line: &str) -> EalOptions {
        EalOptions::parse(&line.split_whitespace().map(Into::into).collect::<Vec<_>>(), dpdk::eal::release())
            .expect("right")
    }

    #[test]
    fn names_are_those_that_linux_and_eal_both_take() {
        for name in ["eth1", "enp3s0f0", "br-lan", "eth1.100", "veth@x", "fifteen-bytes-x"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, part) in [
            ("", "empty"),
            ("lo", "loopback"),
            ("sixteen-bytes-xx", "at most 15 bytes, 16"),
            ("eth 1", "' '"),
            ("eth,1", "','"),
            ("../eth", "'/'"),
            ("eth1:0", "':'"),
            ("ethä", "'ä'"),
        ] {
            let refused = check_name(name).expect_err(name);
            assert!(refused.contains(part), "{name}: {refused}");
        }
    }

    #[test]
    fn an_interface_is_used_once() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(check(&names(&["eth1", "eth2"]), &eal("--vdev=net_af_packet0,iface=eth3")), Ok(()));
        for (given, line, parts) in [
            (&["eth1", "eth2", "eth1"][..], "", &["'eth1'", "twice"][..]),
            (&["eth1"], "--vdev=net_af_packet0,qpairs=1,iface=eth1", &["'eth1'", "--vdev=net_af_packet0"]),
            (&["eth1", "lo"], "", &["--interface 'lo'"]),
        ] {
            let error = check(&names(given), &eal(line)).expect_err("refused");
            assert_eq!(error.exit_code(), 2);
            for part in parts {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn rings_take_the_largest_frame_of_each_mtu_and_the_pmd_can_lay_them_out() {
        for mtu in [
            68, 576, 1500, 1900, 2000, 4000, 4096, 8192, 9000, 9216, 16_000, 30_000, 50_000, 64_420, 65_000,
            65_188,
        ] {
            let port = packet_port("eth1", mtu, 1).expect("there is one");
            let number = |key: &str| -> u32 {
                let value = port.vdev.split(',').find_map(|word| word.strip_prefix(key)).expect(key);
                value.parse().expect("a number")
            };
            let (frame, block, count) = (number("framesz="), number("blocksz="), number("framecnt="));
            assert_eq!(frame, port.frame);
            assert!(frame >= mtu + 26 + 66 && block <= 1 << 20, "{mtu}: {port:?}");
            assert!(u16::try_from(frame).is_ok(), "an mbuf's room: {port:?}");
            assert!(
                frame.is_multiple_of(16) && block.is_multiple_of(4096) && block.is_multiple_of(frame),
                "{port:?}"
            );
            assert!(count.is_multiple_of(block / frame), "{port:?}");
        }
        let port = packet_port("eth1", 1500, 1).expect("there is one");
        assert_eq!(
            port.vdev,
            "net_af_packet_eth1,iface=eth1,qpairs=1,framesz=9216,blocksz=36864,framecnt=512,qdisc_bypass=1"
        );
        assert!(packet_port("eth1", 9000, 4).expect("there is one").vdev.contains(",qpairs=4,framesz=9216,"));
        let error = packet_port("eth1", 65_535, 1).expect_err("too large for an mbuf");
        assert!(error.to_string().contains("--interface 'eth1': its MTU is 65535"), "{error}");
        assert!(packet_port("eth1", 9000, 40).expect("there is one").vdev.contains(",qpairs=16,"));
    }
}
