//! Rules of command 2, the MAC mask list.

use crate::bench::{Bench, with};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};
use crate::initiators::tcpdump;

/// The MAC address of the witness, and one that is not listed.
const FRIEND: [u8; 6] = [2, 0, 0, 0, 0, 7];

const KILLED: &str = "deleting a listed address kills it: \"buffer overflow detected\"";

const ADD: u8 = 1;
const DELETE: u8 = 2;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the_mask_list_is_empty_at_first",
        rule: "MCmd 0 returns the list; empty, it lets everybody in.",
        source: "spec, vb",
        us: "list of 0, MError 0",
        vblade: Same,
        run: |bench| {
            let request = mask(bench, 0, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "an_edit_runs_its_directives_in_order_and_returns_the_list",
        rule: "Directives add (1), delete (2) and do nothing (0), in order; the answer is the whole list, each with DCmd 0.",
        source: "spec, vb",
        us: "list of 1, MError 0, the last added with DCmd 0",
        vblade: Differs("it is gone", KILLED),
        run: |bench| {
            let own = bench.own;
            let edit = mask(bench, 1, &[(0, FRIEND), (ADD, FRIEND), (ADD, own), (DELETE, FRIEND)]);
            let Some(reply) = bench.try_ask(&edit).unwrap_or_default() else { return "it is gone".into() };
            let listed = reply[29] == 0 && reply[30..36] == own;
            let what = if listed { "the last added with DCmd 0" } else { "something else" };
            format!("{}, {what}", crate::bench::words(Some(&reply)))
        },
    },
    Case {
        name: "adding_what_is_there_and_deleting_what_is_not_succeed",
        rule: "Adding a listed address or deleting an unlisted one changes nothing and is no error.",
        source: "spec, vb",
        us: "list of 1, MError 0; list of 1, MError 0",
        vblade: Same,
        run: |bench| {
            let own = bench.own;
            [&[(ADD, own), (ADD, own)][..], &[(DELETE, FRIEND)]]
                .map(|directives| {
                    let request = mask(bench, 1, directives);
                    bench.seen(&request)
                })
                .join("; ")
        },
    },
    Case {
        name: "a_list_silences_everybody_else",
        rule: "While the list is not empty every message from an unlisted address is ignored: ATA, config, mask, reserve, wildcards.",
        source: "spec, vb, srx",
        us: "list of 1, MError 0; silence; silence; silence; silence; silence; listed: status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            bench.witness = FRIEND;
            let edit = mask(bench, 1, &[(ADD, FRIEND)]);
            let requests = [
                edit,
                bench.identify(),
                bench.config(0, &[]),
                mask(bench, 0, &[]),
                bench.message(3, &[0; 8]),
                with(bench.config(0, &[]), 16, &[0xff; 3]),
            ];
            let seen = requests.map(|request| bench.seen(&request)).join("; ");
            bench.own = FRIEND;
            let request = bench.identify();
            format!("{seen}; listed: {}", bench.seen(&request))
        },
    },
    Case {
        name: "a_bad_directive_stops_the_edit_with_merror_2",
        rule: "An unknown directive stops the edit: MError 2, the number of directives done, and E stays 0.",
        source: "spec, vb",
        us: "flags 8, MError 2, 1 done",
        vblade: Same,
        run: |bench| {
            let own = bench.own;
            let request = mask(bench, 1, &[(ADD, own), (9, FRIEND), (ADD, FRIEND)]);
            stopped(bench, &request)
        },
    },
    Case {
        name: "the_256th_address_is_merror_3",
        rule: "The list has 255 places; one more is MError 3.",
        source: "gg",
        us: "list of 255, MError 0; flags 8, MError 3, 0 done",
        vblade: Differs("list of 32, MError 3; flags 8, MError 3, 0 done", "its list has 32 places"),
        run: |bench| {
            let own = bench.own;
            let mut directives = vec![(ADD, own)];
            directives.extend((1..255).map(|n| (ADD, [2, 1, 0, 0, 0, n])));
            let request = mask(bench, 1, &directives);
            let filled = bench.seen(&request);
            let request = mask(bench, 1, &[(ADD, FRIEND)]);
            format!("{filled}; {}", stopped(bench, &request))
        },
    },
    Case {
        name: "an_unknown_mask_command_is_error_2",
        rule: "An MCmd that no one has defined is AoE error 2.",
        source: "vb, srx",
        us: "AoE error 2",
        vblade: Same,
        run: |bench| {
            let request = mask(bench, 7, &[]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_mask_message_with_a_reserved_byte_is_dropped",
        rule: "Byte 24 is reserved; a message with anything in it is dropped.",
        source: "srx",
        us: "silence",
        vblade: Differs("list of 0, MError 0", "it does not look at it"),
        run: |bench| {
            let request = with(mask(bench, 0, &[]), 24, &[1]);
            bench.seen(&request)
        },
    },
    Case {
        name: "a_mask_message_needs_28_bytes",
        rule: "A shorter one is dropped.",
        source: "vb",
        us: "silence",
        vblade: Same,
        run: |bench| {
            let request = mask(bench, 0, &[]);
            bench.seen(&request[..27])
        },
    },
    Case {
        name: "an_edit_that_lacks_directives_is_error_2",
        rule: "An edit with fewer directives than its count says changes nothing.",
        source: "own",
        us: "AoE error 2; list of 0, MError 0",
        vblade: Differs("list of 1, MError 0; list of 1, MError 0", "it reads what lies behind the frame"),
        run: |bench| {
            let own = bench.own;
            let cut = with(mask(bench, 1, &[(ADD, own)]), 27, &[3]);
            [cut, mask(bench, 0, &[])].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "tcpdump_decodes_mask_replies",
        rule: "tcpdump reads our mask replies without a remark.",
        source: "tcpd",
        us: "MAC Mask List, nothing invalid",
        vblade: Same,
        run: |bench| {
            let own = bench.own;
            let requests = [mask(bench, 1, &[(ADD, own), (ADD, FRIEND)]), mask(bench, 0, &[])];
            let replies = requests.map(|request| bench.try_ask(&request).ok().flatten().unwrap_or_default());
            tcpdump(&replies, &["MAC Mask List"])
        },
    },
];

/// A mask message: MCmd and directives of DCmd and address.
fn mask(bench: &mut Bench<'_>, command: u8, directives: &[(u8, [u8; 6])]) -> Vec<u8> {
    let mut argument = vec![0, command, 0, u8::try_from(directives.len()).unwrap_or(u8::MAX)];
    for (directive, mac) in directives {
        argument.extend([0, *directive]);
        argument.extend(mac);
    }
    bench.message(2, &argument)
}

fn stopped(bench: &mut Bench<'_>, request: &[u8]) -> String {
    match bench.try_ask(request) {
        Ok(Some(reply)) => format!("flags {:x}, MError {}, {} done", reply[14] & 15, reply[26], reply[27]),
        Ok(None) => "silence".into(),
        Err(error) => error,
    }
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        rule: "Advertisements go to the listed addresses, one each, instead of to everybody.",
        source: "vb, srx",
        file: "crates/kvblade-dpdk/tests/end_to_end/initiator_state.rs",
        test: "a_mask_silences_everybody_else_and_advertisements_go_to_its_addresses",
    },
    Elsewhere {
        rule: "An export whose mask is lost to a damaged file is closed until the operator opens it.",
        source: "own",
        file: "crates/kvblade-dpdk/tests/end_to_end/state_dir.rs",
        test: "a_damaged_file_is_named_and_its_export_closed_until_the_operator_opens_it",
    },
];
