//! Rules of frames with VLAN tags: who is reached by which tag, and with which an answer leaves.
//!
//! Sent frames carry the tags in their bytes, and the kernel reports the tags that it removed from received frames, so no
//! VLAN interface is needed. vblade has none here either: its socket receives the frames of the parent interface.

use crate::bench::{Bench, Other, Tagged, VLAN, words};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

/// Of a customer's VLAN, and of a provider's.
const CUSTOMER: u16 = 0x8100;
const PROVIDER: u16 = 0x88a8;

/// Priority 3 in the export's VLAN.
const TCI: u16 = 3 << 13 | VLAN;

const STRIPPED: &str = "the kernel takes the tag out of what reaches its socket, and it neither asks for the tag nor \
                        sends one";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a_request_in_its_vlan_is_answered_there_with_the_same_priority",
        rule: "An export in a VLAN answers a request with that tag, by a frame with the same VLAN and priority.",
        source: "own",
        us: "VLAN 100 priority 3: string \"\"; VLAN 100 priority 3: status 40 error 00, 512 bytes; VLAN 100 priority 0: status 40 error 00, 512 bytes",
        vblade: Differs(
            "untagged: string \"\"; untagged: status 40 error 00, 512 bytes; untagged: status 40 error 00, 512 bytes",
            STRIPPED,
        ),
        run: |bench| {
            bench.go_to(Other::InVlan);
            let query = bench.config(0, &[]);
            let query = seen(bench, &query, &[(CUSTOMER, TCI)]);
            let read = bench.read(0, 1);
            let read = seen(bench, &read, &[(CUSTOMER, TCI)]);
            let again = bench.read(1, 1);
            format!("{query}; {read}; {}", seen(bench, &again, &[(CUSTOMER, VLAN)]))
        },
    },
    Case {
        name: "an_untagged_request_does_not_reach_an_export_in_a_vlan",
        rule: "Without a tag, or with a priority alone, nobody reaches an export in a VLAN.",
        source: "own",
        us: "silence; silence",
        vblade: Differs(
            "untagged: status 40 error 00, 512 bytes; untagged: status 40 error 00, 512 bytes",
            "it is in no VLAN",
        ),
        run: |bench| {
            bench.go_to(Other::InVlan);
            let plain = bench.read(0, 1);
            let plain = seen(bench, &plain, &[]);
            let priority = bench.read(0, 1);
            format!("{plain}; {}", seen(bench, &priority, &[(CUSTOMER, 3 << 13)]))
        },
    },
    Case {
        name: "a_request_in_another_vlan_does_not_reach_it",
        rule: "Nor does a request in another VLAN, 4095, which is none, included.",
        source: "own",
        us: "silence; silence",
        vblade: Differs(
            "untagged: status 40 error 00, 512 bytes; untagged: status 40 error 00, 512 bytes",
            STRIPPED,
        ),
        run: |bench| {
            bench.go_to(Other::InVlan);
            [VLAN + 1, 4095]
                .map(|vlan| {
                    let request = bench.read(0, 1);
                    seen(bench, &request, &[(CUSTOMER, vlan)])
                })
                .join("; ")
        },
    },
    Case {
        name: "a_request_in_a_vlan_does_not_reach_an_export_outside_of_any",
        rule: "An export outside of any VLAN is not reached from within one, by its address or by a wildcard.",
        source: "own",
        us: "silence; silence",
        vblade: Differs("untagged: string \"\"; untagged: string \"\"", STRIPPED),
        run: |bench| {
            let plain = bench.config(0, &[]);
            let plain = seen(bench, &plain, &[(CUSTOMER, TCI)]);
            let wildcard = crate::bench::with(bench.config(0, &[]), 16, &[0xff; 3]);
            format!("{plain}; {}", seen(bench, &wildcard, &[(CUSTOMER, TCI)]))
        },
    },
    Case {
        name: "a_priority_is_no_vlan_and_is_answered_untagged",
        rule: "A tag with VLAN 0 gives a priority and no VLAN: who is outside of any answers, without a tag.",
        source: "own",
        us: "untagged: string \"\"; untagged: status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let query = bench.config(0, &[]);
            let query = seen(bench, &query, &[(CUSTOMER, 5 << 13)]);
            let read = bench.read(0, 1);
            format!("{query}; {}", seen(bench, &read, &[(CUSTOMER, 0)]))
        },
    },
    Case {
        name: "a_frame_with_two_tags_reaches_nobody",
        rule: "A frame with two tags is dropped, whichever they are.",
        source: "own",
        us: "silence; silence; silence",
        vblade: Same,
        run: |bench| {
            bench.go_to(Other::InVlan);
            [[CUSTOMER, CUSTOMER], [PROVIDER, CUSTOMER], [CUSTOMER, PROVIDER]]
                .map(|protocols| {
                    let request = bench.read(0, 1);
                    seen(bench, &request, &protocols.map(|protocol| (protocol, TCI)))
                })
                .join("; ")
        },
    },
    Case {
        name: "a_wildcard_finds_the_exports_of_its_vlan_and_no_others",
        rule: "A wildcard in a VLAN is answered by the exports in it, in the VLAN, and one without a tag by the others.",
        source: "own",
        us: "1 answer, VLAN 100 priority 3, it is there; without a tag it is not there; in another VLAN 0 answers",
        vblade: Differs(
            "1 answer, untagged, it is there; without a tag it is there; in another VLAN 1 answer",
            STRIPPED,
        ),
        run: |bench| {
            bench.go_to(Other::InVlan);
            let mut all = |tags: &[(u16, u16)]| {
                let request = crate::bench::with(bench.config(0, &[]), 16, &[0xff; 3]);
                let answers = bench.answers(&request, &tagged(&request, tags), false).unwrap_or_default();
                let there = answers.iter().any(|(frame, _)| frame[16..19] == bench.address());
                (answers, if there { "it is there" } else { "it is not there" })
            };
            let count = |answers: &[Tagged]| match answers.len() {
                1 => "1 answer".to_owned(),
                count => format!("{count} answers"),
            };
            let (inside, there) = all(&[(CUSTOMER, TCI)]);
            let (_, outside) = all(&[]);
            let (other, _) = all(&[(CUSTOMER, VLAN + 1)]);
            let tag = inside.first().map_or("none".into(), |(_, tag)| tag_words(*tag));
            format!(
                "{}, {tag}, {there}; without a tag {outside}; in another VLAN {}",
                count(&inside),
                count(&other)
            )
        },
    },
    Case {
        name: "an_export_in_a_vlan_is_advertised_there",
        rule: "The advertisement of an export in a VLAN has its tag, with priority 0.",
        source: "own",
        us: "VLAN 100 priority 0: string \"\", 60 bytes",
        vblade: Differs("untagged: string \"\", 32 bytes", "it is in no VLAN, and does not pad"),
        run: |bench| match bench.heard_in_vlan.first() {
            None => "nothing heard".into(),
            Some((frame, tag)) => {
                format!("{}: {}, {} bytes", tag_words(*tag), words(Some(frame)), frame.len())
            }
        },
    },
    Case {
        name: "a_tagged_frame_that_is_cut_is_dropped",
        rule: "A tagged frame that ends within its headers is dropped: behind the EtherType, in the AoE header, in the ATA \
               header.",
        source: "own",
        us: "silence; silence; silence",
        vblade: Same,
        run: |bench| {
            bench.go_to(Other::InVlan);
            [14, 23, 35]
                .map(|length| {
                    let request = bench.read(0, 1);
                    seen(bench, &request[..length], &[(CUSTOMER, TCI)])
                })
                .join("; ")
        },
    },
];

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "Linux's aoe.ko on an interface of its 8021q finds and uses the exports of that VLAN and no others.",
        source: "lin, lab",
        file: "scripts/lab/tests/linux-vlan",
        test: "answers of 1.2 carry the tag of VLAN 5",
    },
    Elsewhere {
        rule: "A tagged write whose data is in several segments, and the counters of every frame that is dropped for its tags.",
        source: "own",
        file: "crates/datapath/tests/ring/vlans.rs",
        test: "answered_in_the_vlan",
    },
];

/// A frame with tags: EtherType, and priority and VLAN of each, the outer one first.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(protocol, tci)| [protocol.to_be_bytes(), tci.to_be_bytes()].concat());
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

/// The tag of an answer, and the answer.
fn seen(bench: &mut Bench<'_>, request: &[u8], tags: &[(u16, u16)]) -> String {
    match bench.answers(request, &tagged(request, tags), true) {
        Ok(mut answers) => match answers.pop() {
            Some((frame, tag)) => format!("{}: {}", tag_words(tag), words(Some(&frame))),
            None => words(None),
        },
        Err(error) => error,
    }
}

fn tag_words(tag: Option<u16>) -> String {
    match tag {
        None => "untagged".into(),
        Some(tci) => format!("VLAN {} priority {}", tci & 0xfff, tci >> 13),
    }
}
