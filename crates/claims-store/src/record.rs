//! What a file contains: one line with version, length and checksum, then the payload, a line break last.

use std::fmt;

/// First word of every file.
const MAGIC: &str = "kvblade-claims";

/// The version written, and the only one read.
pub const VERSION: u32 = 1;

/// Largest payload, in bytes: 255 reservation keys of 255 addresses each need a third of it.
pub const PAYLOAD_MAX: usize = 4 * 1024 * 1024;

/// Why a file is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Another version, or none.
    Version(String),
    /// Shorter or longer than its first line says.
    Length {
        /// Bytes that there are.
        found: usize,
        /// Bytes that there should be.
        expected: usize,
    },
    /// The checksum of what is there.
    Checksum,
    /// Not as this program writes it.
    Form(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => write!(f, "its version is '{found}', and this program reads {VERSION}"),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes of claims where its first line says {expected}")
            }
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Form(what) => f.write_str(what),
        }
    }
}

fn first_line(payload: &str) -> String {
    format!("{MAGIC} {VERSION} {} {:08x}\n", payload.len(), crc32(payload.as_bytes()))
}

/// The file's bytes for this payload.
#[must_use]
pub fn encode(payload: &str) -> Vec<u8> {
    let mut bytes = first_line(payload).into_bytes();
    bytes.extend_from_slice(payload.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// The payload in a file's bytes.
///
/// # Errors
/// [`Damage`], for every byte string that [`encode`] does not make.
pub fn decode(bytes: &[u8]) -> Result<&str, Damage> {
    let text = std::str::from_utf8(bytes).map_err(|_| Damage::Form("it is no text"))?;
    let (line, rest) = text.split_once('\n').ok_or(Damage::Form("its first line is cut off"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let [MAGIC, version, length, _] = words[..] else {
        return Err(Damage::Form("its first line is not that of a claims file"));
    };
    if version != VERSION.to_string() {
        return Err(Damage::Version(version.chars().take(20).flat_map(char::escape_default).collect()));
    }
    let expected = length.parse().map_err(|_| Damage::Form("its first line has no length"))?;
    let payload = rest
        .strip_suffix('\n')
        .filter(|payload| payload.len() == expected)
        .ok_or(Damage::Length { found: rest.len().saturating_sub(1), expected })?;
    // The whole line is compared, so that a number in another spelling counts as damage too.
    let written = first_line(payload);
    if written.strip_suffix('\n') != Some(line) { Err(Damage::Checksum) } else { Ok(payload) }
}

/// CRC-32 as IEEE 802.3 and zlib compute it: finds every single wrong bit. At the pace of an initiator's config
/// string, without a table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &str = "{\"config\":\"61626364\",\"mask\":[\"02:00:00:00:00:01\"]}";

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn what_is_written_is_read() {
        for payload in ["", PAYLOAD, "two\nlines\n", "\u{e9}"] {
            assert_eq!(decode(&encode(payload)), Ok(payload));
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let whole = encode(PAYLOAD);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = encode(PAYLOAD);
        for at in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(decode(&flipped).is_err(), "bit {at}: {:?}", String::from_utf8_lossy(&flipped));
        }
    }

    #[test]
    fn damage_is_named() {
        let said = |bytes: &[u8]| decode(bytes).expect_err("damaged").to_string();
        assert_eq!(said(b"kvblade-claims 7 0 00000000\n\n"), "its version is '7', and this program reads 1");
        assert_eq!(
            said(b"kvblade-claims 1 3 00000000\nab\n"),
            "it has 2 bytes of claims where its first line says 3"
        );
        assert_eq!(said(b"kvblade-claims 1 2 00000000\nab\n"), "its checksum is wrong");
        assert_eq!(said(b"hello\n"), "its first line is not that of a claims file");
        assert_eq!(said(b""), "its first line is cut off");
        assert_eq!(said(b"\xff\n"), "it is no text");
    }
}
