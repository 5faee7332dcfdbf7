//! Every option in text, its limits, and the ranges they make.

use super::*;

fn options(texts: &[&str]) -> Result<ExportOptions, String> {
    let mut options = ExportOptions::default();
    for text in texts {
        let (name, value) = text.split_once('=').unwrap();
        let option = ExportOptions::fields().iter().find(|field| field.word() == name).expect(text);
        options.set(option, Some(value))?;
    }
    Ok(options)
}

#[test]
fn every_option_is_read() {
    let all = options(&[
        "offset=8",
        "length=100",
        "cache=write-back",
        "buffers=64",
        "io_timeout=20",
        "iops=5000",
        "bandwidth=100M",
        "initiator_iops=1",
        "initiator_bandwidth=8192",
        "allow=52:54:00:00:00:01+52540000000a",
        "deny=52:54:00:00:00:02",
        "serial=ABC 1",
        "model=a=b, c",
        "firmware=12345678",
    ])
    .unwrap();
    assert_eq!((all.offset, all.length, all.buffers), (8, Some(100), Some(64)));
    assert_eq!((all.io_timeout, ExportOptions::default().io_timeout()), (Some(20), 60));
    let limits = all.limits.limits();
    assert_eq!((limits.export.iops, limits.export.bandwidth), (Some(5000), Some(100 << 20)));
    assert_eq!((limits.initiator.iops, limits.initiator.bandwidth), (Some(1), Some(8192)));
    assert_eq!(all.cache, CacheMode::WriteBack);
    assert_eq!(options(&["cache=write-through"]).unwrap(), ExportOptions::default());
    assert_eq!(all.allow, [MacAddr([0x52, 0x54, 0, 0, 0, 1]), MacAddr([0x52, 0x54, 0, 0, 0, 10])]);
    assert_eq!(all.deny, [MacAddr([0x52, 0x54, 0, 0, 0, 2])]);
    let identity = all.identity(ShelfSlot::WILDCARD, "1").unwrap();
    assert_eq!((identity.serial(), identity.model(), identity.firmware()), ("ABC 1", "a=b, c", "12345678"));
    let flag = &ExportOptions::fields()[0];
    let mut options = ExportOptions::default();
    options.set(flag, None).unwrap();
    assert!(options.read_only);
    assert_eq!(options.set(flag, Some("yes")), Err("ro takes no value, and got 'yes'".into()));
    let length = ExportOptions::fields().iter().find(|field| field.name() == "length").unwrap();
    assert_eq!(options.set(length, None), Err("length lacks its value: write length=SECTORS".into()));
    assert_eq!((nearest_word("vlam"), nearest_word("colour")), (Some("vlan"), None));
}

#[test]
fn refusals_name_the_value_and_what_is_allowed() {
    let long = ["serial=", &"s".repeat(21)].concat();
    let longer = ["model=", &"m".repeat(41)].concat();
    for (text, parts) in [
        ("offset=-1", &["offset '-1'", "512 bytes, from 0"][..]),
        ("offset=1K", &["offset '1K'", "number of sectors"]),
        ("offset=18446744073709551616", &["offset '18446744073709551616'"]),
        ("length=0", &["length '0'", "from 1"]),
        ("length=", &["length ''", "from 1"]),
        ("vlan=0", &["vlan '0'", "from 1 to 4094"]),
        ("vlan=4095", &["vlan '4095'", "from 1 to 4094"]),
        ("cache=on", &["cache 'on' is not allowed", "write-through or write-back"]),
        ("cache=", &["cache ''"]),
        ("io_timeout=0", &["io_timeout '0'", "seconds from 1 to 120"]),
        ("io_timeout=121", &["io_timeout '121'", "seconds from 1 to 120"]),
        ("iops=0", &["iops '0'", "requests a second from 1 to 100000000"]),
        ("iops=1K", &["iops '1K'", "from 1 to 100000000"]),
        ("initiator_iops=100000001", &["initiator_iops '100000001'", "from 1 to 100000000"]),
        (
            "bandwidth=8191",
            &["bandwidth '8191'", "bytes a second from 8192 to 1099511627776", "K, M, G or T"],
        ),
        ("bandwidth=M", &["bandwidth 'M'", "from 8192"]),
        ("bandwidth=16777216T", &["bandwidth '16777216T'", "from 8192"]),
        ("bandwidth=1P", &["bandwidth '1P'", "from 8192"]),
        ("initiator_bandwidth=2T", &["initiator_bandwidth '2T'", "from 8192 to 1099511627776"]),
        ("buffers=1", &["buffers '1'", "from 2 to 512"]),
        ("buffers=513", &["buffers '513'", "from 2 to 512"]),
        ("buffers=65538", &["buffers '65538'", "from 2 to 512"]),
        ("allow=", &["allow: ''", "52:54:00:12:34:56"]),
        ("allow=52:54:00:00:00:0", &["allow: '52:54:00:00:00:0'", "six bytes"]),
        ("allow=52:54:00:00:00:00:00", &["six bytes"]),
        ("allow=52:540000:00:00", &["six bytes"]),
        ("allow=5254000000", &["six bytes"]),
        ("allow=525400000000a", &["six bytes"]),
        ("allow=52540000000g", &["six bytes"]),
        ("allow=0x5254000000", &["six bytes"]),
        ("allow=5254:", &["six bytes"]),
        ("allow=5254é00000a", &["six bytes"]),
        ("deny=ff:ff:ff:ff:ff:ff", &["deny: 'ff:ff:ff:ff:ff:ff'", "multicast"]),
        ("deny=+2:54:00:00:00:00", &["deny: ''"]),
        ("deny=52:54:00:00:00:02+52:54:00:00:00:02", &["deny lists 52:54:00:00:00:02 twice"]),
        (&long, &["serial 'sss", "has 21 bytes", "1 to 20 printable ASCII"]),
        (&longer, &["has 41 bytes", "1 to 40"]),
        ("firmware=123456789", &["firmware '123456789' has 9 bytes", "1 to 8"]),
        ("serial=", &["serial ''", "1 to 20"]),
        ("serial=é", &["serial 'é'", "printable ASCII"]),
        ("serial=a ", &["serial 'a '", "no space"]),
    ] {
        let message = options(&[text]).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{text}: {message} lacks {part}");
        }
    }
    let many: Vec<String> = (0..=255).map(|byte| format!("52:54:00:00:00:{byte:02x}")).collect();
    let message = options(&[&format!("allow={}", many.join("+"))]).unwrap_err();
    assert_eq!(message, "allow lists 256 addresses: at most 255 are allowed");
    assert_eq!(options(&[&format!("allow={}", many[1..].join("+"))]).unwrap().allow.len(), 255);
}

#[test]
fn a_range_lies_within_the_bdev() {
    let range = |offset, length| ExportOptions { offset, length, ..ExportOptions::default() };
    for (offset, length, first_and_size) in [
        (0, None, (0, 100)),
        (10, None, (10, 90)),
        (99, Some(1), (99, 1)),
        (0, Some(100), (0, 100)),
        (10, Some(20), (10, 20)),
    ] {
        let options = range(offset, length);
        assert_eq!(options.check_range(100), Ok(()));
        assert_eq!(options.range_in(100), first_and_size);
    }
    for (offset, length, parts) in [
        (100, None, ["offset is 100", "at most 99"]),
        (u64::MAX, Some(1), ["offset is 18446744073709551615", "has 100 sectors"]),
        (10, Some(91), ["length is 91", "at most 90"]),
        (1, Some(u64::MAX), ["length is 18446744073709551615", "at most 99"]),
    ] {
        let message = range(offset, length).check_range(100).unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    // A bdev that has shrunk.
    assert_eq!(range(10, Some(20)).range_in(15), (10, 5));
    assert_eq!(range(10, None).range_in(5), (10, 0));

    let overlap = |a: (u64, Option<u64>), b: (u64, Option<u64>)| {
        let both = (range(a.0, a.1), range(b.0, b.1));
        assert_eq!(both.0.overlaps(&both.1), both.1.overlaps(&both.0));
        both.0.overlaps(&both.1)
    };
    assert!(overlap((0, None), (50, Some(1))));
    assert!(!overlap((0, Some(50)), (50, None)));
    assert!(overlap((0, Some(51)), (50, None)));
    assert!(!overlap((10, Some(5)), (15, Some(5))));
    assert!(overlap((u64::MAX, Some(5)), (0, None)));
}
