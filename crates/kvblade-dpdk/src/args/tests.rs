//! Splitting at `--`, every option, and one sentence for every mistake.

use super::*;

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
    }
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
            "--export",
            "malloc:SIZE",
            "aio:PATH",
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
    assert!(printed("-V").contains("1.2.3"));
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
        ("--log-level loud", &["loud", "off, error, warn, info, debug and trace"]),
        ("--config=", &["--config", "value is required"]),
        ("--rpc-socket=", &["--rpc-socket"]),
        ("stray", &["stray"]),
        ("-l 0-1 --export 1.1=b", &["'-l'", "EAL option", "before '--'"]),
        ("--vdev=net_null0 --export 1.1=b", &["'--vdev'", "EAL option", "before '--'"]),
        ("--export 1.1=b --", &["'--export'", "after '--'"]),
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
