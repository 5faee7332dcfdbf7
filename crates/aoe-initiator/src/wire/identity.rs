//! The page IDENTIFY DEVICE answers with.

use super::SECTOR;

/// The IDENTIFY DEVICE page as initiators read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whether 48-bit commands are supported (word 83 bit 10).
    pub lba48: bool,
    /// Size in sectors as Linux takes it: words 100-103 with 48-bit commands, else words 60-61.
    pub sectors: u64,
    /// Words 60-61.
    pub sectors28: u32,
    /// Whether FLUSH CACHE is announced (word 83 bit 12).
    pub flush: bool,
    /// Whether FLUSH CACHE EXT is announced (word 83 bit 13).
    pub flush_ext: bool,
    /// Words 10-19.
    pub serial: String,
    /// Words 23-26.
    pub firmware: String,
    /// Words 27-46.
    pub model: String,
    /// All 256 words.
    pub words: Box<[u16; 256]>,
}

impl Identity {
    /// Reads a page of 512 bytes.
    pub fn parse(page: &[u8; SECTOR]) -> Self {
        let mut words = Box::new([0u16; 256]);
        for (word, bytes) in words.iter_mut().zip(page.as_chunks::<2>().0) {
            *word = u16::from_le_bytes(*bytes);
        }
        let number = |range: std::ops::Range<usize>| {
            words[range].iter().rev().fold(0u64, |value, word| value << 16 | u64::from(*word))
        };
        let text = |range: std::ops::Range<usize>| {
            let bytes: Vec<u8> = words[range].iter().flat_map(|word| word.to_be_bytes()).collect();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        let lba48 = words[83] & 1 << 10 != 0;
        let sectors28 = u32::from(words[60]) | u32::from(words[61]) << 16;
        Self {
            lba48,
            sectors: if lba48 { number(100..104) } else { u64::from(sectors28) },
            sectors28,
            flush: words[83] & 1 << 12 != 0,
            flush_ext: words[83] & 1 << 13 != 0,
            serial: text(10..20),
            firmware: text(23..27),
            model: text(27..47),
            words,
        }
    }
}
