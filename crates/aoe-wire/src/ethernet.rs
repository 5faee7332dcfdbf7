//! The outermost step: the Ethernet header that carries AoE.

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{ETHERNET_LEN, ETHERTYPE_AOE, TooShort};

/// A 48-bit Ethernet address, in the order of the wire.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every receiver on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for group addresses, the broadcast address among them. No frame may come from one.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address as a number, for comparisons: no register has six bytes.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// True for ff:ff:ff:ff:ff:ff.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 14 bytes of an untagged Ethernet II header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Receiver, at offset 0.
    pub destination: MacAddr,
    /// Sender, at offset 6.
    pub source: MacAddr,
    ethertype: U16,
}

const _: () = assert!(size_of::<EthernetHeader>() == ETHERNET_LEN);

impl EthernetHeader {
    /// A header that carries AoE.
    #[inline]
    #[must_use]
    pub const fn aoe(destination: MacAddr, source: MacAddr) -> Self {
        Self { destination, source, ethertype: U16::new(ETHERTYPE_AOE) }
    }

    /// Lays the view over the start of `frame`; the second half is what follows it.
    ///
    /// # Errors
    /// [`TooShort`] when `frame` has fewer than [`ETHERNET_LEN`] bytes.
    #[inline]
    pub fn view(frame: &[u8]) -> Result<(&Self, &[u8]), TooShort> {
        Self::ref_from_prefix(frame).map_err(|_| TooShort { need: ETHERNET_LEN, have: frame.len() })
    }

    /// The EtherType, at offset 12.
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        self.ethertype.get()
    }

    /// Sets the EtherType.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        self.ethertype.set(ethertype);
    }

    /// Sends the frame back where it came from: the source becomes the destination, `own` the source.
    #[inline]
    pub fn turn_back(&mut self, own: MacAddr) {
        self.destination = self.source;
        self.source = own;
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const BYTES: [u8; 14] = [0x02, 0, 0, 0, 0, 0x01, 0x52, 0x54, 0x00, 0xab, 0xcd, 0xef, 0x88, 0xa2];

    #[test]
    fn deconstruct() {
        let (header, rest) = EthernetHeader::view(&BYTES).unwrap();
        assert!(rest.is_empty());
        assert_eq!(header.destination, MacAddr([0x02, 0, 0, 0, 0, 0x01]));
        assert_eq!(header.source, MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]));
        assert_eq!(header.ethertype(), 0x88a2);
        assert_eq!(EthernetHeader::view(&BYTES[..13]), Err(TooShort { need: 14, have: 13 }));
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; 14];
        let header = EthernetHeader::mut_from_bytes(&mut bytes).unwrap();
        header.destination = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
        header.source = MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]);
        header.set_ethertype(0x88a2);
        assert_eq!(bytes, BYTES);
        let made = EthernetHeader::aoe(
            MacAddr([0x02, 0, 0, 0, 0, 0x01]),
            MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]),
        );
        assert_eq!(made.as_bytes(), BYTES);
    }

    #[test]
    fn turn_back_answers_from_own_address() {
        let mut bytes = BYTES;
        EthernetHeader::mut_from_bytes(&mut bytes).unwrap().turn_back(MacAddr([2, 2, 2, 2, 2, 2]));
        assert_eq!(bytes, [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef, 2, 2, 2, 2, 2, 2, 0x88, 0xa2]);
    }

    #[test]
    fn mac_kinds() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr([0x01, 0x00, 0x5e, 0, 0, 1]).is_multicast());
        assert!(!MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]).is_multicast());
        assert_eq!(MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0x0f]).to_string(), "52:54:00:ab:cd:0f");
    }
}
