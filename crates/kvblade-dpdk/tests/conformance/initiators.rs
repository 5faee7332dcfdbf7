//! Documented requests of initiators, replayed; requests built by scapy; replies decoded by tcpdump.

use std::process::Command;

use crate::bench::{BROADCAST, Bench, with};
use crate::case::Peer::{Differs, Same};
use crate::case::{Case, Elsewhere};

/// Reads and identifies with frames of scapy's own making, of which it parses the answers.
const SCAPY: &str = r#"
import logging, sys
logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import AsyncSniffer, Ether, sendp
from scapy.contrib.aoe import AOE, IssueATACommand, QueryConfigInformation

interface, mac, own, shelf, slot = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
said = []
query, identify = QueryConfigInformation(), IssueATACommand(sector_count=1, cmd_status=0xec)
for tag, body in (0x11, dict(cmd=1, q_conf_info=query)), (0x12, dict(cmd=0, i_ata_cmd=identify)):
    request = Ether(dst=mac, src=own, type=0x88a2) / AOE(major=shelf, minor=slot, tag=tag, **body)
    ours = lambda frame: AOE in frame and frame[AOE].tag == tag and frame[Ether].src == mac
    send = lambda: sendp(request, iface=interface, verbose=0)
    sniffer = AsyncSniffer(iface=interface, count=1, timeout=20, lfilter=ours, started_callback=send)
    sniffer.start()
    sniffer.join()
    if not sniffer.results:
        said.append("silence")
        continue
    reply = sniffer.results[0][AOE]
    whose = "own" if (reply.major, reply.minor) == (shelf, slot) else "other"
    what = "status %x" % reply.i_ata_cmd.cmd_status if reply.cmd == 0 else "version %d" % reply.q_conf_info.aoe
    said.append("error %d, command %d, %s address, %s" % (reply.error, reply.cmd, whose, what))
print("; ".join(said))
"#;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "linux_discovers_by_broadcast",
        rule: "aoe.ko broadcasts a config query to all shelves and slots with bit 31 of the tag clear; the answer must have it clear.",
        source: "lin",
        us: "string \"\"",
        vblade: Same,
        run: |bench| {
            let request = with(with(bench.config(0, &[]), 0, &BROADCAST), 16, &[0xff, 0xff, 0xff]);
            bench.seen(&request)
        },
    },
    Case {
        name: "ipxe_asks_one_address_by_broadcast_and_reads_two_sectors",
        rule: "iPXE broadcasts a config query with one address and its own tags, then reads at most 2 sectors at a time.",
        source: "ipxe, trap 15",
        us: "string \"\"; status 40 error 00, 1024 bytes",
        vblade: Same,
        run: |bench| {
            let query = with(with(bench.config(0, &[]), 0, &BROADCAST), 20, &[0x18, 0xae, 0, 1]);
            let read = with(bench.ata(0x40, 2, 0x24, 0, &[]), 20, &[0x18, 0xae, 0, 2]);
            [query, read].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "winaoe_discovers_with_a_broadcast_wildcard_identify",
        rule: "WinAoE finds disks with IDENTIFY, flag E set, to everybody and every address, its tag little endian.",
        source: "win, trap 14",
        us: "status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let request = bench.ata(0x40, 1, 0xec, 0, &[]);
            let request = with(with(request, 0, &BROADCAST), 16, &[0xff, 0xff, 0xff, 0, 1, 0, 0, 0]);
            bench.seen(&request)
        },
    },
    Case {
        name: "winaoe_reads_and_writes_by_broadcast",
        rule: "Until the first reply WinAoE sends reads and writes to the broadcast address.",
        source: "win, trap 14",
        us: "status 40 error 00; status 40 error 00, 512 bytes",
        vblade: Same,
        run: |bench| {
            let write = with(bench.write(70, 1, &[0x77; 512]), 0, &BROADCAST);
            let read = with(bench.read(70, 1), 0, &BROADCAST);
            [write, read].map(|request| bench.seen(&request)).join("; ")
        },
    },
    Case {
        name: "winaoe_probes_the_payload_sector_by_sector",
        rule: "WinAoE reads 1, 2, 3... sectors and takes the last that is answered with data.",
        source: "win, trap 14",
        us: "1 to 16 sectors with data, then status 41 error 04",
        vblade: Differs(
            "1 to 17 sectors with data, then AoE error 2",
            "it advertises 17 and refuses the next by an AoE error",
        ),
        run: |bench| {
            let mut most = 0;
            loop {
                let request = bench.read(0, most + 1);
                let reply = bench.ask(&request).unwrap_or_default();
                if reply.len() != 36 + 512 * (usize::from(most) + 1) || most > 30 {
                    return format!(
                        "1 to {most} sectors with data, then {}",
                        crate::bench::words(Some(&reply))
                    );
                }
                most += 1;
            }
        },
    },
    Case {
        name: "winaoe_keeps_64_in_flight",
        rule: "WinAoE sends 64 reads at once whatever the buffer count is.",
        source: "win, trap 14",
        us: "64 of 64 answered",
        vblade: Same,
        run: |bench| {
            let requests: Vec<_> = (0..64).map(|lba| bench.read(lba, 2)).collect();
            bench.flood(&requests, |reply| reply.len() == 1060)
        },
    },
    Case {
        name: "plan_9_keeps_128_in_flight_and_tests_status_with_a9",
        rule: "Plan 9 sends 128 requests at once and fails any whose status has a bit of a9.",
        source: "p9, trap 16",
        us: "128 of 128 answered",
        vblade: Same,
        run: |bench| {
            let data = [0x39; 1024];
            let requests: Vec<_> = (0..128)
                .map(|n| if n % 2 == 0 { bench.read(n, 2) } else { bench.write(n, 2, &data) })
                .collect();
            bench.flood(&requests, |reply| reply[27] & 0xa9 == 0)
        },
    },
    Case {
        name: "repeated_writes_are_carried_out_again",
        rule: "Writes are repeated and late; nothing marks them, so each is carried out and answered.",
        source: "spec, trap 11",
        us: "status 40 error 00; status 40 error 00",
        vblade: Same,
        run: |bench| {
            let request = bench.write(90, 1, &[9; 512]);
            [&request, &request].map(|request| bench.seen(request)).join("; ")
        },
    },
    Case {
        name: "scapys_requests_are_answered_and_it_parses_the_answers",
        rule: "Requests that scapy's AoE layer builds are requests, and it reads the replies.",
        source: "own",
        us: "error 0, command 1, own address, version 1; error 0, command 0, own address, status 40",
        vblade: Same,
        run: scapy,
    },
    Case {
        name: "tcpdump_decodes_config_and_ata_replies",
        rule: "tcpdump's AoE decoder reads our replies without a remark.",
        source: "tcpd",
        us: "Query Config Information, Issue ATA Command, nothing invalid",
        vblade: Same,
        run: |bench| {
            let requests = [bench.config(0, &[]), bench.identify()];
            let replies = requests.map(|request| bench.ask(&request).unwrap_or_default());
            tcpdump(&replies, &["Query Config Information", "Issue ATA Command"])
        },
    },
];

fn mac(bytes: &[u8; 6]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn scapy(bench: &mut Bench<'_>) -> String {
    // Debian's own: a python3 of the user's that comes first in the path knows no python3-scapy.
    let mut command = bench.namespace.command("/usr/bin/python3");
    command.args(["-c", SCAPY, bench.link.interface(), &mac(&bench.target), &mac(&bench.own)]);
    command.args([bench.shelf.to_string(), bench.slot.to_string()]);
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => format!("python3-scapy: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("python3: {error}"),
    }
}

/// The words of `wanted` in tcpdump's decoding of `frames`, and whether tcpdump reports an error.
pub(crate) fn tcpdump(frames: &[Vec<u8>], wanted: &[&str]) -> String {
    // libpcap's classic format: little endian, microseconds, Ethernet.
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1u32] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap_or_default();
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    let run = || -> std::io::Result<String> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("replies.pcap");
        std::fs::write(&path, file)?;
        let output = Command::new("tcpdump").args(["-e", "-vv", "-n", "-r"]).arg(&path).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let said = match run() {
        Ok(said) => said,
        Err(error) => return format!("tcpdump: {error}"),
    };
    let mut seen: Vec<&str> = wanted.iter().filter(|words| said.contains(**words)).copied().collect();
    let faults = ["invalid", "[|aoe]", "trunc", "unknown"];
    let fault = faults.iter().find(|fault| said.contains(**fault));
    seen.push(fault.unwrap_or(&"nothing invalid"));
    seen.join(", ")
}

pub(crate) const ELSEWHERE: &[Elsewhere] = &[Elsewhere {
    rule: "A machine without a disk boots from an export by iPXE: the export's boot loader, kernel and root.",
    source: "ipxe, lin, lab, trap 15",
    file: "scripts/lab/tests/ipxe-linux",
    test: "its root is the disk's second partition",
}];
