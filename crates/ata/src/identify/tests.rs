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
    page_with(sectors, &Features::default())
}

fn page_with(sectors: u64, features: &Features) -> [u8; IDENTIFY_BYTES] {
    let mut page = [0xa5; IDENTIFY_BYTES];
    write_identify(&mut page, sectors, &identity(), features);
    page
}

/// A disk that has everything.
const FULL: Features = Features {
    write_cache: Some(true),
    smart: Some(true),
    trim_blocks: 16,
    physical_exponent: 3,
    first_in_physical: 1,
    solid_state: true,
};

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
        (49, 0x0300),
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
    assert_eq!(claims(82, 14), supported(0x00), "NOP");
    assert_eq!(claims(49, 8), supported(0xc8), "DMA");
    assert_eq!(words[47] & 0xff != 0, supported(0xc4), "READ MULTIPLE");
    assert!(OPCODES.iter().any(|opcode| opcode.operation == Operation::Identify));
    assert_eq!(words[80], 0, "a version of the standard obliges to commands that are not here");
}

#[test]
fn each_feature_sets_its_words_and_no_other() {
    let none = Features::default();
    let changed: &[(Features, &[(usize, u16)])] = &[
        (Features { write_cache: Some(false), ..none }, &[(82, 0x20)]),
        (Features { write_cache: Some(true), ..none }, &[(82, 0x20), (85, 0x20)]),
        (Features { smart: Some(false), ..none }, &[(82, 1)]),
        (Features { smart: Some(true), ..none }, &[(82, 1), (85, 1)]),
        (Features { trim_blocks: 2, ..none }, &[(105, 2), (169, 1)]),
        (Features { physical_exponent: 3, ..none }, &[(106, 0x6003), (209, 0x4000)]),
        (Features { physical_exponent: 3, first_in_physical: 5, ..none }, &[(106, 0x6003), (209, 0x4005)]),
        (Features { first_in_physical: 5, ..none }, &[]),
        (Features { solid_state: true, ..none }, &[(217, 1)]),
    ];
    let plain = words(&page(8));
    for (features, want) in changed {
        let words = words(&page_with(8, features));
        let differ: Vec<(usize, u16)> =
            (0..255).filter(|at| words[*at] != plain[*at]).map(|at| (at, words[at])).collect();
        assert_eq!(differ, *want, "{features:?}");
    }
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
        write_identify(&mut page, sectors, &Identity::new(&serial, &model, "x").unwrap(), &FULL);
        prop_assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        prop_assert_eq!(page[510], 0xa5);
        let words = words(&page);
        prop_assert_eq!(read_text(&words[10..20]), format!("{serial:20}"));
        prop_assert_eq!(read_text(&words[27..47]), format!("{model:40}"));
    }
}

/// What a program makes of `input`.
fn decoded(program: &str, arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child =
        child.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup --tests installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `hdparm` reads in a page: its lines, each without the blanks around and with single ones inside.
fn hdparm(page: &[u8; IDENTIFY_BYTES]) -> Vec<String> {
    let hex: Vec<String> = words(page).iter().map(|word| format!("{word:04x}")).collect();
    let lines: Vec<String> = hex.chunks(8).map(|line| line.join(" ")).collect();
    // Debian installs it where only root looks for programs.
    let text = decoded("/usr/sbin/hdparm", &["--Istdin"], &(lines.join("\n") + "\n"));
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn hdparm_reads_the_page_as_it_is_meant() {
    let (plain, full) = (hdparm(&page(0x12_3456)), hdparm(&page_with(0x12_3456, &FULL)));
    let has = |lines: &[String], part: &str| lines.iter().any(|line| line.contains(part));
    for lines in [&plain, &full] {
        for part in [
            "Model Number: kvblade-dpdk",
            "Serial Number: 1.2:kvblade",
            "Firmware Revision: 0.1.0",
            "LBA48 user addressable sectors: 1193046",
            "* 48-bit Address feature set",
            "* Mandatory FLUSH_CACHE",
            "* FLUSH_CACHE_EXT",
            "Checksum: correct",
        ] {
            assert!(has(lines, part), "no {part:?} in {lines:#?}");
        }
    }
    for part in ["SMART feature set", "Write cache", "TRIM", "Solid State", "Power Management"] {
        assert!(!has(&plain, part), "{part:?} in {plain:#?}");
    }
    for part in [
        "* SMART feature set",
        "* Write cache",
        "Nominal Media Rotation Rate: Solid State Device",
        "Physical Sector size: 4096 bytes",
        "Logical Sector-0 offset: 512 bytes",
    ] {
        assert!(has(&full, part), "no {part:?} in {full:#?}");
    }
    // hdparm shows TRIM only of a disk that claims ATA-7 or later in word 80; the words are tested above.
    let off = hdparm(&page_with(8, &Features { write_cache: Some(false), ..FULL }));
    assert!(off.iter().any(|line| line == "Write cache"), "supported and not enabled: {off:#?}");
}
