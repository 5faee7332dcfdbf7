//! Rules of command 3, reserve and release.

use crate::bench::{Bench, words};
use crate::case::Peer::Same;
use crate::case::{Case, Elsewhere};
use crate::initiators::tcpdump;

/// An initiator without a reservation.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "nobody_has_a_reservation_at_first",
        rule: "RCmd 0 returns the list.",
        source: "spec, vb",
        us: "list of 0",
        vblade: Same,
        run: |bench| {
            let request = bench.message(3, &[0, 0]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_reservation_keeps_others_from_the_disk",
        rule: "While reserved, ATA from an unlisted address is AoE error 6; the listed are served.",
        source: "spec, vb, srx",
        us: "list of 1; other: AoE error 6, AoE error 6, AoE error 6; listed: status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let reserved = reserve(bench, 1, &[bench.own]);
            let other = as_other(bench, |bench| {
                [bench.read(0, 1), bench.write(0, 1, &[0; 512]), bench.ata(0, 0, 0xe7, 0, &[])]
                    .map(|request| bench.seen(&request))
                    .join(", ")
            });
            let request = bench.read(0, 1);
            format!("{reserved}; other: {other}; listed: {}", bench.seen(&request))
        },
    },
    Case {
        name: "identify_is_answered_while_reserved",
        rule: "IDENTIFY is exempt, and so are config, mask and reserve messages.",
        source: "vb, srx",
        us: "status 40 error 00, 512 bytes, string \"\", list of 0, MError 0, list of 1",
        vblade: Same,
        run: |bench| {
            reserve(bench, 1, &[bench.own]);
            as_other(bench, |bench| {
                let requests = [
                    bench.identify(),
                    bench.config(0, &[]),
                    bench.message(2, &[0; 4]),
                    bench.message(3, &[0, 0]),
                ];
                requests.map(|request| bench.seen(&request)).join(", ")
            })
        },
    },
    Case {
        name: "only_the_listed_may_change_a_reservation",
        rule: "RCmd 1 from an unlisted address is AoE error 6 while there is a list, a release included.",
        source: "spec, vb",
        us: "AoE error 6, AoE error 6; list of 1",
        vblade: Same,
        run: |bench| {
            reserve(bench, 1, &[bench.own]);
            let other =
                as_other(bench, |bench| [reserve(bench, 1, &[OTHER]), reserve(bench, 1, &[])].join(", "));
            format!("{other}; {}", reserve(bench, 0, &[]))
        },
    },
    Case {
        name: "the_refusal_of_a_reservation_carries_the_list",
        rule: "Error 6 to a reserve message shows who holds it.",
        source: "srx",
        us: "AoE error 6, list of 1",
        vblade: Same,
        run: |bench| {
            reserve(bench, 1, &[bench.own]);
            as_other(bench, |bench| {
                let request = bench.message(3, &[&[1, 1][..], &OTHER].concat());
                bench.ask(&request).map_or("silence".into(), |reply| {
                    format!("{}, list of {}", words(Some(&reply)), reply.get(25).unwrap_or(&0))
                })
            })
        },
    },
    Case {
        name: "a_reservation_can_be_forced",
        rule: "RCmd 2 always works: who was listed before is out.",
        source: "spec, vb",
        us: "list of 1; AoE error 6",
        vblade: Same,
        run: |bench| {
            reserve(bench, 1, &[bench.own]);
            let forced = as_other(bench, |bench| reserve(bench, 2, &[OTHER]));
            let request = bench.read(0, 1);
            format!("{forced}; {}", bench.seen(&request))
        },
    },
    Case {
        name: "a_list_of_none_releases",
        rule: "NMacs 0 from a listed address ends the reservation.",
        source: "spec, vb",
        us: "list of 0; other: status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            reserve(bench, 1, &[bench.own]);
            let released = reserve(bench, 1, &[]);
            let other = as_other(bench, |bench| {
                let request = bench.read(0, 1);
                bench.seen(&request)
            });
            format!("{released}; other: {other}")
        },
    },
    Case {
        name: "a_reservation_has_up_to_255_addresses",
        rule: "NMacs is a byte, and each of them may use the disk.",
        source: "spec, gg",
        us: "list of 255; other: status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let mut macs: Vec<_> = (1..255).map(|n| [2, 1, 0, 0, 0, n]).collect();
            macs.push(OTHER);
            let reserved = reserve(bench, 1, &macs);
            let other = as_other(bench, |bench| {
                let request = bench.read(0, 1);
                bench.seen(&request)
            });
            format!("{reserved}; other: {other}")
        },
    },
    Case {
        name: "a_cut_list_or_unknown_reserve_command_is_error_2",
        rule: "A list that the frame does not hold, and an RCmd no one has defined, are AoE error 2.",
        source: "vb, srx",
        us: "AoE error 2; AoE error 2; list of 0",
        vblade: Same,
        run: |bench| {
            let cut = bench.message(3, &[1, 2, 2, 0, 0, 0, 0, 7]);
            let unknown = bench.message(3, &[9, 0]);
            [cut, unknown, bench.message(3, &[0, 0])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "a_reserve_message_needs_26_bytes",
        rule: "A shorter one is dropped.",
        source: "vb",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = bench.message(3, &[0]);
            bench.seen(&request)
        },
    },
    Case {
        name: "tcpdump_decodes_reserve_replies",
        rule: "tcpdump reads our reserve replies without a remark.",
        source: "tcpd",
        us: "Reserve/Release, nothing invalid",
        vblade: Same,
        run: |bench| {
            // Six addresses fill a frame: tcpdump takes the padding of a shorter reply for invalid.
            let own = bench.own;
            let macs: Vec<_> = (1..6).map(|n| [2, 1, 0, 0, 0, n]).chain([own]).collect();
            let set = bench.message(3, &[&[1, 6], &macs.concat()[..]].concat());
            let requests = [set, bench.message(3, &[0, 0])];
            let replies = requests.map(|request| bench.ask(&request).unwrap_or_default());
            tcpdump(&replies, &["Reserve/Release"])
        },
    },
];

fn reserve(bench: &mut Bench<'_>, command: u8, macs: &[[u8; 6]]) -> String {
    let count = u8::try_from(macs.len()).unwrap_or(u8::MAX);
    let request = bench.message(3, &[&[command, count], &macs.concat()[..]].concat());
    bench.seen(&request)
}

/// Does `work` under another address.
fn as_other(bench: &mut Bench<'_>, work: impl FnOnce(&mut Bench<'_>) -> String) -> String {
    let own = std::mem::replace(&mut bench.own, OTHER);
    let seen = work(bench);
    bench.own = own;
    seen
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[Elsewhere {
    rule: "A reservation belongs to the disk: made on one port, it holds on the others.",
    source: "srx, trap 9",
    file: "crates/kvblade-dpdk/tests/end_to_end/initiator_state.rs",
    test: "a_reservation_made_on_one_port_holds_on_the_other",
}];
