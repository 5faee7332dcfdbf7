//! Every form of `--export`, and every way to get it wrong.

use control::file_bdev::{Caching, SyncMode};

use super::*;

fn parse(text: &str) -> Result<ExportSpec, LaunchError> {
    ExportSpec::parse(OsStr::new(text))
}

fn bdev(text: &str) -> BdevSpec {
    parse(&format!("1.1={text}")).unwrap().bdev
}

#[test]
fn every_form_is_read() {
    let spec = parse("1.2@net_af_packet0=malloc:64M,ro").unwrap();
    assert_eq!((spec.address.shelf.0, spec.address.slot.0), (1, 2));
    assert_eq!(spec.port, Some(PortRef::Name("net_af_packet0".into())));
    assert_eq!(spec.bdev, BdevSpec::Malloc { bytes: 64 << 20 });
    assert!(spec.options.read_only);
    assert_eq!(spec.place(), "1.2@net_af_packet0");

    let spec = parse("65534.254=Nvme0n1p1").unwrap();
    assert_eq!((spec.address.shelf.0, spec.address.slot.0), (65534, 254));
    assert_eq!((spec.port, spec.options.read_only), (None, false));
    assert_eq!(spec.bdev, BdevSpec::Named("Nvme0n1p1".into()));

    let spec = parse("1.1=b,offset=8,length=16,serial=a,,b,ro,buffers=32,deny=52:54:00:00:00:01").unwrap();
    assert!(spec.options.read_only);
    assert_eq!((spec.options.offset, spec.options.length, spec.options.buffers), (8, Some(16), Some(32)));
    assert_eq!((spec.options.serial.as_deref(), spec.options.deny.len()), (Some("a,b"), 1));

    assert_eq!(parse("0.0@3=b").unwrap().port, Some(PortRef::Number(3)));
    assert_eq!(parse("0.0@0000:03:00.0=b").unwrap().port, Some(PortRef::Name("0000:03:00.0".into())));
}

#[test]
fn an_image_takes_its_user_and_configuration_among_the_options() {
    let image = |text: &str| match bdev(text) {
        BdevSpec::Rbd(image) => image,
        other => panic!("{other:?}"),
    };
    let plain = image("rbd:pool/disk,ro");
    assert_eq!((plain.to_string().as_str(), plain.user, plain.conf), ("rbd:pool/disk", None, None));
    let full = image("rbd:pool/space/disk,offset=8,user=kv,conf=/etc/a,,b.conf");
    assert_eq!(full.to_string(), "rbd:pool/space/disk");
    assert_eq!((full.user.as_deref(), full.conf.as_deref()), (Some("kv"), Some("/etc/a,b.conf")));
    for (text, part) in [
        ("rbd:disk", "POOL/IMAGE"),
        ("rbd:p/d@s", "snapshot"),
        ("rbd:p/d,user=client.kv", "without \"client.\""),
        ("aio:/a,user=kv", "unknown option 'user=kv'"),
    ] {
        let error = parse(&format!("1.1={text}")).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_option_given_twice_is_refused_whatever_its_values() {
    for (name, first, second) in [
        ("offset", "0", "5"),
        ("offset", "5", "0"),
        ("length", "8", "8"),
        ("buffers", "2", "3"),
        ("allow", "52:54:00:00:00:01", "52:54:00:00:00:02"),
        ("deny", "52:54:00:00:00:01", "52:54:00:00:00:02"),
        ("serial", "a", "b"),
        ("model", "a", "b"),
        ("firmware", "a", "b"),
        // The name is what is wrong, not what the second time says.
        ("offset", "0", "x"),
    ] {
        let error = parse(&format!("1.1=b,{name}={first},ro,{name}={second}")).unwrap_err().to_string();
        assert!(error.contains(&format!("option '{name}' is given twice: once is enough")), "{error}");
    }
}

#[test]
fn paths_keep_their_equal_signs_and_doubled_commas() {
    for (text, path, read_only) in [
        ("aio:/a=b", "/a=b", false),
        ("/dev/sdb", "/dev/sdb", false),
        ("/a=b:c,,d,ro", "/a=b:c,d", true),
        ("./disk.img", "./disk.img", false),
        ("../disk.img,ro", "../disk.img", true),
        ("aio:/a,,ro", "/a,ro", false),
        ("aio:/a,,b,ro", "/a,b", true),
        // An odd run of commas: the pairs come first, the last one begins an option.
        ("aio:/a,,b,,,ro", "/a,b,", true),
        ("aio:rel@x", "rel@x", false),
        ("file:/a", "/a", false),
        ("file:rel:x,ro", "rel:x", true),
    ] {
        let spec = parse(&format!("1.1={text}")).unwrap();
        assert_eq!(spec.bdev, BdevSpec::at(path), "{text}");
        assert_eq!(spec.options.read_only, read_only, "{text}");
    }
}

#[test]
fn a_file_takes_options_of_its_bdev_among_those_of_the_export() {
    let options = |text: &str| match bdev(text) {
        BdevSpec::File { options, .. } => options,
        other => panic!("{other:?}"),
    };
    let all = options("file:/a,ro,sync=each,buffered,buffers=4");
    assert_eq!((all.sync, all.caching), (Some(SyncMode::Each), Some(Caching::Buffered)));
    assert_eq!(options("/a,direct,sync=none").caching, Some(Caching::Direct));
    assert_eq!(options("aio:/a"), FileOptions::default());
    assert_eq!(bdev("spdk-aio:/a,,b,ro"), BdevSpec::SpdkAio { path: "/a,b".into() });
}

#[test]
fn sizes_are_binary() {
    for (text, bytes) in [
        ("512", 512),
        ("1K", 1 << 10),
        ("3m", 3 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("16777215T", 16_777_215 << 40),
    ] {
        assert_eq!(bdev(&format!("malloc:{text}")), BdevSpec::Malloc { bytes }, "{text}");
    }
}

#[test]
fn namespaces_default_to_the_first() {
    for (text, address, nsid) in [
        ("nvme:0000:01:00.0", "0000:01:00.0", 1),
        ("nvme:01:00.0n2", "0000:01:00.0", 2),
        ("nvme:ABCD:fe:1f.7n4294967294", "abcd:fe:1f.7", 0xffff_fffe),
    ] {
        match bdev(text) {
            BdevSpec::Nvme { address: found, nsid: n } => {
                assert_eq!((found.to_string().as_str(), n), (address, nsid), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_name_may_be_marked_as_one() {
    assert_eq!(bdev("bdev:malloc:64M"), BdevSpec::Named("malloc:64M".into()));
    assert_eq!(bdev("lvs/lvol0"), BdevSpec::Named("lvs/lvol0".into()));
    assert_eq!(bdev("nvme0000:01:00.0n1"), BdevSpec::Named("nvme0000:01:00.0n1".into()));
}

#[test]
fn refusals_name_the_part_and_what_is_allowed() {
    for (text, parts) in [
        ("1.1", &["no '='", "SHELF.SLOT[@PORT]=BDEV"][..]),
        ("", &["no '='", "such as"]),
        ("1=malloc:64M", &["address \"1\"", "SHELF.SLOT"]),
        ("=malloc:64M", &["address \"\"", "SHELF.SLOT"]),
        ("65535.1=b", &["shelf 65535", "0 to 65534"]),
        ("99999999999.1=b", &["shelf 99999999999", "0 to 65534"]),
        ("1.255=b", &["slot 255", "0 to 254"]),
        ("-1.1=b", &["shelf \"-1\"", "0 to 65534"]),
        ("+1.1=b", &["shelf \"+1\"", "decimal"]),
        ("0x10.1=b", &["shelf \"0x10\"", "decimal"]),
        ("1.=b", &["slot \"\"", "0 to 254"]),
        ("1.1.1=b", &["slot \"1.1\"", "0 to 254"]),
        ("1.1@=b", &["the port is empty", "port number"]),
        ("1.1@70000=b", &["port '70000'", "0 to 65535"]),
        ("1.1@a b=b", &["'a b'", "white space"]),
        ("1.1=", &["nothing stands after '='", "malloc:SIZE"]),
        ("1.1=,ro", &["nothing stands after '='", "file:PATH"]),
        ("1.1=aio:", &["path after 'aio:' is empty", "file:PATH"]),
        ("1.1=file:", &["path after 'file:' is empty", "file:PATH"]),
        ("1.1=spdk-aio:", &["path after 'spdk-aio:' is empty", "spdk-aio:PATH"]),
        ("1.1=/a,sync=all", &["sync 'all'", "group", "each", "none"]),
        ("1.1=/a,sync", &["sync lacks its value"]),
        ("1.1=/a,buffered=1", &["buffered takes no value", "'1'"]),
        ("1.1=/a,buffered,direct", &["buffered and direct are both given"]),
        ("1.1=/a,sync=each,sync=none", &["'sync' is given twice"]),
        ("1.1=malloc:1M,sync=each", &["unknown option 'sync=each'", "with a file also sync=group|each|none"]),
        ("1.1=spdk-aio:/a,buffered", &["unknown option 'buffered'", "with a file also"]),
        ("1.1=bdev:", &["name after 'bdev:' is empty", "bdev:NAME"]),
        ("1.1=fil:/x", &["'fil'", "malloc:SIZE, file:PATH, spdk-aio:PATH, nvme:PCI-ADDRESS"]),
        ("1.1=maloc:64M", &["'maloc'", "malloc:SIZE"]),
        ("1.1=malloc:", &["size ''", "positive multiple of 512"]),
        ("1.1=malloc:0", &["size '0'", "positive multiple of 512"]),
        ("1.1=malloc:513", &["size '513'", "positive multiple of 512"]),
        ("1.1=malloc:64X", &["size '64X'", "K, M, G or T"]),
        ("1.1=malloc:64MB", &["size '64MB'", "K, M, G or T"]),
        ("1.1=malloc:M", &["size 'M'", "such as 64M"]),
        ("1.1=malloc:-1M", &["size '-1M'", "positive"]),
        ("1.1=malloc:1.5G", &["size '1.5G'", "multiple of 512"]),
        ("1.1=malloc:16777216T", &["size '16777216T'", "multiple of 512"]),
        ("1.1=malloc:18446744073709551616", &["size '18446744073709551616'", "multiple"]),
        ("1.1=malloc:64M,rw", &["'rw'", "the options are ro, offset=SECTORS"]),
        ("1.1=malloc:64M,", &["unknown option ''", "the options are ro, offset=SECTORS"]),
        ("1.1=malloc:64M,ro=1", &["ro takes no value", "'1'"]),
        ("1.1=malloc:64M,length=0", &["length '0'", "from 1"]),
        ("1.1=malloc:64M,buffers=1", &["buffers '1'", "from 2 to 512"]),
        ("1.1=malloc:64M,offset", &["offset lacks its value", "write offset=SECTORS"]),
        ("1.1=malloc:64M,ro,ro", &["'ro' is given twice", "once"]),
        ("1.1=aio:/a,b", &["unknown option 'b'", "',,'"]),
        ("1.1=nvme:", &["'' is no PCI address", "DDDD:BB:DD.F"]),
        ("1.1=nvme:01:00", &["'01:00' is no PCI address", "DDDD:BB:DD.F"]),
        ("1.1=nvme:0000:01:20.0", &["'0000:01:20.0'", "DDDD:BB:DD.F"]),
        ("1.1=nvme:0000:01:00.8", &["'0000:01:00.8'", "DDDD:BB:DD.F"]),
        ("1.1=nvme:0000:01:00.0n0", &["namespace '0'", "1 to 4294967294"]),
        ("1.1=nvme:0000:01:00.0n", &["namespace ''", "1 to 4294967294"]),
        ("1.1=nvme:0000:01:00.0n4294967295", &["namespace '4294967295'", "1 to 4294967294"]),
        ("1.1=a\0b", &["zero byte", "without"]),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
        assert!(error.to_string().starts_with("--export '"), "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{text}: {error} lacks {part}");
        }
    }
}

#[test]
fn a_path_that_is_no_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let error = ExportSpec::parse(OsStr::from_bytes(b"1.1=aio:/\xff")).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn one_address_is_served_once_on_a_port() {
    let all = |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>();
    for texts in [&["1.1=a", "1.2=a", "2.1=a"][..], &["1.1@0=a", "1.1@1=b", "1.1@net_null0=c"], &[]] {
        assert!(check_distinct(&all(texts)).is_ok(), "{texts:?}");
    }
    for (texts, place) in [
        (&["1.1=a", "1.1=b"][..], "all ports"),
        (&["1.1=a", "1.1@0=b"], "port 0"),
        (&["1.1@0=a", "1.1=b"], "port 0"),
        (&["2.2=x", "1.1@net_null0=a", "1.1@0=a", "1.1@net_null0=b"], "port net_null0"),
    ] {
        let message = check_distinct(&all(texts)).unwrap_err().to_string();
        let last = texts.last().unwrap();
        for part in [place, "served once", &format!("'{last}'")] {
            assert!(message.contains(part), "{texts:?}: {message}");
        }
    }
}
