//! Rules of command 1, setting.

use crate::bench::{Bench, string};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "an_empty_string_can_be_set_and_the_same_be_set_again",
        rule: "CCmd 3 stores if ours is empty or identical, and answers with the string.",
        source: "spec, vb",
        us: "string \"mine\"; string \"mine\"; string \"mine\"",
        vblade: Same,
        run: |bench| {
            [bench.config(3, b"mine"), bench.config(3, b"mine"), bench.config(0, &[])]
                .map(|request| bench.seen(&request))
                .join("; ")
        },
    },
    Case {
        name: "a_string_that_is_set_is_not_set_to_another",
        rule: "CCmd 3 with another string is AoE error 4, which carries ours.",
        source: "vb, srx",
        us: "error 4 with mine; string \"mine\"",
        vblade: Same,
        run: |bench| {
            let request = bench.config(3, b"mine");
            bench.seen(&request);
            let request = bench.config(3, b"yours");
            let refused = refusal(bench, &request);
            let request = bench.config(0, &[]);
            format!("{refused}; {}", bench.seen(&request))
        },
    },
    Case {
        name: "a_string_can_be_forced_and_cleared",
        rule: "CCmd 4 stores whatever there was; length 0 clears.",
        source: "spec, vb",
        us: "string \"mine\"; string \"yours\"; string \"\"; string \"\"",
        vblade: Same,
        run: |bench| {
            [bench.config(3, b"mine"), bench.config(4, b"yours"), bench.config(4, &[]), bench.config(0, &[])]
                .map(|request| bench.seen(&request))
                .join("; ")
        },
    },
    Case {
        name: "tests_are_made_against_what_was_set",
        rule: "CCmd 1 wants all of the string and CCmd 2 its beginning.",
        source: "spec, vb",
        us: "string \"mine\"; silence; string \"mine\"; silence",
        vblade: Same,
        run: |bench| {
            let request = bench.config(4, b"mine");
            bench.seen(&request);
            [
                bench.config(1, b"mine"),
                bench.config(1, b"min"),
                bench.config(2, b"min"),
                bench.config(2, b"mines"),
            ]
            .map(|request| bench.seen(&request))
            .join("; ")
        },
    },
    Case {
        name: "1024_bytes_can_be_set",
        rule: "A string has up to 1024 bytes.",
        source: "spec",
        us: "1024 bytes",
        vblade: Same,
        run: |bench| {
            let request = bench.config(4, &[b'x'; 1024]);
            bench.ask(&request).map_or("silence".into(), |reply| format!("{} bytes", string(&reply).len()))
        },
    },
    Case {
        name: "test_and_replace_replaces_what_it_knows",
        rule: "CCmd 5 carries the old string, the length of the new one, and the new one.",
        source: "srx",
        us: "string \"yours\"; error 4 with yours",
        vblade: Differs("AoE error 2; error 2 with mine", "it is Coraid's addition"),
        run: |bench| {
            let request = bench.config(4, b"mine");
            bench.seen(&request);
            // The length in the header is the old string's alone.
            let mut request = bench.config(5, b"mine");
            request.extend(b"\0\x05yours");
            let replaced = bench.seen(&request);
            let mut request = bench.config(5, b"mine");
            request.extend(b"\0\x05other");
            format!("{replaced}; {}", refusal(bench, &request))
        },
    },
];

fn refusal(bench: &mut Bench<'_>, request: &[u8]) -> String {
    bench
        .ask(request)
        .map_or("silence".into(), |reply| format!("error {} with {}", reply[15], string(&reply)))
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "The string is kept through a restart and a kill.",
        source: "desc, gg, srx",
        file: "crates/kvblade-dpdk/tests/end_to_end/state_dir.rs",
        test: "claims_survive_a_restart_and_a_kill",
    },
    Elsewhere {
        rule: "What cannot be made to last is not answered and not done.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/state_dir.rs",
        test: "what_can_not_be_saved_is_not_answered_and_not_done",
    },
];
