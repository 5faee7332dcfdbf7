//! The frames that are distributed otherwise than others, by the first bytes of their headers.

/// Where AoE's header starts, behind a tag if the port left one.
#[inline]
fn aoe_offset(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 }
}

/// Whether a frame is an ATA command to one export.
#[cold]
pub(super) fn is_for_one_export(frame: &[u8]) -> bool {
    const ATA: u8 = 0;
    let at = aoe_offset(frame);
    match frame.get(at - 2..at + 6) {
        Some(&[0x88, 0xa2, _, _, high, low, slot, ATA]) => (high, low) != (0xff, 0xff) && slot != 0xff,
        _ => false,
    }
}

/// Whether a frame is a query/config to a group address that only reads or tests: then every address of the port
/// replies. A request that changes something is served once.
#[cold]
pub(super) fn asks_every_address(frame: &[u8]) -> bool {
    let Some(first) = frame.first() else { return false };
    let at = aoe_offset(frame);
    let (ethertype, header) = (frame.get(at - 2..at), frame.get(at..at + 16));
    let (Some([0x88, 0xa2]), Some(header)) = (ethertype, header) else { return false };
    let is_response = header[0] & 0x08 != 0;
    first & 1 == 1 && !is_response && header[5] == 1 && header[15] & 0x0f <= 2
}

#[cfg(test)]
mod tests;
