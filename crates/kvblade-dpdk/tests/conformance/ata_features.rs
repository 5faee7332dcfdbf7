//! Rules of command 0 for what not every disk has: DMA opcodes, power commands, TRIM, SMART, the write cache.

use crate::ata::{page, registers, round_trip};
use crate::bench::{Bench, Other, with};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

/// Feature registers of SET FEATURES.
const CACHE_ON: u8 = 0x02;
const CACHE_OFF: u8 = 0x82;

const NO_DMA: &str = "it has no DMA commands";
const NO_TRIM: &str = "it has no DATA SET MANAGEMENT";

/// The address registers of every SMART command: 4f and c2 in the second and third.
const SMART_SIGNATURE: u64 = 0x00c2_4f00;

/// The opcodes that are carried out, if the disk has what they need.
const KNOWN: [u8; 20] = [
    0x06, 0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xb0, 0xc8, 0xca, 0xe0, 0xe1, 0xe2, 0xe3, 0xe5, 0xe6, 0xe7,
    0xea, 0xec, 0xef,
];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "read_and_write_dma_move_the_data",
        rule: "WRITE DMA (ca) and READ DMA (c8) are WRITE and READ SECTORS: no bus is there to differ on.",
        source: "own",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Differs("wrote 41/04, read 36 bytes, not as written", NO_DMA),
        run: |bench| round_trip(bench, 0x01, 0xca, 0x00, 0xc8, 44),
    },
    Case {
        name: "read_and_write_dma_ext_move_the_data",
        rule: "WRITE DMA EXT (35) and READ DMA EXT (25) are their twins with 48 bits.",
        source: "own",
        us: "wrote 40/00, read 1060 bytes, as written",
        vblade: Differs("wrote 41/04, read 36 bytes, not as written", NO_DMA),
        run: |bench| round_trip(bench, 0x41, 0x35, 0x40, 0x25, 45),
    },
    Case {
        name: "dma_beyond_the_end_is_idnf",
        rule: "The DMA commands fail as their twins do, with IDNF behind the end.",
        source: "own",
        us: "status 41 error 10; status 41 error 10; status 41 error 10; status 41 error 10",
        vblade: Differs(
            "status 41 error 04; status 41 error 04; status 41 error 04; status 41 error 04",
            NO_DMA,
        ),
        run: |bench| {
            [
                bench.ata(0x00, 2, 0xc8, 2047, &[]),
                bench.ata(0x01, 2, 0xca, 2047, &[0xee; 1024]),
                bench.ata(0x40, 1, 0x25, 1 << 40, &[]),
                bench.ata(0x41, 1, 0x35, 1 << 40, &[0xee; 512]),
            ]
            .map(|request| bench.seen(&request))
            .join("; ")
        },
    },
    Case {
        name: "power_commands_succeed_and_the_disk_stays_awake",
        rule: "STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE and SLEEP (e0 to e3, e6) succeed and change nothing: others \
               use the disk too.",
        source: "own",
        us: "e0 40/00, e1 40/00, e2 40/00, e3 40/00, e6 40/00; then 40/00 count 255; status 40 error 00, 512 bytes",
        vblade: Differs(
            "e0 41/04, e1 41/04, e2 41/04, e3 41/04, e6 41/04; then 40/00 count 255; status 40 error 00, 512 bytes",
            "of the power commands it has CHECK POWER MODE only",
        ),
        run: |bench| {
            let accepted = [0xe0, 0xe1, 0xe2, 0xe3, 0xe6].map(|opcode| {
                let request = bench.ata(0, 0, opcode, 0, &[]);
                format!("{opcode:02x} {}", short(bench, &request))
            });
            let request = bench.ata(0, 0, 0xe5, 0, &[]);
            let mode = registers(bench, &request);
            let request = bench.read(0, 1);
            format!("{}; then {mode}; {}", accepted.join(", "), bench.seen(&request))
        },
    },
    Case {
        name: "trim_is_announced_where_the_disk_can_do_it",
        rule: "Word 169 bit 0 announces TRIM and word 105 how many blocks of ranges a command has: as many as a frame \
               carries, or fewer.",
        source: "own",
        us: "word 169 is 1, word 105 is 1 to 17",
        vblade: Differs("word 169 is 0, word 105 is 0", NO_TRIM),
        run: |bench| {
            let page = page(bench);
            let blocks = match page[105] {
                1..=17 => "1 to 17".to_owned(),
                other => other.to_string(),
            };
            format!("word 169 is {}, word 105 is {blocks}", page[169])
        },
    },
    Case {
        name: "trimmed_sectors_of_memory_are_zeroes_and_their_neighbours_are_not",
        rule: "DATA SET MANAGEMENT (06) with feature bit 0 gives up the sectors of its ranges and no others; memory then \
               holds zeroes.",
        source: "own",
        us: "status 40 error 00; sectors 100 to 111: written, zero, zero, zero, written, written, written, written, zero, \
             written, written, written",
        vblade: Differs(
            "status 41 error 04; sectors 100 to 111: written, written, written, written, written, written, written, written, written, written, written, written",
            NO_TRIM,
        ),
        run: |bench| {
            let request = bench.write(100, 12, &[0xa7; 12 * 512]);
            bench.seen(&request);
            // A range of no sectors is unused, wherever it stands.
            let request = trim(bench, &[(101, 3), (105, 0), (108, 1)]);
            let trimmed = bench.seen(&request);
            format!("{trimmed}; sectors 100 to 111: {}", contents(bench, 100, 12))
        },
    },
    Case {
        name: "a_trim_beyond_the_end_is_idnf_and_gives_up_nothing",
        rule: "If any range is not wholly on the disk the command fails with IDNF, and none is given up.",
        source: "own",
        us: "status 41 error 10; status 41 error 10; sectors 2044 to 2047: written, written, written, written",
        vblade: Differs(
            "status 41 error 04; status 41 error 04; sectors 2044 to 2047: written, written, written, written",
            NO_TRIM,
        ),
        run: |bench| {
            let request = bench.write(2044, 4, &[0xa7; 4 * 512]);
            bench.seen(&request);
            let seen = [&[(2044, 1), (2047, 2)][..], &[(2045, 1), ((1 << 48) - 1, 1)]].map(|ranges| {
                let request = trim(bench, ranges);
                bench.seen(&request)
            });
            format!("{}; sectors 2044 to 2047: {}", seen.join("; "), contents(bench, 2044, 4))
        },
    },
    Case {
        name: "a_trim_that_is_cut_empty_or_something_else_is_aborted",
        rule: "DATA SET MANAGEMENT is ABRT without feature bit 0, with count 0, and if the frame lacks ranges.",
        source: "own",
        us: "status 41 error 04; status 41 error 04; status 41 error 04; sectors 100 to 101: written, written",
        vblade: Same,
        run: |bench| {
            let request = bench.write(100, 2, &[0xa7; 1024]);
            bench.seen(&request);
            let request = trim(bench, &[(100, 2)]);
            let cut = request[..request.len() - 1].to_vec();
            let seen = [with(request.clone(), 25, &[0]), with(request, 26, &[0]), cut]
                .map(|request| bench.seen(&request))
                .join("; ");
            format!("{seen}; sectors 100 to 101: {}", contents(bench, 100, 2))
        },
    },
    Case {
        name: "trim_is_aborted_and_not_announced_where_the_disk_can_not_do_it",
        rule: "On a disk that cannot give up sectors TRIM is ABRT, and words 105 and 169 are 0.",
        source: "own",
        us: "words 105 and 169 are 0 and 0; status 41 error 04; sectors 100 to 101: written, written",
        vblade: Same,
        run: |bench| {
            bench.go_to(Other::File);
            let page = page(bench);
            let request = bench.write(100, 2, &[0xa7; 1024]);
            bench.seen(&request);
            let request = trim(bench, &[(100, 2)]);
            let seen = bench.seen(&request);
            let after = contents(bench, 100, 2);
            format!(
                "words 105 and 169 are {} and {}; {seen}; sectors 100 to 101: {after}",
                page[105], page[169]
            )
        },
    },
    Case {
        name: "the_write_cache_is_turned_off_and_on",
        rule: "SET FEATURES (ef) 82 turns the write cache off and 02 on; word 82 bit 5 says that there is one, word 85 bit \
               5 that it is on.",
        source: "own",
        us: "there and on; 40/00 there and off; 40/00 there and off; status 40 error 00; 40/00 there and on",
        vblade: Differs(
            "not there; 41/04 not there; 41/04 not there; status 40 error 00; 41/04 not there",
            "it has no SET FEATURES and announces no cache",
        ),
        run: |bench| {
            bench.go_to(Other::WriteBack);
            let first = cache(bench);
            let off = [(); 2].map(|()| set_cache(bench, CACHE_OFF)).join("; ");
            let request = bench.write(200, 1, &[0x5c; 512]);
            let wrote = bench.seen(&request);
            format!("{first}; {off}; {wrote}; {}", set_cache(bench, CACHE_ON))
        },
    },
    Case {
        name: "without_a_write_cache_there_is_none_to_turn_off",
        rule: "A disk without a volatile cache does not announce one, and SET FEATURES 02 and 82 are ABRT.",
        source: "own",
        us: "not there; 41/04 not there; 41/04 not there",
        vblade: Same,
        run: |bench| {
            bench.go_to(Other::Null);
            let first = cache(bench);
            let set = [CACHE_OFF, CACHE_ON].map(|feature| set_cache(bench, feature));
            format!("{first}; {}", set.join("; "))
        },
    },
    Case {
        name: "a_write_through_disk_has_no_cache_to_turn_off",
        rule: "Nor does a disk whose writes are on stable media when they are answered, whatever cache is beneath: SET \
               FEATURES 02 and 82 are ABRT, and FLUSH CACHE succeeds.",
        source: "own",
        us: "not there; 41/04 not there; 41/04 not there; status 40 error 00; status 40 error 00",
        vblade: Differs(
            "not there; 41/04 not there; 41/04 not there; status 40 error 00; status 00 error 00",
            "its FLUSH CACHE answers without DRDY",
        ),
        run: |bench| {
            bench.go_to(Other::File);
            let first = cache(bench);
            let set = [CACHE_OFF, CACHE_ON].map(|feature| set_cache(bench, feature));
            let request = bench.write(200, 1, &[0x5c; 512]);
            let wrote = bench.seen(&request);
            let request = bench.ata(0, 0, 0xe7, 0, &[]);
            format!("{first}; {}; {wrote}; {}", set.join("; "), bench.seen(&request))
        },
    },
    Case {
        name: "another_feature_is_aborted",
        rule: "SET FEATURES of what is not there is ABRT: transfer mode (03), power management (05), look-ahead (aa).",
        source: "own",
        us: "status 41 error 04; status 41 error 04; status 41 error 04",
        vblade: Same,
        run: |bench| {
            [0x03, 0x05, 0xaa]
                .map(|feature| {
                    let request = with(bench.ata(0, 0, 0xef, 0, &[]), 25, &[feature]);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
    Case {
        name: "smart_is_aborted_and_not_announced_where_the_disk_has_none",
        rule: "Without a drive that tells of its health SMART (b0) is ABRT, and bit 0 of words 82 and 85 is 0.",
        source: "own",
        us: "bit 0 of words 82 and 85: 0 and 0; d0 41/04, d1 41/04, d8 41/04, da 41/04",
        vblade: Same,
        run: |bench| {
            let page = page(bench);
            let smart = [0xd0, 0xd1, 0xd8, 0xda].map(|feature| {
                let request = with(bench.ata(0, 1, 0xb0, SMART_SIGNATURE, &[]), 25, &[feature]);
                format!("{feature:02x} {}", short(bench, &request))
            });
            let (there, on) = (page[82] & 1, page[85] & 1);
            format!("bit 0 of words 82 and 85: {there} and {on}; {}", smart.join(", "))
        },
    },
    Case {
        name: "every_other_opcode_is_aborted",
        rule: "Each opcode that is in no rule here is ABRT, whatever else there may be in ATA.",
        source: "own",
        us: "236 of 236 aborted",
        vblade: Same,
        run: |bench| {
            let others: Vec<u8> = (0..=255).filter(|opcode| !KNOWN.contains(opcode)).collect();
            let mut aborted = 0;
            for opcode in &others {
                let request = bench.ata(0, 1, *opcode, 0, &[]);
                aborted += usize::from(bench.seen(&request) == "status 41 error 04");
            }
            format!("{aborted} of {} aborted", others.len())
        },
    },
];

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "That the write cache is off is kept through a restart and a kill.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/state_dir.rs",
        test: "a_write_cache_turned_off_is_off_after_a_restart_and_a_kill",
    },
    Elsewhere {
        rule: "SMART of a drive that tells of its health (an NVMe drive of QEMU's): its data are read, and its status is \
               that it is well.",
        source: "lab",
        file: "scripts/lab/tests/target-in-guest",
        test: "SMART RETURN STATUS says that the drive is well",
    },
];

/// Status and error of the answer.
fn short(bench: &mut Bench<'_>, request: &[u8]) -> String {
    match bench.try_ask(request) {
        Ok(Some(reply)) if reply[14] & 4 == 0 => format!("{:02x}/{:02x}", reply[27], reply[25]),
        Ok(Some(reply)) => format!("AoE error {}", reply[15]),
        Ok(None) => "silence".into(),
        Err(error) => error,
    }
}

/// DATA SET MANAGEMENT with TRIM and one block of ranges: first sector and number of sectors of each.
fn trim(bench: &mut Bench<'_>, ranges: &[(u64, u16)]) -> Vec<u8> {
    let mut block = [0; 512];
    for (entry, (lba, sectors)) in block.chunks_exact_mut(8).zip(ranges) {
        entry.copy_from_slice(&(u64::from(*sectors) << 48 | lba).to_le_bytes());
    }
    with(bench.ata(0x41, 1, 0x06, 0, &block), 25, &[1])
}

/// What each of these sectors holds: what the tests of TRIM write, zeroes, or neither.
fn contents(bench: &mut Bench<'_>, lba: u64, count: u8) -> String {
    let request = bench.read(lba, count);
    let Ok(Some(reply)) = bench.try_ask(&request) else { return "no answer".into() };
    let sectors = reply.get(36..).unwrap_or_default().chunks_exact(512).map(|sector| match sector[0] {
        0xa7 if sector.iter().all(|byte| *byte == 0xa7) => "written",
        0 if sector.iter().all(|byte| *byte == 0) => "zero",
        _ => "neither",
    });
    sectors.collect::<Vec<_>>().join(", ")
}

/// The write cache as IDENTIFY reports it.
fn cache(bench: &mut Bench<'_>) -> &'static str {
    let page = page(bench);
    match (page[82] >> 5 & 1, page[85] >> 5 & 1) {
        (0, 0) => "not there",
        (0, _) => "not there and on",
        (_, 0) => "there and off",
        _ => "there and on",
    }
}

/// SET FEATURES, its answer, and what IDENTIFY says then.
fn set_cache(bench: &mut Bench<'_>, feature: u8) -> String {
    let request = with(bench.ata(0, 0, 0xef, 0, &[]), 25, &[feature]);
    format!("{} {}", short(bench, &request), cache(bench))
}
