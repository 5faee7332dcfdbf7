//! Behaviour of initiators that breaks a careless target.

use crate::case::Elsewhere;

const ATA: &str = "crates/kvblade-dpdk/tests/conformance/ata.rs";
const CONFIG: &str = "crates/kvblade-dpdk/tests/conformance/config.rs";
const HEADER: &str = "crates/kvblade-dpdk/tests/conformance/header.rs";
const INITIATORS: &str = "crates/kvblade-dpdk/tests/conformance/initiators.rs";

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "1. A failed I/O is answered with ATA registers, never with an AoE error, on which aoe.ko retransmits for minutes.",
        source: "lin, lab",
        file: ATA,
        test: "more_sectors_than_advertised_are_aborted",
    },
    Elsewhere {
        rule: "2. The buffer count is at least 2.",
        source: "lin",
        file: CONFIG,
        test: "the_buffer_count_is_at_least_2",
    },
    Elsewhere {
        rule: "3. Every reply is padded to 60 bytes.",
        source: "tools, lab",
        file: HEADER,
        test: "every_reply_is_padded_to_60_bytes",
    },
    Elsewhere {
        rule: "4. Requests of 32 and 36 bytes are accepted.",
        source: "lab",
        file: HEADER,
        test: "requests_need_not_be_padded",
    },
    Elsewhere {
        rule: "5. The sector count is at most 16.",
        source: "lin, srx",
        file: CONFIG,
        test: "the_sector_count_is_at_most_16",
    },
    Elsewhere {
        rule: "6. A frame that was advertised room for is never dropped.",
        source: "lin, srx",
        file: "scripts/lab/guest/initiator",
        test: "no frame was lost",
    },
    Elsewhere {
        rule: "7. aoe.ko sends no FLUSH, so an acknowledged write must last: here through the end of the target.",
        source: "lin, lab",
        file: "crates/kvblade-dpdk/tests/end_to_end/shutdown.rs",
        test: "a_stop_under_load_loses_no_acknowledged_write",
    },
    Elsewhere {
        rule: "7. An acknowledged write has been flushed to stable media, unless the operator said cache=write-back.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/write_through.rs",
        test: "a_write_is_not_answered_before_its_flush_is_over",
    },
    Elsewhere {
        rule: "7. The same for what stands on files, and for writes that cover a part of a block.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/write_through.rs",
        test: "bdevs_that_stand_on_files_are_flushed_down_to_the_files",
    },
    Elsewhere {
        rule: "7. A disk that may lose acknowledged writes is exported only if the operator says cache=write-back.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/write_through.rs",
        test: "what_may_lose_acknowledged_writes_needs_the_operators_word",
    },
    Elsewhere {
        rule: "7. When the target's machine loses its power, every acknowledged write is on the drive.",
        source: "own",
        file: "scripts/lab/tests/power-loss",
        test: "every acknowledged write is on the virtio drive",
    },
    Elsewhere {
        rule: "7. When the machine of a cache=write-back export does, what FLUSH CACHE covered is on the drive.",
        source: "own",
        file: "scripts/lab/tests/power-loss",
        test: "what was written before an answered FLUSH CACHE is on the NVMe drive",
    },
    Elsewhere {
        rule: "8. A sector has 512 bytes whatever the blocks of the bdev have.",
        source: "lin",
        file: "crates/kvblade-dpdk/tests/end_to_end/export_options.rs",
        test: "two_parts_of_memory_in_4096_byte_blocks_keep_what_was_written_where_they_meet",
    },
    Elsewhere {
        rule: "8. Two jobs of Linux that write neighbouring sectors of a block of 4096 bytes lose none to each other.",
        source: "lin",
        file: "scripts/lab/guest/initiator",
        test: "no sector of $lab_partial was lost to its neighbours",
    },
    Elsewhere {
        rule: "9. An export on several ports is a path for each, and one disk.",
        source: "lin, lab",
        file: "crates/kvblade-dpdk/tests/end_to_end/two_ports.rs",
        test: "a_disk_loaded_through_both_ports_at_once_keeps_what_each_wrote",
    },
    Elsewhere {
        rule: "10. A read reply is exactly as long as what was asked.",
        source: "lin",
        file: ATA,
        test: "read_and_write_with_48_bits_move_the_data",
    },
    Elsewhere {
        rule: "11. Repeated writes are carried out.",
        source: "spec",
        file: INITIATORS,
        test: "repeated_writes_are_carried_out_again",
    },
    Elsewhere {
        rule: "12. Shelf ffff and slot ff cannot be exported. Shelf fff, which Linux ignores, can, for others, and the log \
               warns of it; slots from 16 on, which Linux takes unless aoe_dyndevs is 0, can without a warning.",
        source: "lin",
        file: "crates/kvblade-dpdk/tests/end_to_end/live_management.rs",
        test: "a_shelf_that_linux_ignores_is_served_with_a_warning",
    },
    Elsewhere {
        rule: "13. Trailing bytes are ignored.",
        source: "tools",
        file: ATA,
        test: "trailing_bytes_are_ignored",
    },
    Elsewhere {
        rule: "14. WinAoE discovers with IDENTIFY, reads and writes by broadcast, probes the payload, keeps 64 in flight.",
        source: "win",
        file: INITIATORS,
        test: "winaoe_keeps_64_in_flight",
    },
    Elsewhere {
        rule: "15. iPXE asks one address by broadcast and reads 2 sectors at a time.",
        source: "ipxe",
        file: INITIATORS,
        test: "ipxe_asks_one_address_by_broadcast_and_reads_two_sectors",
    },
    Elsewhere {
        rule: "16. Plan 9 keeps 128 in flight and tests status with a9.",
        source: "p9",
        file: INITIATORS,
        test: "plan_9_keeps_128_in_flight_and_tests_status_with_a9",
    },
    Elsewhere {
        rule: "17. A target that was killed is back at once with the same disks.",
        source: "lin",
        file: "crates/kvblade-dpdk/tests/end_to_end/restart.rs",
        test: "after_a_kill_it_starts_again_at_once_on_the_same_socket_with_the_same_disks",
    },
    Elsewhere {
        rule: "18. Linux asks for the size of an open device when told to, and the device stays up.",
        source: "tools, lab",
        file: "scripts/lab/guest/initiator",
        test: "aoe-revalidate keeps $disk up",
    },
];
