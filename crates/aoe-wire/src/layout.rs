//! Offsets and lengths of the parts of a frame, in bytes from the first byte of the Ethernet header.

use core::fmt;

/// EtherType of AoE.
pub const ETHERTYPE_AOE: u16 = 0x88a2;

/// Bytes before the AoE header: destination, source, EtherType. Everything else is placed relative to this.
pub const ETHERNET_LEN: usize = 14;

/// Bytes of the Ethernet and AoE headers together; the argument of the command starts here.
pub const HEADER_LEN: usize = ETHERNET_LEN + 10;

/// Bytes up to the data of an ATA message: [`HEADER_LEN`] and the 12 argument bytes. Data starts dword aligned
/// when the frame does.
pub const ATA_LEN: usize = HEADER_LEN + 12;

/// Bytes up to the config string of a query/config message.
pub const CONFIG_LEN: usize = HEADER_LEN + 8;

/// Bytes up to the directives of a MAC mask message.
pub const MASK_LEN: usize = HEADER_LEN + 4;

/// Bytes up to the addresses of a reserve/release message; also the shortest keyed one (a status request).
pub const RESERVE_LEN: usize = HEADER_LEN + 2;

/// Bytes up to the addresses of a keyed register message; the whole of a keyed set.
pub const KEYED_LEN: usize = HEADER_LEN + 12;

/// Bytes up to the keys of an answer to a keyed message.
pub const KEYED_STATUS_LEN: usize = HEADER_LEN + 20;

/// Smallest frame, without its FCS, that every initiator accepts: 60 bytes. Shorter replies are padded.
pub const MIN_FRAME: usize = 60;

/// The AoE protocol version in the high nibble of the version byte.
pub const VERSION: u8 = 1;

/// Bytes of an AoE sector, whatever the disk behind it uses.
pub const SECTOR_BYTES: usize = 512;

/// Most sectors a target offers in one ATA message. A 9000-byte MTU has room for 17, which would leave
/// initiators with frames that do not divide into 4 KiB pages.
pub const MAX_SECTORS_PER_FRAME: u8 = 16;

/// Longest config string, in bytes.
pub const MAX_CONFIG_STRING: usize = 1024;

/// Sectors of data that fit one ATA message on a link of this MTU (bytes of Ethernet payload), at most
/// [`MAX_SECTORS_PER_FRAME`]. `None` when not even one sector fits, below an MTU of 548.
///
/// The figure is floor((mtu - 36) / 512), as the Linux initiator computes it. The 36 counts the Ethernet
/// header, which is not part of the MTU, so the rule leaves 14 bytes unused; agreeing with the initiators
/// is worth more.
#[must_use]
pub const fn max_sectors_for_mtu(mtu: u16) -> Option<u8> {
    let mut sectors = MAX_SECTORS_PER_FRAME;
    // At most sixteen steps, once per port; u8 to usize widens, so nothing is cut off.
    while sectors > 0 && ATA_LEN + sectors as usize * SECTOR_BYTES > mtu as usize {
        sectors -= 1;
    }
    if sectors == 0 { None } else { Some(sectors) }
}

/// Fewer bytes than a layout needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// Bytes the layout needs.
    pub need: usize,
    /// Bytes there are.
    pub have: usize,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, at least {} are needed", self.have, self.need)
    }
}

impl core::error::Error for TooShort {}

const _: () = assert!(ATA_LEN.is_multiple_of(4), "sector data must stay dword aligned");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_limit_follows_the_mtu() {
        assert_eq!(max_sectors_for_mtu(0), None);
        assert_eq!(max_sectors_for_mtu(547), None);
        assert_eq!(max_sectors_for_mtu(548), Some(1));
        assert_eq!(max_sectors_for_mtu(1059), Some(1));
        assert_eq!(max_sectors_for_mtu(1060), Some(2));
        assert_eq!(max_sectors_for_mtu(1500), Some(2));
        assert_eq!(max_sectors_for_mtu(4200), Some(8));
        assert_eq!(max_sectors_for_mtu(8227), Some(15));
        assert_eq!(max_sectors_for_mtu(8228), Some(16));
        assert_eq!(max_sectors_for_mtu(9000), Some(16), "room for 17, capped");
        assert_eq!(max_sectors_for_mtu(u16::MAX), Some(16));
    }

    #[test]
    fn sector_limit_is_the_formula_for_every_mtu() {
        for mtu in 0..=u16::MAX {
            let formula = (i32::from(mtu) - 36).div_euclid(512).min(16);
            let expected = (formula > 0).then_some(formula);
            assert_eq!(max_sectors_for_mtu(mtu).map(i32::from), expected, "mtu {mtu}");
        }
    }
}
