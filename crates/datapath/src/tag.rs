//! VLAN tags of received frames, among their bytes or beside them.

use aoe_target::{DropReason, VlanId};
use dpdk::Mbuf;

/// EtherTypes of VLAN tags: a customer's (IEEE 802.1Q) and a provider's (802.1ad).
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// Takes the tag out of a frame that does not carry AoE directly behind its addresses: behind a tag it may. The tag is moved
/// beside the frame, from where it returns into the reply.
///
/// # Errors
/// The drop reason of a frame that carries no AoE behind one tag, always so if its tag was taken before.
#[cold]
#[inline(never)]
pub(crate) fn take(frame: &mut Mbuf) -> Result<(), DropReason> {
    match frame.data().get(12..14) {
        Some(tag) if tag == TAGS[0] && !frame.is_tag_taken() => {}
        // A second tag, or a provider's, which leads to a customer's tag or to a bridge.
        Some(tag) if TAGS.iter().any(|known| tag == known) => return Err(DropReason::DoubleTagged),
        _ => return Err(DropReason::NotAoe),
    }
    if !frame.take_tag() {
        return Err(DropReason::Runt);
    }
    if frame.data().get(12..14).is_some_and(|next| TAGS.iter().any(|known| next == known)) {
        return Err(DropReason::DoubleTagged);
    }
    Ok(())
}

/// The VLAN of a frame whose tag was taken out; `None` for a tag with a priority only.
#[cold]
#[inline(never)]
pub(crate) fn vlan_of(frame: &Mbuf) -> Result<Option<VlanId>, DropReason> {
    if frame.are_two_tags_taken() {
        return Err(DropReason::DoubleTagged);
    }
    match frame.vlan() {
        0 => Ok(None),
        // 4095 is reserved, so no export has it.
        number => VlanId::new(number).map(Some).ok_or(DropReason::UnknownShelfSlot),
    }
}
