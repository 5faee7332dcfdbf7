//! The contents of a file: one line with version, length and checksum, then the payload and a line break.

use std::fmt;

/// First word of every file. It is older than the words of today and stays, so that files of earlier releases are read.
const MAGIC: &str = "kvblade-claims";

/// The version written, and the only one read.
pub const VERSION: u32 = 1;

/// Largest payload, in bytes: 255 reservation keys of 255 addresses each need a third of it.
pub const PAYLOAD_MAX: usize = 4 * 1024 * 1024;

/// The reason for which the contents of a file are not those that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Another version, or none.
    Version(String),
    /// Shorter or longer than its first line says.
    Length {
        /// Bytes in the file.
        found: usize,
        /// Bytes by its first line.
        expected: usize,
    },
    /// The checksum differs.
    Checksum,
    /// Not in the form that this program writes.
    Form(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => write!(f, "its version is '{found}', and this program reads {VERSION}"),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes of state where its first line says {expected}")
            }
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Form(what) => f.write_str(what),
        }
    }
}

fn first_line(payload: &str) -> String {
    format!("{MAGIC} {VERSION} {} {:08x}\n", payload.len(), crc32fast::hash(payload.as_bytes()))
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
        return Err(Damage::Form("its first line is not that of a state file"));
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &str = "{\"config\":\"61626364\",\"mask\":[\"02:00:00:00:00:01\"]}";

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
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
            "it has 2 bytes of state where its first line says 3"
        );
        assert_eq!(said(b"kvblade-claims 1 2 00000000\nab\n"), "its checksum is wrong");
        assert_eq!(said(b"hello\n"), "its first line is not that of a state file");
        assert_eq!(said(b""), "its first line is cut off");
        assert_eq!(said(b"\xff\n"), "it is no text");
    }
}
