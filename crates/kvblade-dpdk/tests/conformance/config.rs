//! Rules of command 1, query and tests. Setting is in `config_set`.

use crate::bench::with;
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a_read_is_always_answered",
        rule: "CCmd 0 is answered whatever length and data the request carries: aoeping sends length 1024 of junk, aoecfg 1056 bytes.",
        source: "spec, tools, trap 13",
        us: "string \"\"; string \"\"; string \"\"",
        vblade: Same,
        run: |bench| {
            let short = with(bench.config(0, &[]), 30, &[4, 0]);
            let long = bench.config(0, &[0x55; 1024]);
            let plain = bench.config(0, &[]);
            [plain, short, long].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_test_for_the_string_is_answered",
        rule: "CCmd 1 is answered if length and bytes are equal.",
        source: "spec, vb",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = bench.config(1, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_test_for_another_string_is_dropped",
        rule: "CCmd 1 with another string is met with silence.",
        source: "spec, vb",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = bench.config(1, b"another");
            bench.seen(&request)
        },
    },
    Case {
        name: "a_prefix_test_for_the_beginning_is_answered",
        rule: "CCmd 2 is answered if the request is a prefix of ours; nothing is a prefix of everything.",
        source: "spec, vb",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = bench.config(2, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_prefix_test_for_another_beginning_is_dropped",
        rule: "CCmd 2 with what is no prefix is met with silence.",
        source: "spec, vb",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = bench.config(2, b"a");
            bench.seen(&request)
        },
    },
    Case {
        name: "an_unknown_config_command_is_error_2",
        rule: "A CCmd that no one has defined is AoE error 2.",
        source: "spec, srx",
        us: "AoE error 2; AoE error 2",
        vblade: Same,
        run: |bench| {
            [bench.config(6, &[]), bench.config(15, &[])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_string_that_is_longer_than_its_frame_or_1024_is_dropped",
        rule: "A length above 1024 or beyond the frame is dropped on everything but a read.",
        source: "srx",
        us: "silence; silence",
        vblade: Same,
        run: |bench| {
            let beyond = with(bench.config(1, &[]), 30, &[0, 200]);
            let above = bench.config(1, &[b'x'; 1025]);
            [beyond, above].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "an_answer_has_version_1_and_the_command",
        rule: "Byte 29 is version 1 and the CCmd that is answered.",
        source: "spec, vb",
        us: "10 11 12",
        vblade: Same,
        run: |bench| {
            [0, 1, 2]
                .map(|ccmd| {
                    let request = bench.config(ccmd, &[]);
                    bench.ask(&request).map_or("silence".into(), |reply| format!("{:02x}", reply[29]))
                })
                .join(" ")
        },
    },
    Case {
        name: "the_buffer_count_is_at_least_2",
        rule: "Linux opens its window at half the buffer count, so 1 would stop it.",
        source: "lin, trap 2",
        us: "at least 2",
        vblade: Same,
        run: |bench| {
            let request = bench.config(0, &[]);
            let count = bench.ask(&request).map_or(0, |reply| u16::from_be_bytes([reply[24], reply[25]]));
            if count >= 2 { "at least 2".into() } else { format!("{count}") }
        },
    },
    Case {
        name: "the_sector_count_is_at_most_16",
        rule: "An MTU of 9000 has room for 17 sectors, which Linux would use: 16 keep whole pages.",
        source: "srx, trap 5",
        us: "16 sectors",
        vblade: Differs("17 sectors", "it advertises whatever fits"),
        run: |bench| {
            let request = bench.config(0, &[]);
            bench.ask(&request).map_or("silence".into(), |reply| format!("{} sectors", reply[28]))
        },
    },
];

pub(crate) const ELSEWHERE: &[Elsewhere] = &[];
