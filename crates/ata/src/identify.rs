//! The page in which a disk says what it is: IDENTIFY DEVICE, 256 little-endian words.

use core::fmt;

/// Bytes of the page.
pub const IDENTIFY_BYTES: usize = 512;

/// Sectors a 28-bit address can count: words 60 and 61 stop here.
const LBA28_SECTORS: u64 = 0x0fff_ffff;

/// Sectors a 48-bit address can count: words 100 to 103 stop here.
const LBA48_SECTORS: u64 = 0xffff_ffff_ffff;

/// The names a disk goes by, in the page's own form: printable ASCII, padded with spaces on the right.
///
/// Plan 9 takes a disk whose serial and size both changed for another disk, and Linux shows all three, so they
/// should outlive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    serial: [u8; 20],
    model: [u8; 40],
    firmware: [u8; 8],
}

/// The reason for which a text cannot be a name in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// More characters than the field has: name of the field, its length, length of the text.
    TooLong(&'static str, usize, usize),
    /// A byte outside printable ASCII: name of the field, the byte, its position.
    NotPrintable(&'static str, u8, usize),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong(field, limit, length) => {
                write!(f, "{field} of {length} characters: at most {limit} are allowed")
            }
            Self::NotPrintable(field, byte, position) => {
                write!(f, "{field} with byte {byte:#04x} at position {position}: ")?;
                f.write_str("only printable ASCII (0x20 to 0x7e) is allowed")
            }
        }
    }
}

impl core::error::Error for IdentityError {}

impl Identity {
    /// Longest serial number, in characters.
    pub const SERIAL_MAX: usize = 20;
    /// Longest model name, in characters.
    pub const MODEL_MAX: usize = 40;
    /// Longest firmware revision, in characters.
    pub const FIRMWARE_MAX: usize = 8;

    /// Pads the three names to their fields.
    ///
    /// # Errors
    /// [`IdentityError`] for a name that is too long or not printable ASCII.
    pub fn new(serial: &str, model: &str, firmware: &str) -> Result<Self, IdentityError> {
        Ok(Self {
            serial: pad("serial", serial)?,
            model: pad("model", model)?,
            firmware: pad("firmware", firmware)?,
        })
    }

    /// The serial number without its padding.
    #[must_use]
    pub fn serial(&self) -> &str {
        unpadded(&self.serial)
    }

    /// The model name without its padding.
    #[must_use]
    pub fn model(&self) -> &str {
        unpadded(&self.model)
    }

    /// The firmware revision without its padding.
    #[must_use]
    pub fn firmware(&self) -> &str {
        unpadded(&self.firmware)
    }
}

fn pad<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], IdentityError> {
    if let Some(position) = text.bytes().position(|byte| !matches!(byte, 0x20..=0x7e)) {
        return Err(IdentityError::NotPrintable(field, text.as_bytes()[position], position));
    }
    let mut padded = [b' '; N];
    let room = padded.get_mut(..text.len()).ok_or(IdentityError::TooLong(field, N, text.len()))?;
    room.copy_from_slice(text.as_bytes());
    Ok(padded)
}

fn unpadded(field: &[u8]) -> &str {
    // Only ASCII gets in, so this cannot fail.
    core::str::from_utf8(field).unwrap_or_default().trim_end_matches(' ')
}

/// Features of a disk beyond reading, writing and flushing. The default is a disk without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// A volatile write cache, and whether it is on; `None` if there is none.
    pub write_cache: Option<bool>,
    /// SMART, which tells of the drive's health, and whether it is on; `None` if there is none.
    pub smart: Option<bool>,
    /// Blocks of ranges that a DATA SET MANAGEMENT command may carry; 0 if it has no TRIM.
    pub trim_blocks: u8,
    /// The physical sector is 2 to this power logical sectors of 512 bytes; 0 to 15.
    pub physical_exponent: u8,
    /// Logical sectors by which LBA 0 lies behind the start of its physical sector.
    pub first_in_physical: u16,
    /// The medium does not rotate.
    pub solid_state: bool,
}

/// Fills in the page of a disk of `sectors` (512 bytes each). Every byte is written.
///
/// The page claims what [`OPCODES`](crate::OPCODES) can do and what `features` says, and nothing else. Words that
/// would claim more are left at zero, which the standard reads as "not reported": no version of the standard (words
/// 80 and 81), because each obliges a disk to commands that are not here; no transfer modes (63, 88: word 53 says
/// they are not valid) and no cable (93), as there is no bus; no power management (82 bit 3), since its commands
/// are accepted but the mode never changes; no NOP; no geometry.
pub fn write_identify(
    page: &mut [u8; IDENTIFY_BYTES],
    sectors: u64,
    identity: &Identity,
    features: &Features,
) {
    page.fill(0);
    // An ATA device, not removable.
    word(page, 0, 0x0040);
    // Answers in full without a SET FEATURES to spin up.
    word(page, 2, 0xc837);
    text(page, 10, &identity.serial);
    text(page, 23, &identity.firmware);
    text(page, 27, &identity.model);
    // The high byte is fixed by the standard; a low byte of 0 says READ/WRITE MULTIPLE are not supported.
    word(page, 47, 0x8000);
    // LBA (bit 9), and the DMA commands (bit 8).
    word(page, 49, 0x0300);
    // Bit 14 is fixed by the standard, here and in words 83, 84 and 87: it marks them as filled in.
    word(page, 50, 0x4000);
    let [a, b, c, d, ..] = sectors.min(LBA28_SECTORS).to_le_bytes();
    word(page, 60, u16::from_le_bytes([a, b]));
    word(page, 61, u16::from_le_bytes([c, d]));
    // SMART (bit 0) and the volatile write cache (bit 5): supported, and in word 85 enabled.
    let (smart, cache) = (features.smart, features.write_cache);
    word(page, 82, u16::from(smart.is_some()) | u16::from(cache.is_some()) << 5);
    word(page, 85, u16::from(smart == Some(true)) | u16::from(cache == Some(true)) << 5);
    // 48-bit addresses (bit 10), FLUSH CACHE (bit 12), FLUSH CACHE EXT (bit 13): supported ...
    word(page, 83, 0x7400);
    word(page, 84, 0x4000);
    // ... and enabled.
    word(page, 86, 0x3400);
    word(page, 87, 0x4000);
    let [a, b, c, d, e, f, g, h] = sectors.min(LBA48_SECTORS).to_le_bytes();
    word(page, 100, u16::from_le_bytes([a, b]));
    word(page, 101, u16::from_le_bytes([c, d]));
    word(page, 102, u16::from_le_bytes([e, f]));
    word(page, 103, u16::from_le_bytes([g, h]));
    if features.trim_blocks > 0 {
        word(page, 105, u16::from(features.trim_blocks));
        // TRIM. That trimmed sectors read as zeros, or as anything in particular, is not promised (word 69).
        word(page, 169, 0x0001);
    }
    if features.physical_exponent > 0 {
        // Bit 14 marks words 106 and 209 as filled in; bit 13: several logical sectors make a physical one.
        word(page, 106, 0x6000 | u16::from(features.physical_exponent & 0x0f));
        word(page, 209, 0x4000 | features.first_in_physical & 0x3fff);
    }
    // 1 is a medium that does not rotate, 0 "not reported".
    word(page, 217, u16::from(features.solid_state));
    // The signature that says a checksum follows, and the checksum: all 512 bytes add up to zero.
    page[510] = 0xa5;
    let sum = page[..511].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    page[511] = sum.wrapping_neg();
}

/// Writes word `index`, least significant byte first.
fn word(page: &mut [u8; IDENTIFY_BYTES], index: usize, value: u16) {
    page[index * 2..index * 2 + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes a text from word `index` on: the first character of each pair goes to the high byte of its word.
fn text(page: &mut [u8; IDENTIFY_BYTES], index: usize, field: &[u8]) {
    let room = &mut page[index * 2..index * 2 + field.len()];
    for (word, pair) in room.chunks_exact_mut(2).zip(field.chunks_exact(2)) {
        word.copy_from_slice(&[pair[1], pair[0]]);
    }
}

#[cfg(test)]
mod tests;
