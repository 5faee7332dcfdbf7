//! Splitting at `--`, every option, and one sentence for every mistake.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::*;
use crate::hugepages::Hugepages;
use crate::idle::IdleOption;
use crate::logging::{LogFormat, LogTarget};

fn run(line: &str) -> Result<Invocation, LaunchError> {
    let words = std::iter::once("kvblade-dpdk").chain(line.split(' ').filter(|word| !word.is_empty()));
    parse(words.map(Into::into), "1.2.3 (SPDK x, DPDK y)")
}

fn serve(line: &str) -> CommandLine {
    match run(line) {
        Ok(Invocation::Serve(command)) => *command,
        other => panic!("{line}: {other:?}"),
    }
}

fn printed(line: &str) -> String {
    match run(line) {
        Ok(Invocation::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn without_options_nothing_is_exported_and_the_defaults_hold() {
    for line in ["", "--"] {
        let command = serve(line);
        assert_eq!(command.eal, EalOptions::default());
        assert_eq!(command.exports, []);
        assert_eq!(command.rpc_socket, PathBuf::from(DEFAULT_RPC_SOCKET));
        assert_eq!(command.state_dir, PathBuf::from(DEFAULT_STATE_DIR));
        assert_eq!((command.config, command.mtu, command.log_level), (None, None, None));
        assert_eq!(command.payload_alignment, PayloadAlignment::Auto);
        assert_eq!((command.log_format, command.log_target), (LogFormat::Text, LogTarget::Auto));
    }
}

#[test]
fn journald_takes_fields_and_no_json() {
    let command = serve("--log-format json --log-target file:/var/log/kv.json");
    assert_eq!(command.log_format, LogFormat::Json);
    assert_eq!(command.log_target, LogTarget::File("/var/log/kv.json".into()));
    let words = ["kvblade-dpdk", "--log-format", "json", "--log-target", "journald"].map(Into::into);
    let refusal = parse(words, "").unwrap_err().to_string();
    assert!(refusal.contains("--log-format json") && refusal.contains("exclude each other"), "{refusal}");
}

#[test]
fn the_double_dash_divides_eal_from_us() {
    let command = serve("-c 0x3 -- -c /etc/kv.json");
    assert_eq!(command.eal.reactor_mask.as_deref(), Some("[0-1]"));
    assert_eq!(command.config, Some("/etc/kv.json".into()));
}

#[test]
fn every_option_is_read() {
    let command = serve(
        "-l 1 -- -c /etc/kv.json -r /run/kv.sock --state-dir /srv/state --mtu 9000 --log-level DEBUG -e 1.1=malloc:1M --export=2.2=b,ro",
    );
    assert_eq!(command.config, Some("/etc/kv.json".into()));
    assert_eq!(command.rpc_socket, PathBuf::from("/run/kv.sock"));
    assert_eq!(command.state_dir, PathBuf::from("/srv/state"));
    assert_eq!(command.mtu, Some(9000));
    assert_eq!(command.log_level, Some(LevelFilter::DEBUG));
    let texts: Vec<&str> = command.exports.iter().map(|export| export.text.as_str()).collect();
    assert_eq!(texts, ["1.1=malloc:1M", "2.2=b,ro"]);
}

#[test]
fn options_of_both_stand_anywhere_without_a_double_dash() {
    for line in [
        "-l 2 --interface eth1 --export 1.1=/srv/a",
        "--interface eth1 -l2 --export 1.1=/srv/a",
        "--export 1.1=/srv/a --interface eth1 -l 2 --",
        "-l 2 --interface eth1 -- --export 1.1=/srv/a",
    ] {
        let command = serve(line);
        assert_eq!(command.eal.reactor_mask.as_deref(), Some("[2]"), "{line}");
        assert_eq!(command.interfaces, ["eth1"], "{line}");
        assert_eq!(command.exports[0].bdev, crate::export_spec::BdevSpec::at("/srv/a"), "{line}");
    }
}

#[test]
fn vblades_words_are_an_interface_and_an_export() {
    let command = serve("1 2 eth1 /srv/a -e 1.3=malloc:1M -l 2");
    assert_eq!(command.interfaces, ["eth1"]);
    let texts: Vec<&str> = command.exports.iter().map(|export| export.text.as_str()).collect();
    assert_eq!(texts, ["1.3=malloc:1M", "1.2@eth1=/srv/a"]);
}

#[test]
fn the_command_line_wins_over_the_settings_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.toml");
    let file = "interfaces = ['eth1']\nlcores = '1'\neal-options = ['--file-prefix=kv', '--no-pci']\nhugepages = 'auto'\n\
                mtu = 9000\nmbufs = 8191\nio-timeout = 20\nrpc-socket = '/run/kv.sock'\nstate-dir = '/srv/kv'\nlog-level = 'warn'\n\
                config = '/etc/kv.json'\nidle = 'pause'\nspread = 'off'\npayload-alignment = 512\n\
                [[export]]\nshelf = 1\nslot = 1\npath = '/srv/a'\n";
    std::fs::write(&path, file).unwrap();
    let with = |line: &str| serve(&format!("--settings {} {line}", path.display()));
    let command = with("");
    assert_eq!(command.settings.as_deref(), Some(path.as_path()));
    assert_eq!(
        (command.interfaces.as_slice(), command.exports[0].text.as_str()),
        (&["eth1".to_owned()][..], "1.1=/srv/a")
    );
    assert_eq!((command.eal.reactor_mask.as_deref(), command.eal.no_pci), (Some("[1]"), true));
    assert_eq!(command.hugepages, Hugepages::Auto);
    assert_eq!((command.mtu, command.mbufs, command.log_level), (Some(9000), 8191, Some(LevelFilter::WARN)));
    assert_eq!((command.io_timeout, with("--io-timeout 30").io_timeout), (Some(20), Some(30)));
    assert_eq!((command.rpc_socket, command.state_dir), ("/run/kv.sock".into(), "/srv/kv".into()));
    assert_eq!((command.config, command.idle), (Some("/etc/kv.json".into()), IdleOption::Pause));
    assert_eq!(command.payload_alignment, PayloadAlignment::Fixed(512));
    assert_eq!(command.spread.mode, crate::distribution::DistributionMode::Off);

    let command = with(
        "--interface eth2 -l 2 --hugepages none --mtu 1500 --log-level info -e 1.2=/srv/b -e 1.3=/srv/c",
    );
    assert_eq!(command.interfaces, ["eth2"]);
    // Of EAL's options only the lcores were given.
    assert_eq!(command.eal.reactor_mask.as_deref(), Some("[2]"));
    assert_eq!((command.eal.no_pci, command.eal.file_prefix.as_deref()), (true, Some("kv")));
    assert_eq!((command.hugepages, command.mtu, command.mbufs), (Hugepages::None, Some(1500), 8191));
    assert_eq!(command.log_level, Some(LevelFilter::INFO));
    let texts: Vec<&str> = command.exports.iter().map(|export| export.text.as_str()).collect();
    assert_eq!(texts, ["1.2=/srv/b", "1.3=/srv/c"]);
    let command = with("--file-prefix=other");
    assert_eq!((command.eal.no_pci, command.eal.reactor_mask.as_deref()), (false, Some("[1]")));

    // What is right on each side may be wrong together.
    for (line, part) in
        [("--main-lcore 2", "--main-lcore 2"), ("--vdev=net_af_packet0,iface=eth1", "--interface 'eth1'")]
    {
        let error = run(&format!("--settings {} {line}", path.display())).expect_err(line);
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn a_configuration_is_checked_or_prepared_for() {
    assert!(matches!(run("--check -l 1"), Ok(Invocation::Check(_))));
    assert!(matches!(run("--reserve-hugepages --hugepages auto"), Ok(Invocation::ReserveHugepages(_))));
}

#[test]
fn alignments_of_data_are_those_that_ports_can_have() {
    for (word, bytes) in [("4", 4), ("512", 512), ("4096", 4096)] {
        let command = serve(&format!("--payload-alignment {word}"));
        assert_eq!(command.payload_alignment, PayloadAlignment::Fixed(bytes));
    }
    assert_eq!(serve("--payload-alignment auto").payload_alignment, PayloadAlignment::Auto);
    for wrong in ["0", "64", "8192", "-4", "AUTO", "512B"] {
        let error = run(&format!("--payload-alignment={wrong}")).expect_err("none of them");
        let sentence = error.to_string();
        assert!(sentence.contains(wrong) && sentence.contains("auto, 4, 512 or 4096"), "{sentence}");
    }
}

#[test]
fn a_relative_socket_becomes_absolute() {
    let command = serve("-r kv.sock");
    assert!(command.rpc_socket.is_absolute() && command.rpc_socket.ends_with("kv.sock"));
}

#[test]
fn help_explains_everything_with_examples() {
    for line in ["--help", "-l 0 -- --help", "--help --", "--help -- --export"] {
        let help = printed(line);
        for part in [
            "[EAL OPTIONS] -- [OPTIONS]",
            "--interface",
            "--settings",
            "--check",
            "--hugepages",
            "--reserve-hugepages",
            "--export",
            "malloc:SIZE",
            "file:PATH",
            "nvme:PCI-ADDRESS",
            "--config",
            "--rpc-socket",
            "--state-dir",
            "/var/tmp/spdk.sock",
            "--mtu",
            "--log-level",
            "Examples:",
            "Exit codes:",
        ] {
            assert!(help.contains(part), "{line}: help lacks {part}");
        }
    }
}

#[test]
fn help_shows_only_command_lines_that_are_right() {
    let help = printed("--help").replace("\\\n", " ");
    let examples: Vec<&str> = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("kvblade-dpdk ") && line.contains("="))
        .collect();
    assert!(examples.len() >= 3, "{help}");
    for example in examples {
        let words = example.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        serve(&words);
    }
}

#[test]
fn version_prints_what_it_is_given() {
    assert!(printed("--version").contains("1.2.3 (SPDK x, DPDK y)"));
    for line in ["-V", "-V --", "-l 0 --version --", "-l 0 --version"] {
        assert!(printed(line).contains("1.2.3"), "{line}");
    }
}

#[test]
fn mistakes_are_one_sentence_that_names_the_value() {
    for (line, parts) in [
        ("--exprot 1.1=b", &["--exprot"][..]),
        ("--export", &["--export"]),
        ("--export 1.1", &["'1.1'", "SHELF.SLOT[@PORT]=BDEV"]),
        ("--export 1.1=a --export 1.1=b", &["'1.1=a'", "'1.1=b'", "all ports"]),
        ("--mtu 100", &["100", "548 to 65535"]),
        ("--mtu 65536", &["65536", "548 to 65535"]),
        ("--mtu jumbo", &["jumbo", "548 to 65535"]),
        ("--mtu 1500 --mtu 9000", &["--mtu"]),
        ("--log-format xml", &["xml", "text and json"]),
        ("--log-target syslog", &["syslog", "auto, stderr, file:PATH and journald"]),
        ("--log-level loud", &["loud", "off, error, warn, info, debug and trace"]),
        ("--config=", &["--config", "value is required"]),
        ("--rpc-socket=", &["--rpc-socket"]),
        ("stray", &["stray"]),
        ("-- -l 0-1 --export 1.1=b", &["'-l'", "EAL option", "before '--'"]),
        ("-- --vdev=net_null0 --export 1.1=b", &["'--vdev'", "EAL option", "before '--'"]),
        ("-c /etc/kv.json --", &["-c '/etc/kv.json'", "lcore mask"]),
        ("--interface lo", &["'lo'", "loopback"]),
        ("--interface eth1 -i eth1", &["'eth1'", "twice"]),
        ("--interface sixteen-bytes-xx", &["'sixteen-bytes-xx'", "at most 15"]),
        (
            "--vdev=net_af_packet0,iface=eth1 --interface eth1",
            &["'eth1'", "--vdev=net_af_packet0,iface=eth1"],
        ),
        ("--hugepages some", &["some", "none, auto"]),
        ("--check --reserve-hugepages", &["--check", "--reserve-hugepages"]),
        ("1 1 eth1", &["'1'", "SHELF SLOT INTERFACE PATH"]),
        ("-l 0-1 stray --", &["'stray'", "before '--'"]),
    ] {
        let error = run(line).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(!message.contains('\n'), "{line}: {message}");
        for part in parts {
            assert!(message.contains(part), "{line}: {message} lacks {part}");
        }
    }
}
