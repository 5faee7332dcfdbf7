//! Rules of the common header: who is asked, what is dropped, what a reply looks like.

use crate::bench::{BROADCAST, with};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

const ANY_MAC: &str = "it listens to a packet socket and looks at shelf and slot only";

const EVERY_COMMAND: &str =
    "it takes every command by a wildcard, so one frame overwrites a sector of every disk";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a_reply_has_version_1_and_the_response_flag",
        rule: "Byte 14 of a reply is version 1 with R set; E and the error byte are zero when all is well.",
        source: "spec, desc",
        us: "18 00",
        vblade: Same,
        run: |bench| {
            let request = bench.config(0, &[]);
            bench
                .ask(&request)
                .map_or("silence".into(), |reply| format!("{:02x} {:02x}", reply[14], reply[15]))
        },
    },
    Case {
        name: "the_tag_is_copied_byte_for_byte",
        rule: "The tag is opaque and comes back as it was, whatever its bits.",
        source: "spec, lin, win",
        us: "de ad be ef; 00 00 00 00; ff ff ff fe",
        vblade: Same,
        run: |bench| {
            let tags = [[0xde, 0xad, 0xbe, 0xef], [0; 4], [0xff, 0xff, 0xff, 0xfe]];
            let answers = tags.map(|tag| {
                let request = with(bench.identify(), 20, &tag);
                bench.ask(&request).map_or("silence".into(), |reply| {
                    reply[20..24].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
                })
            });
            answers.join("; ")
        },
    },
    Case {
        name: "a_reply_goes_to_the_sender_from_the_port_that_heard_it",
        rule: "Destination of a reply is the request's source, its source is the port's address, also when the request was broadcast.",
        source: "spec, srx",
        us: "from the port to the sender",
        vblade: Same,
        run: |bench| {
            let request = with(bench.config(0, &[]), 0, &BROADCAST);
            match bench.ask(&request) {
                Some(reply) if reply[..6] == bench.own && reply[6..12] == bench.target => {
                    "from the port to the sender".into()
                }
                other => format!("{other:02x?}"),
            }
        },
    },
    Case {
        name: "a_wildcard_shelf_and_slot_is_answered_with_the_own_address",
        rule: "Shelf ffff and slot ff address everyone; the answer has the export's own.",
        source: "spec, desc, gg, vb",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = with(bench.config(0, &[]), 16, &[0xff; 3]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_wildcard_shelf_alone_is_answered",
        rule: "The shelf may be a wildcard by itself.",
        source: "desc, gg, vb",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = with(bench.config(0, &[]), 16, &[0xff; 2]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_wildcard_slot_alone_is_answered",
        rule: "The slot may be a wildcard by itself.",
        source: "desc, gg, vb",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = with(bench.config(0, &[]), 18, &[0xff]);
            bench.seen(&request)
        },
    },
    Case {
        name: "identify_works_with_a_wildcard",
        rule: "A wildcard works with IDENTIFY too, by which WinAoE finds disks.",
        source: "win, vb",
        us: "status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let request = with(bench.identify(), 16, &[0xff; 3]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_wildcard_that_reads_or_changes_a_disk_is_dropped",
        rule: "No other ATA command works with a wildcard: read, write, flush and TRIM of every disk are of no use to anybody.",
        source: "own",
        us: "silence; silence; silence; silence; sector kept",
        vblade: Differs(
            "status 40 error 00, 512 bytes; status 40 error 00; status 41 error 04; status 41 error 04; sector changed",
            EVERY_COMMAND,
        ),
        run: |bench| {
            let trim = [&[0; 6][..], &[1, 0], &[0; 504]].concat();
            let requests = [
                bench.read(0, 1),
                bench.write(0, 1, &[0x7e; 512]),
                bench.ata(0x40, 0, 0xea, 0, &[]),
                bench.message(0, &[&[0x41, 1, 1, 0x06], &[0; 8][..], &trim].concat()),
            ];
            let seen = requests.map(|request| bench.seen(&with(request, 16, &[0xff; 3]))).join("; ");
            let read = bench.read(0, 1);
            let sector = bench.ask(&read).unwrap_or_default();
            let kept = sector.len() == 36 + 512 && sector[36..].iter().all(|byte| *byte == 0);
            format!("{seen}; sector {}", if kept { "kept" } else { "changed" })
        },
    },
    Case {
        name: "a_wildcard_message_that_is_no_query_is_dropped",
        rule: "Config set, MAC masks, reservations and unknown commands name one disk.",
        source: "own",
        us: "silence; silence; silence; silence; silence; string \"\"",
        vblade: Differs(
            "string \"everybody\"; string \"everybody\"; list of 0, MError 0; list of 0; AoE error 1; string \"everybody\"",
            EVERY_COMMAND,
        ),
        run: |bench| {
            let requests = [
                bench.config(3, b"everybody"),
                bench.config(4, b"everybody"),
                bench.message(2, &[0; 4]),
                bench.message(3, &[0; 2]),
                bench.message(0xf0, &[0; 36]),
            ];
            let seen = requests.map(|request| bench.seen(&with(request, 16, &[0xff; 3]))).join("; ");
            let query = bench.config(0, &[]);
            format!("{seen}; {}", bench.seen(&query))
        },
    },
    Case {
        name: "a_response_is_dropped",
        rule: "Frames with R set are not requests.",
        source: "spec, vb, srx",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = with(bench.identify(), 14, &[0x18]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_shelf_or_slot_not_served_is_dropped",
        rule: "A frame for another shelf or slot gets no answer.",
        source: "spec, vb",
        us: "silence; silence",
        vblade: Same,
        run: |bench| {
            let slot = 250;
            let requests = [with(bench.identify(), 16, &[9, 9]), with(bench.identify(), 18, &[slot])];
            requests.map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_frame_without_a_whole_header_is_dropped",
        rule: "Less than 24 bytes is not AoE.",
        source: "vb",
        us: "silence; silence",
        vblade: Same,
        run: |bench| {
            [15, 23]
                .map(|length| {
                    let request = bench.identify();
                    bench.seen(&request[..length])
                })
                .join("; ")
        },
    },
    Case {
        name: "another_ethertype_is_dropped",
        rule: "Only EtherType 88a2 is AoE.",
        source: "spec",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = with(bench.identify(), 12, &[0x88, 0xa3]);
            bench.seen(&request)
        },
    },
    Case {
        name: "another_version_is_dropped",
        rule: "Version 1 is the only one; others are dropped, as error 5 is sent by no target.",
        source: "srx",
        us: "silence; silence; silence",
        vblade: Differs(
            "status 40 error 00, 512 bytes; status 40 error 00, 512 bytes; status 40 error 00, 512 bytes",
            "it never looks at the version",
        ),
        run: |bench| {
            [0x00, 0x20, 0xf0]
                .map(|version| {
                    let request = with(bench.identify(), 14, &[version]);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
    Case {
        name: "a_source_that_is_a_group_is_dropped",
        rule: "A broadcast or multicast source cannot be answered.",
        source: "srx",
        us: "silence; silence",
        vblade: Differs(
            "status 40 error 00, 512 bytes; status 40 error 00, 512 bytes",
            "it answers to any source, so that one forged frame becomes a broadcast of its own",
        ),
        run: |bench| {
            [BROADCAST, [1, 0, 0x5e, 0, 0, 1]]
                .map(|source| {
                    let request = with(bench.identify(), 6, &source);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
    Case {
        name: "a_frame_for_another_address_is_dropped",
        rule: "A unicast frame to another address is not ours.",
        source: "spec",
        us: "silence",
        vblade: Differs("status 40 error 00, 512 bytes", ANY_MAC),
        run: |bench| {
            let request = with(bench.identify(), 0, &[2, 0, 0, 0, 0, 9]);
            bench.seen(&request)
        },
    },
    Case {
        name: "requests_need_not_be_padded",
        rule: "32 bytes are a whole config query and 36 a whole IDENTIFY.",
        source: "lab, trap 4",
        us: "string \"\"; status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let requests = [bench.config(0, &[]), bench.identify()];
            requests.map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_message_shorter_than_its_command_is_dropped",
        rule: "ATA needs 36 bytes and config 32.",
        source: "vb",
        us: "silence; silence",
        vblade: Same,
        run: |bench| {
            let ata = bench.identify();
            let config = bench.config(0, &[]);
            [&ata[..35], &config[..31]].map(|request| bench.seen(request)).join("; ")
        },
    },
    Case {
        name: "every_reply_is_padded_to_60_bytes",
        rule: "No reply is shorter than an Ethernet frame, and what pads it is zero.",
        source: "tools, lab, trap 3",
        us: "config 60, write 60, error 60; zeroes",
        vblade: Differs(
            "config 32, write 60, error 60; leftovers",
            "a config reply is as long as what it says, so that aoeping fails on veth; the rest of others is what the buffer held",
        ),
        run: |bench| {
            let requests =
                [bench.config(0, &[]), bench.write(0, 1, &[7; 512]), bench.message(0x10, &[0; 36])];
            let [config, write, error] = requests.map(|request| bench.ask(&request).unwrap_or_default());
            let tails = [(&config, 32), (&write, 36)];
            let clean = tails.iter().all(|(frame, from)| frame.get(*from..).is_some_and(zeroes));
            format!(
                "config {}, write {}, error {}; {}",
                config.len(),
                write.len(),
                error.len(),
                if clean { "zeroes" } else { "leftovers" }
            )
        },
    },
    Case {
        name: "an_unknown_command_is_error_1",
        rule: "A command no one has defined, the vendors' included, is AoE error 1.",
        source: "spec, vb, srx",
        us: "AoE error 1; AoE error 1; AoE error 1",
        vblade: Same,
        run: |bench| {
            [0x05, 0x7f, 0xf0]
                .map(|command| {
                    let request = bench.message(command, &[0; 36]);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
];

fn zeroes(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[Elsewhere {
    rule: "Every drop is counted under its own reason.",
    source: "own",
    file: "crates/kvblade-dpdk/tests/end_to_end/bad_frames.rs",
    test: "every_frame_that_deserves_no_answer_is_dropped_under_its_own_reason",
}];
