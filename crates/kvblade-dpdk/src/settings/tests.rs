//! Every key, every mistake, and the file that is delivered.

use aoe_target::{MacAddr, ShelfSlot, VlanId};
use control::PortRef;
use control::file_bdev::{Caching, FileOptions, SyncMode};
use control::options::CacheMode;

use super::*;
use crate::distribution::DistributionMode;
use crate::export_spec::BdevSpec;
use crate::logging::{LogFormat, LogTarget};

const DELIVERED: &str = include_str!("../../../../packaging/kvblade.toml");

fn read(text: &str) -> Result<Settings, LaunchError> {
    Settings::parse(Path::new("/etc/kv.toml"), text)
}

/// The delivered file with its examples in use.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') && !example.is_empty() => example.to_owned(),
        _ => line.to_owned(),
    };
    DELIVERED.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_delivered_file_is_right_as_it_is() {
    let settings = read(DELIVERED).expect("right");
    assert_eq!(settings, Settings { hugepages: Some(Hugepages::Auto), ..Settings::default() });
}

#[test]
fn every_example_in_the_delivered_file_is_right() {
    let settings = read(&uncommented()).expect("right");
    assert_eq!(settings.interfaces.as_deref(), Some(&["eth1".to_owned()][..]));
    assert_eq!(settings.eal.lcores.iter().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(settings.eal.allowed().collect::<Vec<_>>(), ["0000:03:00.0", "0000:01:00.0"]);
    assert_eq!(settings.eal.file_prefix.as_deref(), Some("kvblade"));
    assert_eq!(settings.config, Some("/etc/kvblade/spdk.json".into()));
    // The examples of these are the defaults.
    assert_eq!(settings.mbufs, Some(values::MBUFS_DEFAULT));
    assert_eq!(settings.payload_alignment, Some(PayloadAlignment::Auto));
    assert_eq!(settings.idle, Some(IdleOption::default()));
    assert_eq!(settings.spread, Some(DistributionOption::default()));
    assert_eq!(settings.rpc_socket, Some(values::DEFAULT_RPC_SOCKET.into()));
    assert_eq!(settings.state_dir, Some(values::DEFAULT_STATE_DIR.into()));
    assert_eq!((settings.rpc_mode, settings.rpc_group), (Some(0o660), Some(0)));
    assert_eq!(settings.audit_log, Some("/var/log/kvblade-audit.json".into()));
    assert_eq!(settings.log_level, Some(LevelFilter::INFO));
    assert_eq!((settings.log_format, &settings.log_target), (Some(LogFormat::Text), &Some(LogTarget::Auto)));
    assert_eq!(settings.mtu, Some(9000));
    let [file, image, drive] = settings.exports.as_deref().expect("exports") else { panic!("{settings:?}") };
    assert_eq!(file.text, "1.1=/srv/disk.img");
    assert_eq!(file.bdev, BdevSpec::at("/srv/disk.img"));
    assert_eq!(file.options, control::ExportOptions::default());
    let options = FileOptions { sync: Some(SyncMode::Group), caching: Some(Caching::Buffered) };
    assert_eq!(image.bdev, BdevSpec::File { path: "/srv/boot.img".into(), options });
    assert_eq!(
        (drive.address, drive.options.read_only),
        (ShelfSlot::new(control::Shelf(7), control::Slot(0)), true)
    );
    assert_eq!(drive.port, Some(PortRef::parse("eth1").expect("a port")));
    assert_eq!(drive.bdev, BdevSpec::parse("nvme:01:00.0").expect("a bdev"));
    let options = &drive.options;
    assert_eq!((options.offset, options.length, options.buffers), (2048, Some(1_048_576), Some(64)));
    assert_eq!((options.vlan, options.cache), (VlanId::new(100), CacheMode::WriteThrough));
    let mac = |last| MacAddr([0x52, 0x54, 0, 0x12, 0x34, last]);
    assert_eq!((options.allow.as_slice(), options.deny.as_slice()), (&[mac(0x56), mac(0x57)][..], &[][..]));
    assert_eq!(options.serial.as_deref(), Some("0001"));
    assert_eq!(options.model.as_deref(), Some("disk of kvblade"));
    assert_eq!(options.firmware.as_deref(), Some("1.0"));
}

#[test]
fn the_delivered_file_knows_every_key() {
    let refused = read("nosuch = 1").expect_err("no such key").to_string();
    let keys: Vec<&str> = refused.split('\'').skip(3).step_by(2).collect();
    assert!(keys.len() >= 15, "{refused}");
    for key in keys {
        let line = if key == "export" { "#[[export]]".to_owned() } else { format!("{key} = ") };
        assert!(DELIVERED.contains(&line), "{key}");
    }
}

#[test]
fn values_are_those_of_the_options() {
    let settings = read(
        "hugepages = '1G'\nspread = 'software:2'\nidle = 'pause'\npayload-alignment = 512\nlog-level = 'WARN'\n\
         [[export]]\nshelf = 2\nslot = 3\nbdev = 'malloc:1M'\nport = 0\n",
    )
    .expect("right");
    assert_eq!(settings.hugepages, Some(Hugepages::Size(1 << 30)));
    assert_eq!(
        settings.spread,
        Some(DistributionOption { mode: DistributionMode::Software, lcores: Some(2) })
    );
    assert_eq!(settings.payload_alignment, Some(PayloadAlignment::Fixed(512)));
    assert_eq!(settings.log_level, Some(LevelFilter::WARN));
    let exports = settings.exports.expect("one");
    assert_eq!((exports[0].text.as_str(), &exports[0].port), ("2.3@0=malloc:1M", &Some(PortRef::Number(0))));
}

#[test]
fn an_export_of_a_file_has_the_options_of_its_bdev() {
    let settings = read(
        "[[export]]\nshelf = 1\nslot = 1\npath = '/a'\nsync = 'each'\nbuffered = true\ndirect = false\n\
         [[export]]\nshelf = 1\nslot = 2\nbdev = 'file:/b'\ndirect = true\n",
    )
    .expect("right");
    let made: Vec<BdevSpec> = settings.exports.expect("two").into_iter().map(|export| export.bdev).collect();
    let file = |path: &str, sync, caching| BdevSpec::File {
        path: path.into(),
        options: FileOptions { sync, caching: Some(caching) },
    };
    assert_eq!(
        made,
        [file("/a", Some(SyncMode::Each), Caching::Buffered), file("/b", None, Caching::Direct)]
    );
}

#[test]
fn mistakes_name_file_line_key_and_what_is_allowed() {
    let export = |line: &str| format!("[[export]]\nshelf = 1\nslot = 1\npath = '/a'\n{line}");
    for (text, line, parts) in [
        ("\n\nmtu = 100".to_owned(), 3, &["mtu: ", "548 to 65535"][..]),
        ("mtu = '9000'".into(), 1, &["mtu", "string", "expected"]),
        ("mbufs = 1".into(), 1, &["mbufs: ", "2559 to 1048576"]),
        ("io-timeout = 121".into(), 1, &["io-timeout: ", "1 to 120 seconds"]),
        ("# x\nexprot = 1".into(), 2, &["'exprot'", "'interfaces'", "'export'"]),
        ("interfaces = ['eth1',\n 'lo']".into(), 2, &["interfaces: 'lo'", "loopback"]),
        ("interfaces = 'eth1'".into(), 1, &["interfaces", "sequence"]),
        ("lcores = 'two'".into(), 1, &["lcores: ", "'two'", "0-3,8"]),
        ("lcores = '2'\neal-options = ['-l', '3']".into(), 1, &["lcores: ", "one place"]),
        ("eal-options = ['--file-prefix']".into(), 1, &["eal-options: ", "lacks its value"]),
        ("eal-options = ['--no-huge']".into(), 1, &["eal-options: ", "-m 1024"]),
        ("eal-options = ['stray']".into(), 1, &["eal-options: ", "'stray'"]),
        ("pci-devices = ['eth1']".into(), 1, &["pci-devices: ", "'eth1'", "DDDD:BB:DD.F"]),
        ("hugepages = 'some'".into(), 1, &["hugepages: ", "'some'", "none, auto"]),
        ("config = 'spdk.json'".into(), 1, &["config: ", "'spdk.json'", "absolute"]),
        ("rpc-mode = '66'".into(), 1, &["rpc-mode: ", "three octal digits"]),
        ("rpc-group = 'no such'".into(), 1, &["rpc-group: ", "'no such'", "a group of this machine"]),
        ("audit-log = 'audit'".into(), 1, &["audit-log: ", "'audit'", "absolute"]),
        ("log-level = 'loud'".into(), 1, &["log-level: ", "off, error"]),
        ("log-format = 'xml'".into(), 1, &["log-format: ", "text and json"]),
        ("log-target = 'file:log'".into(), 1, &["log-target: ", "'file:log'", "absolute"]),
        ("payload-alignment = 8".into(), 1, &["payload-alignment: ", "auto, 4, 512 or 4096"]),
        ("spread = 'wide'".into(), 1, &["spread: ", "auto, off, rss"]),
        ("idle = 'sleep'".into(), 1, &["idle: ", "poll, pause"]),
        ("mtu = 9000\nmtu = 1500".into(), 2, &["duplicate key"]),
        ("mtu = ".into(), 1, &["mtu"]),
        ("[[export]]\nslot = 1\npath = '/a'".into(), 1, &["shelf"]),
        (
            "[[export]]\nshelf = 70000\nslot = 1\npath = '/a'".into(),
            2,
            &["shelf and slot: ", "70000", "65534"],
        ),
        ("[[export]]\nshelf = 1\nslot = 255\npath = '/a'".into(), 2, &["shelf and slot: ", "255", "254"]),
        ("[[export]]\nshelf = 1\nslot = 1".into(), 1, &["export 1.1: ", "neither path nor bdev"]),
        ("[[export]]\nshelf = 1\nslot = 1\npath = 'a'".into(), 4, &["path: ", "'a'", "absolute"]),
        ("[[export]]\nshelf = 1\nslot = 1\nbdev = 'nvme:x'".into(), 4, &["bdev: ", "'x'", "PCI address"]),
        (export("bdev = 'malloc:1M'"), 4, &["export 1.1: ", "both"]),
        (export("sync = 'all'"), 5, &["sync: ", "'all'", "group"]),
        (export("sync = true"), 5, &["sync: ", "string"]),
        (export("buffered = 'yes'"), 5, &["buffered: ", "boolean"]),
        (export("buffered = true\ndirect = true"), 6, &["direct: ", "both given"]),
        (
            "[[export]]\nshelf = 1\nslot = 1\nbdev = 'malloc:1M'\nsync = 'each'".into(),
            5,
            &["sync: ", "file or block device"],
        ),
        (export("ro = true"), 5, &["'ro'", "'read-only'"]),
        (export("read-only = 'yes'"), 5, &["read-only", "boolean"]),
        (export("vlan = 4095"), 5, &["vlan: ", "'4095'", "1 to 4094"]),
        (export("buffers = 1"), 5, &["buffers: ", "2 to 512"]),
        (export("cache = 'none'"), 5, &["cache: ", "write-through or write-back"]),
        (export("offset = -1"), 5, &["offset: ", "'-1'"]),
        (export("allow = ['me']"), 5, &["allow: ", "'me'", "52:54:00:12:34:56"]),
        (export("serial = 'twenty-one characters'"), 5, &["serial: ", "20"]),
        (export("port = ''"), 5, &["port: ", "empty"]),
    ] {
        let error = read(&text).expect_err(&text);
        let sentence = error.to_string();
        assert_eq!(error.exit_code(), 2, "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
        assert!(sentence.starts_with(&format!("/etc/kv.toml:{line}: ")), "{text}: {sentence}");
        for part in parts {
            assert!(sentence.contains(part), "{text}: {sentence} lacks {part}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Settings::read(Path::new("/nonexistent/kv.toml")).expect_err("not there");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("'/nonexistent/kv.toml'"), "{error}");
}
