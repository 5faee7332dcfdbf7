//! The page read back word by word, the way initiators read it.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{OPCODES, Operation};

fn identity() -> Identity {
    Identity::new("1.2:kvblade", "kvblade-dpdk", "0.1.0").unwrap()
}

fn page(sectors: u64) -> [u8; IDENTIFY_BYTES] {
    let mut page = [0xa5; IDENTIFY_BYTES];
    write_identify(&mut page, sectors, &identity());
    page
}

fn words(page: &[u8; IDENTIFY_BYTES]) -> Vec<u16> {
    page.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// As `hdparm` and the Linux ioctl read a text: high byte of each word first.
fn read_text(words: &[u16]) -> String {
    words.iter().flat_map(|word| word.to_be_bytes()).map(char::from).collect()
}

#[test]
fn every_word_of_a_small_disk() {
    let words = words(&page(0x0012_3456));
    let expected: &[(usize, u16)] = &[
        (0, 0x0040),
        (2, 0xc837),
        (47, 0x8000),
        (49, 0x0200),
        (50, 0x4000),
        (60, 0x3456),
        (61, 0x0012),
        (83, 0x7400),
        (84, 0x4000),
        (86, 0x3400),
        (87, 0x4000),
        (100, 0x3456),
        (101, 0x0012),
    ];
    for (index, word) in words.iter().enumerate() {
        if (10..20).contains(&index) || (23..47).contains(&index) || index == 255 {
            continue;
        }
        let want = expected.iter().find(|(at, _)| *at == index).map_or(0, |(_, want)| *want);
        assert_eq!(*word, want, "word {index}");
    }
}

#[test]
fn texts_are_padded_and_swapped() {
    let words = words(&page(1));
    assert_eq!(read_text(&words[10..20]), "1.2:kvblade         ");
    assert_eq!(read_text(&words[23..27]), "0.1.0   ");
    assert_eq!(read_text(&words[27..47]), "kvblade-dpdk                            ");
}

#[test]
fn sizes_are_capped_by_their_address_width() {
    for (sectors, words_60, words_100) in [
        (0, 0, 0),
        (1, 1, 1),
        (0x0fff_ffff, 0x0fff_ffff, 0x0fff_ffff),
        (0x1000_0000, 0x0fff_ffff, 0x1000_0000),
        (0x1_2345_6789_abcd, 0x0fff_ffff, 0xffff_ffff_ffff),
        (0x2345_6789_abcd, 0x0fff_ffff, 0x2345_6789_abcd),
        (u64::MAX, 0x0fff_ffff, 0xffff_ffff_ffff),
    ] {
        let words = words(&page(sectors));
        let low = u64::from(words[60]) | u64::from(words[61]) << 16;
        let high = words[100..104].iter().rev().fold(0u64, |size, word| size << 16 | u64::from(*word));
        assert_eq!((low, high), (words_60, words_100), "{sectors:#x} sectors");
    }
}

#[test]
fn the_page_claims_what_the_opcodes_can_do() {
    let words = words(&page(1));
    let supported = |code: u8| OPCODES.iter().any(|opcode| opcode.code == code);
    let claims = |index: usize, bit: u32| words[index] >> bit & 1 == 1;
    for word in [83, 86] {
        assert_eq!(claims(word, 10), supported(0x24) && supported(0x34), "48-bit, word {word}");
        assert_eq!(claims(word, 12), supported(0xe7), "FLUSH CACHE, word {word}");
        assert_eq!(claims(word, 13), supported(0xea), "FLUSH CACHE EXT, word {word}");
    }
    assert_eq!(claims(82, 0), supported(0xb0), "SMART");
    assert_eq!(claims(82, 14), supported(0x00), "NOP");
    assert_eq!(claims(49, 8), supported(0xc8), "DMA");
    assert_eq!(words[47] & 0xff != 0, supported(0xc4), "READ MULTIPLE");
    assert!(OPCODES.iter().any(|opcode| opcode.operation == Operation::Identify));
    assert_eq!(words[80], 0, "a version of the standard obliges to commands that are not here");
}

#[test]
fn names_are_checked() {
    let refusal = |serial, model, firmware| Identity::new(serial, model, firmware).unwrap_err().to_string();
    assert_eq!(refusal("123456789012345678901", "", ""), "serial of 21 characters: at most 20 are allowed");
    assert_eq!(refusal("", "", "123456789"), "firmware of 9 characters: at most 8 are allowed");
    assert_eq!(
        refusal("", "a\u{e4}", ""),
        "model with byte 0xc3 at position 1: only printable ASCII (0x20 to 0x7e) is allowed"
    );
    let full = Identity::new("12345678901234567890", "", "12345678").unwrap();
    assert_eq!((full.serial(), full.model(), full.firmware()), ("12345678901234567890", "", "12345678"));
}

proptest! {
    #[test]
    fn bytes_add_up_to_zero(sectors: u64, serial in "[ -~]{0,20}", model in "[ -~]{0,40}") {
        let mut page = [0xa5; IDENTIFY_BYTES];
        write_identify(&mut page, sectors, &Identity::new(&serial, &model, "x").unwrap());
        prop_assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        prop_assert_eq!(page[510], 0xa5);
        let words = words(&page);
        prop_assert_eq!(read_text(&words[10..20]), format!("{serial:20}"));
        prop_assert_eq!(read_text(&words[27..47]), format!("{model:40}"));
    }
}
