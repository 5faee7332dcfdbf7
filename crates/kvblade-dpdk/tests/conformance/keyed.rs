//! Rules of command 4, keyed reserve and release (AoE 1.2).

use crate::bench::Bench;
use crate::case::Case;
use crate::case::Peer::Differs;

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];
const KEY: [u8; 8] = *b"our key.";
const SECOND: [u8; 8] = *b"2nd key.";

const UNKNOWN: &str = "it knows no command 4";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "keyed_status_shows_no_keys_at_first",
        rule: "RCmd 0 answers with type, number of keys, generation, owner and the keys.",
        source: "srx",
        us: "type 0, 0 keys, no owner",
        vblade: Differs("AoE error 1", UNKNOWN),
        run: |bench| keyed(bench, &[0, 0]),
    },
    Case {
        name: "a_registered_key_can_reserve_for_its_addresses",
        rule: "RCmd 1 registers a key with addresses, RCmd 2 reserves with it; then ATA from others is AoE error 6, except IDENTIFY.",
        source: "srx",
        us: "type 0, 1 keys, no owner; type 0, 1 keys, owner our key.; other: AoE error 6, status 40 error 00, 512 bytes; own: status 40 error 00, 512 bytes",
        vblade: Differs(
            "AoE error 1; AoE error 1; other: status 40 error 00, 512 bytes, status 40 error 00, 512 bytes; own: status 40 error 00, 512 bytes",
            UNKNOWN,
        ),
        run: |bench| {
            let own = bench.own;
            let registered = register(bench, KEY, own);
            let reserved = set(bench, 0, KEY);
            bench.own = OTHER;
            let other = [bench.read(0, 1), bench.identify()].map(|request| bench.seen(&request)).join(", ");
            bench.own = own;
            let request = bench.read(0, 1);
            format!("{registered}; {reserved}; other: {other}; own: {}", bench.seen(&request))
        },
    },
    Case {
        name: "type_1_lets_others_read",
        rule: "With RType 1, 3 or 5 those who may not write may read.",
        source: "srx",
        us: "type 1, 1 keys, owner our key.; status 40 error 00, 512 bytes, AoE error 6",
        vblade: Differs("AoE error 1; status 40 error 00, 512 bytes, status 40 error 00", UNKNOWN),
        run: |bench| {
            let own = bench.own;
            register(bench, KEY, own);
            let reserved = set(bench, 1, KEY);
            bench.own = OTHER;
            let requests = [bench.read(0, 1), bench.write(0, 1, &[1; 512])];
            let other = requests.map(|request| bench.seen(&request)).join(", ");
            format!("{reserved}; {other}")
        },
    },
    Case {
        name: "an_unregistered_key_cannot_reserve",
        rule: "A keyed command that fails is AoE error 6.",
        source: "srx",
        us: "AoE error 6",
        vblade: Differs("AoE error 1", UNKNOWN),
        run: |bench| set(bench, 0, KEY),
    },
    Case {
        name: "a_second_registrant_can_replace_the_owner",
        rule: "RCmd 3 takes a reservation from the target key for the new one.",
        source: "srx",
        us: "owner our key.; owner 2nd key.",
        vblade: Differs("AoE error 1; AoE error 1", UNKNOWN),
        run: |bench| {
            let own = bench.own;
            register(bench, KEY, own);
            let first = set(bench, 0, KEY);
            bench.own = OTHER;
            register(bench, SECOND, OTHER);
            let second = keyed(bench, &[&[3, 0, 0, 0][..], &KEY, &SECOND].concat());
            let owner = |seen: &str| seen.rsplit(", ").next().unwrap_or_default().to_owned();
            format!("{}; {}", owner(&first), owner(&second))
        },
    },
    Case {
        name: "a_reservation_by_addresses_shows_as_key_ff_and_is_not_mixed_with_keys",
        rule: "Command 3 is key ff..ff with RType 0, and keyed commands fail meanwhile.",
        source: "srx",
        us: "owner ff; AoE error 6",
        vblade: Differs("AoE error 1; AoE error 1", UNKNOWN),
        run: |bench| {
            let own = bench.own;
            let request = bench.message(3, &[&[1, 1][..], &own].concat());
            bench.seen(&request);
            let request = bench.message(4, &[0, 0]);
            let owner = bench.ask(&request).map_or("silence".into(), |reply| match reply.get(36..44) {
                Some(owner) if reply[14] & 4 == 0 && owner == [0xff; 8] => "owner ff".into(),
                _ => crate::bench::words(Some(&reply)),
            });
            format!("{owner}; {}", register(bench, KEY, own))
        },
    },
    Case {
        name: "an_unknown_keyed_command_is_refused",
        rule: "An RCmd no one has defined is AoE error 2.",
        source: "srx",
        us: "AoE error 2",
        vblade: Differs("AoE error 1", UNKNOWN),
        run: |bench| keyed(bench, &[9, 0]),
    },
];

fn register(bench: &mut Bench<'_>, key: [u8; 8], mac: [u8; 6]) -> String {
    keyed(bench, &[&[1, 1, 0, 0][..], &key, &mac].concat())
}

fn set(bench: &mut Bench<'_>, kind: u8, key: [u8; 8]) -> String {
    keyed(bench, &[&[2, kind, 0, 0][..], &key].concat())
}

fn keyed(bench: &mut Bench<'_>, argument: &[u8]) -> String {
    let request = bench.message(4, argument);
    bench.ask(&request).map_or("silence".into(), |reply| {
        if reply[14] & 4 != 0 || reply.len() < 44 {
            return crate::bench::words(Some(&reply));
        }
        let keys = u16::from_be_bytes([reply[26], reply[27]]);
        let owner = match &reply[36..44] {
            [0, 0, 0, 0, 0, 0, 0, 0] => "no owner".to_owned(),
            owner => format!("owner {}", String::from_utf8_lossy(owner)),
        };
        format!("type {}, {keys} keys, {owner}", reply[25])
    })
}
