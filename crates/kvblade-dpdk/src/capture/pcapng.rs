//! Blocks of a pcapng file, as far as a capture has them (draft-ietf-opsawg-pcapng): one section, an interface for each port, frames with
//! their direction, and at the end how many frames are missing.

/// Block types.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const FRAME: u32 = 6;
const STATISTICS: u32 = 5;

/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// Bytes of a block around its body: its type, and its length twice.
const FRAMING: usize = 12;

/// Bytes of a frame's block beside the frame: interface, time, lengths, and the option with its direction.
const FRAME_FIELDS: usize = 20 + 12;

/// Bytes of [`statistics`].
pub(super) const STATISTICS_LENGTH: usize = FRAMING + 12 + 12 + 12 + 4;

/// Options: a code, and a value.
type Options<'a> = &'a [(u16, &'a [u8])];

/// Adds a block with this body and these options, which are of every block the last part.
fn block(out: &mut Vec<u8>, kind: u32, body: &[&[u8]], options: Options<'_>) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body.iter().for_each(|part| out.extend(*part));
    pad(out, start);
    for (code, value) in options {
        // Ours are names and numbers.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        out.extend(code.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(&value[..usize::from(length)]);
        pad(out, start);
    }
    if !options.is_empty() {
        // opt_endofopt
        out.extend([0; 4]);
    }
    // No frame comes near 4 GiB.
    let length = u32::try_from(out.len() + 4 - start).unwrap_or(u32::MAX).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

/// To a multiple of 4 bytes behind `start`.
fn pad(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start).next_multiple_of(4);
    out.resize(start + length, 0);
}

/// The beginning of the file, written by `program`.
pub(super) fn section(out: &mut Vec<u8>, program: &str) {
    let version = [&1u16.to_le_bytes()[..], &0u16.to_le_bytes()].concat();
    // A length of -1: it is not known.
    block(
        out,
        SECTION,
        &[&0x1a2b_3c4d_u32.to_le_bytes(), &version, &u64::MAX.to_le_bytes()],
        &[(4, program.as_bytes())],
    );
}

/// An interface: a port's name and address. Times are in nanoseconds.
pub(super) fn interface(out: &mut Vec<u8>, name: &str, mac: [u8; 6], snap_length: u32) {
    let link = [&ETHERNET.to_le_bytes()[..], &[0; 2]].concat();
    let options: Options<'_> = &[(2, name.as_bytes()), (6, &mac), (9, &[9])];
    block(out, INTERFACE, &[&link, &snap_length.to_le_bytes()], options);
}

/// A frame on the interface of that index, of whose `length` bytes these are the first.
pub(super) fn frame(
    out: &mut Vec<u8>,
    interface: u32,
    nanoseconds: u64,
    sent: bool,
    length: u32,
    bytes: &[&[u8]],
) {
    let captured: usize = bytes.iter().map(|part| part.len()).sum();
    let captured = u32::try_from(captured).unwrap_or(u32::MAX).to_le_bytes();
    let [interface, length] = [interface, length].map(u32::to_le_bytes);
    let [high, low] = halves(nanoseconds);
    let direction = if sent { 2u32 } else { 1 }.to_le_bytes();
    let mut body: Vec<&[u8]> = vec![&interface, &high, &low, &captured, &length];
    body.extend(bytes);
    block(out, FRAME, &body, &[(2, &direction)]);
}

/// Bytes of a [`frame`] of which so many are captured.
pub(super) fn frame_length(captured: usize) -> usize {
    FRAMING + FRAME_FIELDS + captured.next_multiple_of(4)
}

/// Frames that were wanted on an interface, and those of them that are missing.
pub(super) fn statistics(out: &mut Vec<u8>, interface: u32, nanoseconds: u64, received: u64, dropped: u64) {
    let [high, low] = halves(nanoseconds);
    let options: Options<'_> = &[(4, &received.to_le_bytes()), (5, &dropped.to_le_bytes())];
    block(out, STATISTICS, &[&interface.to_le_bytes(), &high, &low], options);
}

/// The upper and the lower 32 bits.
fn halves(number: u64) -> [[u8; 4]; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [[e, f, g, h], [a, b, c, d]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a file, each as its type and its body.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut blocks = Vec::new();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        while !file.is_empty() {
            let length = usize::try_from(number(&file[4..8])).unwrap();
            assert!(length.is_multiple_of(4) && length <= file.len(), "{length} of {}", file.len());
            assert_eq!(number(&file[length - 4..length]), number(&file[4..8]), "the length stands twice");
            blocks.push((number(&file[..4]), &file[8..length - 4]));
            file = &file[length..];
        }
        blocks
    }

    #[test]
    fn a_file_is_made_of_whole_blocks() {
        let mut file = Vec::new();
        section(&mut file, "kvblade-dpdk 1.2.3");
        interface(&mut file, "eth1", [2, 0, 0, 0, 0, 1], 65_535);
        for length in 0..9usize {
            let before = file.len();
            let (bytes, nanoseconds) = (vec![0xa5; length], 0x0001_0203_0405_0607);
            frame(
                &mut file,
                0,
                nanoseconds,
                length % 2 == 0,
                9000,
                &[&bytes[..length / 2], &bytes[length / 2..]],
            );
            assert_eq!(file.len() - before, frame_length(length), "{length}");
        }
        let before = file.len();
        statistics(&mut file, 0, 1, 12, 3);
        assert_eq!(file.len() - before, STATISTICS_LENGTH);
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [&[SECTION, INTERFACE][..], &[FRAME; 9], &[STATISTICS]].concat());
        assert_eq!(blocks[0].1[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        let (_, body) = blocks[2 + 5];
        assert_eq!(body[4..12], [3, 2, 1, 0, 7, 6, 5, 4], "the upper half of the time first");
        assert_eq!(body[12..20], [5, 0, 0, 0, 40, 35, 0, 0], "captured, and its length");
        assert_eq!(body[20..28], [0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0, 0, 0], "filled up");
        assert_eq!(body[28..], [2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0], "inbound, and the end of options");
    }
}
