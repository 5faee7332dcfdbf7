//! Which frames a capture wants, by their first bytes.

use aoe_target::{MacAddr, Shelf, ShelfSlot, Slot, VlanId};
use dpdk::Mbuf;

/// EtherTypes: AoE, and a customer's VLAN tag.
const AOE: [u8; 2] = [0x88, 0xa2];
const TAG: [u8; 2] = [0x81, 0x00];

/// Bits of a tag that are the VLAN's number.
const VLAN_BITS: u16 = 0x0fff;

/// The frames that are wanted: those that are all of this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    /// AoE to or from the export of this address and VLAN. A request to several exports is to none of them.
    pub export: Option<(ShelfSlot, Option<VlanId>)>,
    /// From this initiator, or to it.
    pub initiator: Option<MacAddr>,
}

impl CaptureFilter {
    pub(super) fn matches(&self, sent: bool, frame: &Mbuf) -> bool {
        self.matches_bytes(sent, frame.data(), frame.taken_tag())
    }

    /// `beside`: the tag that was taken out of the bytes.
    fn matches_bytes(&self, sent: bool, bytes: &[u8], beside: Option<u16>) -> bool {
        if let Some(MacAddr(initiator)) = self.initiator {
            let address = if sent { bytes.get(..6) } else { bytes.get(6..12) };
            if address != Some(initiator.as_slice()) {
                return false;
            }
        }
        self.export.is_none_or(|(address, vlan)| of_export(bytes, beside) == Some((address, vlan)))
    }
}

/// The address in an AoE frame, and its VLAN.
fn of_export(bytes: &[u8], beside: Option<u16>) -> Option<(ShelfSlot, Option<VlanId>)> {
    let (tag, bytes) = match bytes.get(12..)?.split_first_chunk::<4>()? {
        ([a, b, c, d], rest) if [*a, *b] == TAG && beside.is_none() => {
            (Some(u16::from_be_bytes([*c, *d])), rest)
        }
        _ => (beside, bytes.get(12..)?),
    };
    // EtherType, version and flags, error, shelf, slot.
    let &[a, b, _, _, high, low, slot, ..] = bytes.first_chunk::<7>()?;
    // Tag 0 has a priority only.
    let vlan = tag.and_then(|tag| VlanId::new(tag & VLAN_BITS));
    ([a, b] == AOE).then(|| (ShelfSlot::new(Shelf(u16::from_be_bytes([high, low])), Slot(slot)), vlan))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const FAR: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(to: [u8; 6], from: [u8; 6], tag: &[u8], shelf: u16, slot: u8) -> Vec<u8> {
        let [high, low] = shelf.to_be_bytes();
        [&to[..], &from, tag, &[0x88, 0xa2, 0x10, 0, high, low, slot, 0, 0, 0, 0, 7]].concat()
    }

    #[test]
    fn an_export_is_its_address_in_its_vlan_both_ways() {
        let address = ShelfSlot::new(Shelf(1), Slot(3));
        let of = |vlan| CaptureFilter { export: Some((address, vlan)), initiator: None };
        let (plain, tagged) = (of(None), of(VlanId::new(5)));
        let untagged = frame(NEAR, FAR, &[], 1, 3);
        for sent in [false, true] {
            assert!(plain.matches_bytes(sent, &untagged, None));
            assert!(!tagged.matches_bytes(sent, &untagged, None));
            assert!(
                tagged.matches_bytes(sent, &untagged, Some(0x2005)),
                "a tag beside the bytes, with a priority"
            );
            assert!(plain.matches_bytes(sent, &untagged, Some(0x2000)), "a priority only");
            let inside = frame(NEAR, FAR, &[0x81, 0, 0x20, 5], 1, 3);
            assert!(tagged.matches_bytes(sent, &inside, None));
            assert!(!plain.matches_bytes(sent, &inside, None));
            for (shelf, slot) in [(1, 4), (2, 3), (0xffff, 0xff)] {
                assert!(!plain.matches_bytes(sent, &frame(NEAR, FAR, &[], shelf, slot), None));
            }
        }
        let mut other = untagged.clone();
        other[13] = 0xa3;
        assert!(!plain.matches_bytes(false, &other, None));
        for length in 0..19 {
            assert!(!plain.matches_bytes(false, &untagged[..length], None), "{length} bytes");
        }
    }

    #[test]
    fn an_initiator_sends_what_is_received_and_gets_what_is_sent() {
        let filter = CaptureFilter { export: None, initiator: Some(MacAddr(FAR)) };
        let (to, from) = (frame(FAR, NEAR, &[], 1, 1), frame(NEAR, FAR, &[], 1, 1));
        assert!(filter.matches_bytes(false, &from, None) && !filter.matches_bytes(false, &to, None));
        assert!(filter.matches_bytes(true, &to, None) && !filter.matches_bytes(true, &from, None));
        assert!(!filter.matches_bytes(false, &from[..11], None));
        assert!(
            CaptureFilter::default().matches_bytes(true, &[], None),
            "a port's frames, whatever they are"
        );
    }
}
