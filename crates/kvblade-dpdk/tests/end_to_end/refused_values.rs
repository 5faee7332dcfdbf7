//! Faults of the command line, a file or a name: one sentence names the fault and what is allowed, and
//! nothing starts half.

use std::fs;

use serde_json::json;

use crate::lab::{Lab, refuses};

/// Each `--export` with the sentence after `--export '...': `.
const MALFORMED: [(&str, &str); 13] = [
    ("1.1malloc:8M", "there is no '=': write SHELF.SLOT[@PORT]=BDEV[,option...], such as 1.1=malloc:64M"),
    ("1=malloc:8M", "address \"1\": expected SHELF.SLOT such as 1.2, shelf 0 to 65534, slot 0 to 254"),
    ("1.x=malloc:8M", "slot \"x\": expected a decimal number from 0 to 254"),
    (
        "65535.1=malloc:8M",
        "shelf 65535: expected 0 to 65534 (65535 means every shelf and cannot be a disk's)",
    ),
    ("1.255=malloc:8M", "slot 255: expected 0 to 254 (255 means every slot and cannot be a disk's)"),
    (
        "1.1=",
        "nothing stands after '=': BDEV is a path that begins with / or ./, malloc:SIZE, file:PATH, spdk-aio:PATH, nvme:PCI-ADDRESS[nNSID], \
         rbd:POOL/IMAGE or the name of a bdev that --config defines (bdev:NAME if the name looks like one of these)",
    ),
    (
        "1.1=malloc:1000",
        "size '1000' is not allowed: a size is a positive multiple of 512 bytes, with K, M, G or T for powers of 1024, \
         such as 64M",
    ),
    (
        "1.1=malloc:0",
        "size '0' is not allowed: a size is a positive multiple of 512 bytes, with K, M, G or T for powers of 1024, such \
         as 64M",
    ),
    (
        "1.1=malloc:8X",
        "size '8X' is not allowed: a size is a positive multiple of 512 bytes, with K, M, G or T for powers of 1024, \
         such as 64M",
    ),
    (
        "1.1=malloc:8M,rw",
        "unknown option 'rw', the nearest is 'ro': the options are ro, offset=SECTORS, length=SECTORS, vlan=ID, cache=write-through|write-back, buffers=N, \
         io_timeout=SECONDS, iops=N, bandwidth=BYTES, initiator_iops=N, initiator_bandwidth=BYTES, allow=MAC[+MAC...], deny=MAC[+MAC...], serial=TEXT, model=TEXT, firmware=TEXT, with a file also sync=group|each|none, buffered, direct, with rbd: also user=ID, conf=PATH, and \
         a comma in a path is written ',,'",
    ),
    ("1.1=malloc:8M,ro,ro", "option 'ro' is given twice: once is enough"),
    ("1.1@=malloc:8M", "the port is empty: give a port number, a DPDK device name or a Linux interface"),
    (
        "1.1=nvme:foo",
        "'foo' is no PCI address: write DDDD:BB:DD.F in hexadecimal, such as nvme:0000:01:00.0 or, for namespace 2, \
         nvme:0000:01:00.0n2",
    ),
];

#[test]
fn a_malformed_export_is_refused_with_what_is_allowed() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    for (export, sentence) in MALFORMED {
        let command = lab.command(&lab.eal(), &["-e", "9.9=malloc:8M", "-e", export]);
        refuses(&lab, command, 2, true, &format!("--export '{export}': {sentence}"));
    }
}

#[test]
fn an_address_given_twice_on_a_port_is_refused_with_both_exports() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    for (one, other, port) in [
        ("1.1=malloc:8M", "1.1=malloc:9M", "all ports"),
        ("1.1@t0=malloc:8M", "1.1=malloc:9M", "port t0"),
        ("1.1@t0=malloc:8M", "1.1@t0=malloc:9M", "port t0"),
    ] {
        let sentence = format!(
            "--export '{one}' and --export '{other}' both serve 1.1 on {port}: an address can be served once on a port"
        );
        refuses(&lab, lab.command(&lab.eal(), &["-e", one, "-e", other]), 2, true, &sentence);
    }
    // That the names mean one port is known once the port is there.
    let command = lab.command(&lab.eal(), &["-e", "1.1@0=malloc:8M", "-e", "1.1@t0=malloc:9M"]);
    let sentence = "--export '1.1@t0=malloc:9M': aoe_create_export of 1.1 with bdev 'malloc1.1@t0': 1.1 is already exported \
                    on port 0 with bdev 'malloc1.1': choose another shelf and slot, or delete that export first";
    refuses(&lab, command, 1, false, sentence);
}

#[test]
fn a_file_that_cannot_be_served_is_refused_with_the_reason() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let [odd, empty] = ["odd", "empty"].map(|name| lab.path(name).display().to_string());
    fs::write(&odd, [0; 500]).unwrap();
    fs::write(&empty, []).unwrap();
    let directory = lab.directory.path().display().to_string();
    for (path, sentence) in [
        (&odd, "its size is 500 bytes; at least 512 are needed"),
        (&empty, "its size is 0 bytes; at least 512 are needed"),
        (&directory, "it is a directory; a regular file or block device is needed"),
        (&"/dev/null".to_owned(), "it holds no blocks; a regular file or block device is needed"),
    ] {
        let command = lab.command(&lab.eal(), &["-e", "9.9=malloc:8M", "-e", &format!("1.1=aio:{path}")]);
        refuses(&lab, command, 1, true, &format!("cannot export '{path}': {sentence}"));
    }
}

#[test]
fn a_file_is_not_served_as_two_disks_that_can_be_written() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let [one, other] = ["1.1", "1.2"].map(|address| format!("{address}=aio:{}", lab.file("disk")));
    let sentence = format!(
        "--export '{one}' and --export '{other}' serve one file as two disks: give all of them the option ro, serve it \
             under one address on several ports, or give them parts of it that do not overlap (offset=, length=)"
    );
    refuses(&lab, lab.command(&lab.eal(), &["-e", &one, "-e", &other]), 2, true, &sentence);
}

#[test]
fn an_unknown_bdev_or_port_is_refused_with_those_there_are_and_no_other_export_starts() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let refuses_it = |strict: &[&str], export: &str, bdev: &str, why: &str| {
        let words = [&["-e", "1.1=malloc:8M", "-e", export][..], strict].concat();
        let sentence = format!("--export '{export}': aoe_create_export of 1.2 with bdev '{bdev}': {why}");
        refuses(&lab, lab.command(&lab.eal(), &words), 1, false, &sentence);
    };
    refuses_it(&["--strict"], "1.2=nosuch", "nosuch", "no bdev 'nosuch': the bdevs are 'malloc1.1'");
    refuses_it(
        &[],
        "1.2@eth9=malloc:8M",
        "malloc1.2",
        "no port 'eth9': the ports are 0 (net_af_packet0, t0)",
    );
    refuses_it(&[], "1.2@7=malloc:8M", "malloc1.2", "no port '7': the ports are 0 (net_af_packet0, t0)");
    // Not even a bdev that may come later makes a port.
    refuses_it(&[], "1.2@eth9=nosuch", "nosuch", "no port 'eth9': the ports are 0 (net_af_packet0, t0)");
}

#[test]
fn a_configuration_that_cannot_be_carried_out_is_refused_with_the_entry() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let config = lab.path("config.json");
    let words = ["-e", "1.1=malloc:8M", "--config", config.to_str().unwrap()];
    let refuses_it = |alone: bool, text: &str, sentence: &str| {
        fs::write(&config, text).unwrap();
        refuses(&lab, lab.command(&lab.eal(), &words), 1, alone, sentence);
    };
    let named = |sentence: &str| format!("--config '{}': {sentence}", config.display());
    refuses_it(true, "{", &named("EOF while parsing an object at line 1 column 1; it must be JSON"));
    refuses_it(
        true,
        "[]",
        &named("there is no list \"subsystems\"; write {\"subsystems\": [...]} as save_config does"),
    );
    let with = |subsystem: &str, method: &str, params: serde_json::Value| {
        let entry = json!({ "method": method, "params": params });
        json!({ "subsystems": [{ "subsystem": subsystem, "config": [entry] }] }).to_string()
    };
    let export = json!({ "shelf": 70000, "slot": 1, "bdev_name": "x" });
    refuses_it(
        true,
        &with("aoe", "aoe_create_export", export),
        &named(
            "entry 1 of subsystem 'aoe': aoe_create_export: shelf is 70000: it must be a number from 0 to 65534",
        ),
    );
    // Blocks that AoE has no way to address.
    let large = json!({ "name": "large", "num_blocks": 64, "block_size": 8192 });
    fs::write(&config, with("bdev", "bdev_malloc_create", large)).unwrap();
    let words = ["--strict", "-e", "1.1=malloc:8M", "-e", "1.2=large", "--config", config.to_str().unwrap()];
    let sentence = "--export '1.2=large': aoe_create_export of 1.2 with bdev 'large': bdev large has blocks of 8192 bytes with 0 bytes of metadata: only blocks of 512, 1024, 2048 or 4096 bytes without \
                    metadata can be exported";
    refuses(&lab, lab.command(&lab.eal(), &words), 1, false, sentence);
}
