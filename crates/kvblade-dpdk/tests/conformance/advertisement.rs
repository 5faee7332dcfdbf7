//! Rules of what is said unasked.

use crate::bench::BROADCAST;
use crate::case::Peer::Differs;
use crate::case::{Case, Elsewhere};

pub(crate) const CASES: &[Case] = &[Case {
    name: "an_export_is_advertised_at_start",
    rule: "At start a config answer with tag 0 goes to everybody.",
    source: "srx",
    us: "to everybody, byte 14 18, command 1, tag 0, byte 29 10, 60 bytes",
    vblade: Differs(
        "to everybody, byte 14 08, command 1, tag 0, byte 29 10, 32 bytes",
        "its advertisement has version 0 and no padding",
    ),
    run: |bench| match bench.heard.first() {
        None => "nothing heard".into(),
        Some(frame) => format!(
            "to {}, byte 14 {:02x}, command {}, tag {}, byte 29 {:02x}, {} bytes",
            if frame[..6] == BROADCAST { "everybody" } else { "someone" },
            frame[14],
            frame[19],
            u32::from_be_bytes([frame[20], frame[21], frame[22], frame[23]]),
            frame.get(29).unwrap_or(&0),
            frame.len()
        ),
    },
}];

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "A config string that changed is advertised.",
        source: "srx",
        file: "crates/kvblade-dpdk/tests/end_to_end/initiator_state.rs",
        test: "a_changed_string_is_advertised",
    },
    Elsewhere {
        rule: "An export is advertised when its link comes up.",
        source: "srx",
        file: "crates/kvblade-dpdk/tests/end_to_end/links.rs",
        test: "a_link_that_goes_down_under_load_is_served_and_announced_on_when_it_is_up_again",
    },
    Elsewhere {
        rule: "An export that is added is advertised, and again when the operator asks.",
        source: "srx",
        file: "crates/kvblade-dpdk/tests/end_to_end/commands.rs",
        test: "kvadd_serves_a_file_or_bdev_kvstat_lists_it_kvannounce_tells_of_it_and_kvdel_ends_it",
    },
];
