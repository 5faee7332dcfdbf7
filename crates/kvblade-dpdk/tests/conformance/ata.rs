//! Rules of command 0: registers, data, and the IDENTIFY page.

use crate::bench::Bench;
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

const PROTOCOL: &str = "it answers with an AoE error, which makes Linux retransmit for minutes (trap 1)";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "identify_is_answered_with_512_bytes",
        rule: "IDENTIFY DEVICE with count 1 returns the page.",
        source: "spec, vb",
        us: "status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let request = bench.identify();
            bench.seen(&request)
        },
    },
    Case {
        name: "identify_may_carry_the_lba48_flag",
        rule: "The opcode decides what a command is; WinAoE sets E on IDENTIFY.",
        source: "win, trap 14",
        us: "status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let request = bench.ata(0x40, 1, 0xec, 0, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "read_and_write_with_48_bits_move_the_data",
        rule: "WRITE SECTORS EXT stores, READ SECTORS EXT returns exactly 36 bytes and the data.",
        source: "spec, lin",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Same,
        run: |bench| round_trip(bench, 0x41, 0x34, 0x40, 0x24, 40),
    },
    Case {
        name: "read_and_write_with_28_bits_move_the_data",
        rule: "WRITE SECTORS stores, READ SECTORS returns.",
        source: "spec, ipxe",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Same,
        run: |bench| round_trip(bench, 0x01, 0x30, 0x00, 0x20, 41),
    },
    Case {
        name: "a_short_address_is_28_bits",
        rule: "Initiators put the device register, e0 or a0, in the high nibble of lba3: it is not part of the address.",
        source: "lin, ipxe",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Same,
        run: |bench| round_trip(bench, 0x01, 0x30, 0x00, 0x20, 42 | 0xe000_0000),
    },
    Case {
        name: "an_asynchronous_write_is_a_write",
        rule: "AFlags A permits an early answer and demands nothing.",
        source: "spec",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Same,
        run: |bench| round_trip(bench, 0x43, 0x34, 0x40, 0x24, 43),
    },
    Case {
        name: "success_is_drdy_error_0_count_0",
        rule: "A request that is done says status 40, error 0, no sectors left.",
        source: "srx, vb",
        us: "read 40/00 count 0, write 40/00 count 0",
        vblade: Same,
        run: |bench| {
            let requests = [bench.read(8, 2), bench.write(8, 2, &[1; 1024])];
            let [read, write] = requests.map(|request| registers(bench, &request));
            format!("read {read}, write {write}")
        },
    },
    Case {
        name: "the_address_of_a_reply_is_as_asked_or_advanced",
        rule: "The LBA bytes of a reply are the address asked for, or that behind the last sector; initiators ignore them.",
        source: "srx, gg",
        us: "asked for 8+2, says 10",
        vblade: Differs(
            "asked for 8+2, says 8",
            "it advances its own copy of the address and sends the request's",
        ),
        run: |bench| {
            let request = bench.read(8, 2);
            bench.ask(&request).map_or("silence".into(), |reply| {
                let mut lba = [0; 8];
                lba[..6].copy_from_slice(&reply[28..34]);
                format!("asked for 8+2, says {}", u64::from_le_bytes(lba))
            })
        },
    },
    Case {
        name: "a_read_beyond_the_end_is_idnf",
        rule: "A sector behind the end is ERR with IDNF, and no data comes along: also for the last address there is.",
        source: "vb, trap 1",
        us: "status 41 error 10; status 41 error 10; status 41 error 10",
        vblade: Same,
        run: |bench| {
            [bench.read(1 << 40, 1), bench.read(2047, 2), bench.read((1 << 48) - 1, 2)]
                .map(|request| bench.seen(&request))
                .join("; ")
        },
    },
    Case {
        name: "a_write_beyond_the_end_is_idnf",
        rule: "A write that does not fit on the disk is refused whole.",
        source: "vb, trap 1",
        us: "status 41 error 10, the last sector is untouched",
        vblade: Same,
        run: |bench| {
            let request = bench.write(2047, 2, &[0xee; 1024]);
            let seen = bench.seen(&request);
            let request = bench.read(2047, 1);
            let touched = bench.ask(&request).is_none_or(|reply| reply[36..].contains(&0xee));
            format!("{seen}, the last sector is {}", if touched { "overwritten" } else { "untouched" })
        },
    },
    Case {
        name: "more_sectors_than_advertised_are_aborted",
        rule: "A read or write of more sectors than the port advertises fails with ATA ABRT.",
        source: "gg, trap 1",
        us: "status 41 error 04; status 41 error 04",
        vblade: Differs("AoE error 2; AoE error 2", PROTOCOL),
        run: |bench| {
            [bench.read(0, 18), bench.write(0, 18, &[0; 512])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_write_with_too_little_data_is_aborted",
        rule: "A write whose frame lacks data fails with ATA ABRT and stores nothing.",
        source: "gg, trap 1",
        us: "status 41 error 04",
        vblade: Differs("AoE error 2", PROTOCOL),
        run: |bench| {
            let request = bench.write(0, 2, &[0; 1023]);
            bench.seen(&request)
        },
    },
    Case {
        name: "count_0_is_aborted",
        rule: "A count of 0 would be 256 in ATA, which no frame holds; no initiator sends it.",
        source: "own",
        us: "status 41 error 04; status 41 error 04",
        vblade: Differs("status 40 error 00; status 40 error 00", "it moves nothing and reports success"),
        run: |bench| {
            [bench.read(0, 0), bench.write(0, 0, &[])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "trailing_bytes_are_ignored",
        rule: "Bytes behind what a command needs are legal: aoe-sancheck pads IDENTIFY up to the MTU.",
        source: "tools, lab, trap 13",
        us: "status 40 error 00, 512 bytes; status 40 error 00",
        vblade: Same,
        run: |bench| {
            let mut identify = bench.identify();
            identify.resize(9014, 0x5a);
            [identify, bench.write(50, 1, &[3; 700])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "flush_cache_is_answered",
        rule: "FLUSH CACHE makes what was acknowledged durable.",
        source: "vb, srx",
        us: "status 40 error 00",
        vblade: Differs("status 00 error 00", "it leaves the status register zero"),
        run: |bench| {
            let request = bench.ata(0, 0, 0xe7, 0, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "flush_cache_ext_is_answered",
        rule: "FLUSH CACHE EXT does the same.",
        source: "gg, srx",
        us: "status 40 error 00",
        vblade: Differs("status 41 error 04", "it knows e7 only"),
        run: |bench| {
            let request = bench.ata(0x40, 0, 0xea, 0, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "check_power_mode_says_active",
        rule: "CHECK POWER MODE answers count ff.",
        source: "vb, gg",
        us: "40/00 count 255",
        vblade: Same,
        run: |bench| {
            let request = bench.ata(0, 0, 0xe5, 0, &[]);
            registers(bench, &request)
        },
    },
    Case {
        name: "an_unknown_opcode_is_aborted",
        rule: "What a disk does not know fails with ABRT: IDENTIFY PACKET DEVICE, READ LOG EXT, SECURITY ERASE UNIT.",
        source: "vb, srx",
        us: "status 41 error 04; status 41 error 04; status 41 error 04",
        vblade: Same,
        run: |bench| {
            [0xa1, 0x2f, 0xf4]
                .map(|opcode| {
                    let request = bench.ata(0, 1, opcode, 0, &[]);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
    Case {
        name: "identify_tells_both_sizes",
        rule: "Words 60 and 61 and words 100 to 103 hold the size, the high words included.",
        source: "lin, ipxe, win, p9",
        us: "2048 and 2048 sectors",
        vblade: Same,
        run: |bench| {
            let page = page(bench);
            let number = |words: std::ops::Range<usize>| {
                words.rev().fold(0u64, |sum, word| sum << 16 | u64::from(page[word]))
            };
            format!("{} and {} sectors", number(60..62), number(100..104))
        },
    },
    Case {
        name: "identify_announces_lba48",
        rule: "Words 83 and 86 have bit 10 (48 bits), word 49 has bit 9 (LBA); bits 15 and 14 of word 83 say that it is valid.",
        source: "lin, ipxe, vb",
        us: "LBA, LBA48 there and on, valid",
        vblade: Same,
        run: |bench| {
            let page = page(bench);
            let says = [
                (page[49] >> 9 & 1 == 1, "LBA"),
                (page[83] & page[86] & 0x400 != 0, "LBA48 there and on"),
                (page[83] >> 14 == 1, "valid"),
            ];
            says.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect::<Vec<_>>().join(", ")
        },
    },
    Case {
        name: "identify_announces_the_flushes_it_has",
        rule: "Word 83 announces FLUSH CACHE (bit 12) and FLUSH CACHE EXT (bit 13) if they work.",
        source: "gg",
        us: "FLUSH true, FLUSH EXT true",
        vblade: Differs("FLUSH true, FLUSH EXT false", "it has no FLUSH CACHE EXT"),
        run: |bench| {
            let page = page(bench);
            format!("FLUSH {}, FLUSH EXT {}", page[83] >> 12 & 1 == 1, page[83] >> 13 & 1 == 1)
        },
    },
    Case {
        name: "the_serial_number_is_the_targets_own_and_stable",
        rule: "The serial number must not change with the host, as Plan 9 takes a changed one for a new disk.",
        source: "p9, trap 16",
        us: "kvblade-SHELF.SLOT",
        vblade: Differs("SHELF.SLOT:HOST", "its serial number has the host's name in it"),
        run: |bench| {
            let bytes: Vec<u8> = page(bench)[10..20].iter().flat_map(|word| word.to_be_bytes()).collect();
            let serial = String::from_utf8_lossy(&bytes).trim_end_matches([' ', '\0']).to_owned();
            let serial = serial.replace(&format!("{}.{}", bench.shelf, bench.slot), "SHELF.SLOT");
            match serial.split_once(':') {
                Some((address, _)) => format!("{address}:HOST"),
                None => serial,
            }
        },
    },
];

pub(crate) fn registers(bench: &mut Bench<'_>, request: &[u8]) -> String {
    bench
        .ask(request)
        .map_or("silence".into(), |reply| format!("{:02x}/{:02x} count {}", reply[27], reply[25], reply[26]))
}

/// IDENTIFY's words; all zero if there is no page.
pub(crate) fn page(bench: &mut Bench<'_>) -> [u16; 256] {
    let request = bench.identify();
    let reply = bench.ask(&request).unwrap_or_default();
    let mut words = [0; 256];
    let pairs = reply.get(36..).unwrap_or_default().chunks_exact(2);
    for (word, pair) in words.iter_mut().zip(pairs) {
        *word = u16::from_le_bytes([pair[0], pair[1]]);
    }
    words
}

/// Writes two sectors and reads them at the same place with 48 bits.
pub(crate) fn round_trip(
    bench: &mut Bench<'_>,
    write_flags: u8,
    write: u8,
    read_flags: u8,
    read: u8,
    lba: u64,
) -> String {
    let data: Vec<u8> = (0..=250).cycle().skip(usize::from(bench.slot)).take(1024).collect();
    let request = bench.ata(write_flags, 2, write, lba, &data);
    let wrote =
        bench.ask(&request).map_or("silence".into(), |reply| format!("{:02x}/{:02x}", reply[27], reply[25]));
    let request = bench.ata(read_flags, 2, read, lba, &[]);
    let back = bench.ask(&request).unwrap_or_default();
    // A read with a long address shows the sector that a short address meant.
    let request = bench.read(lba & 0x0fff_ffff, 2);
    let long = bench.ask(&request).unwrap_or_default();
    let same = back.get(36..) == Some(&data[..]) && long.get(36..) == Some(&data[..]);
    format!(
        "wrote {wrote}, read {} bytes, {}",
        back.len(),
        if same { "as written" } else { "not as written" }
    )
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[];
