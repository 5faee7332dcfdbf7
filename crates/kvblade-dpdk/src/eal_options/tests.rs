//! What is taken out for SPDK, what passes unchanged, and what is refused.

use super::*;

fn parse(line: &str) -> Result<EalOptions, LaunchError> {
    parse_for((22, 11), line)
}

fn parse_for(dpdk: Release, line: &str) -> Result<EalOptions, LaunchError> {
    let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
    EalOptions::parse(&words, dpdk)
}

#[test]
fn nothing_given_is_nothing_said() {
    assert_eq!(parse("").unwrap(), EalOptions::default());
    assert_eq!(parse("").unwrap().env_context(), None);
}

#[test]
fn lcores_reach_spdk_in_its_list_form() {
    for (line, mask) in [
        ("-l 0-23", "[0-23]"),
        ("-l0,2,4", "[0,2,4]"),
        ("-l 3-1", "[1-3]"),
        ("--lcores 0-1,5", "[0-1,5]"),
        ("--lcores=7", "[7]"),
        ("-c 0x5", "[0,2]"),
        ("-c ff", "[0-7]"),
        ("-c 0x10000000000000000", "[64]"),
        ("-c 00000001", "[0]"),
        ("--lc 2", "[2]"),
    ] {
        let options = parse(line).unwrap();
        assert_eq!(options.reactor_mask.as_deref(), Some(mask), "{line}");
        assert_eq!(options.passthrough, Vec::<String>::new(), "{line}");
    }
}

#[test]
fn what_spdk_writes_itself_is_taken_out() {
    let options = parse("-l 0-1 --main-lcore 1 -m 512 --no-pci --huge-unlink").unwrap();
    assert_eq!(options.main_lcore, Some(1));
    assert_eq!(options.mem_mb, Some(512));
    assert!(options.no_pci && options.huge_unlink);
    assert_eq!(options.passthrough, Vec::<String>::new());
    assert!(parse("--huge-unlink=always").unwrap().huge_unlink);
    assert_eq!(parse("--main 0").unwrap().main_lcore, Some(0));
    assert_eq!(parse("-m1024").unwrap().mem_mb, Some(1024));
}

#[test]
fn telemetry_is_opened_by_the_program_and_the_last_word_counts() {
    for (line, telemetry) in [
        ("", false),
        ("--telemetry", true),
        ("--tele", true),
        ("--no-telemetry", false),
        ("--no-telemetry --telemetry", true),
        ("--telemetry --no-telemetry", false),
    ] {
        let options = parse(line).unwrap();
        assert_eq!((options.telemetry, options.env_context()), (telemetry, None), "{line}");
    }
}

#[test]
fn everything_else_passes_unchanged_and_in_order() {
    let line = "-a 0000:03:00.0,x=1 -n4 --vdev=net_null0 --vdev net_null1 --file-prefix kv -v --no-huge \
                --huge-unlink=never -d /lib/x.so --log-level lib.eal:8 --legacy-mem";
    let options = parse(&format!("{line} -m 512")).unwrap();
    assert_eq!(options.env_context().unwrap(), line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(options.file_prefix.as_deref(), Some("kv"));
    assert!(!options.in_memory && options.no_huge && !options.huge_unlink);
    assert!(parse("--in-memory").unwrap().in_memory);
}

#[test]
fn the_beginning_of_an_option_becomes_whole() {
    // SPDK looks for whole names in what it passes on.
    let options = parse("--no-hug -m 512 --file 7 --iova=va").unwrap();
    assert_eq!(options.passthrough, ["--no-huge", "--file-prefix", "7", "--iova-mode=va"]);
    assert!(options.no_huge);
}

#[test]
fn options_of_other_dpdk_releases_pass_with_their_value() {
    let line = "--new-thing 5 --other=6 --flag --vdev net_null0";
    let options = parse_for((25, 11), line).unwrap();
    assert_eq!(options.passthrough, ["--new-thing", "5", "--other=6", "--flag", "--vdev", "net_null0"]);
}

#[test]
fn what_the_dpdk_that_runs_does_not_have_is_refused() {
    for (dpdk, line, start) in [
        ((22, 11), "--new-thing 5", "'--new-thing' is no EAL option of DPDK 22.11: it has --allow, "),
        ((24, 11), "--flag", "'--flag' is no EAL option of DPDK 24.11: it has --allow, "),
        ((22, 11), "--log-color", "'--log-color' is no EAL option of DPDK 22.11"),
        ((22, 11), "--syslog", "EAL option '--syslog' lacks its value"),
        ((24, 11), "--syslog daemon", "'daemon' is no EAL option"),
        ((24, 11), "--log daemon", "'--log' is ambiguous"),
    ] {
        let error = parse_for(dpdk, line).unwrap_err().to_string();
        assert!(error.starts_with(start), "{line}: {error}");
    }
    let options = parse_for((24, 11), "--log-color=never --log-timestamp --syslog").unwrap();
    assert_eq!(options.passthrough, ["--log-color=never", "--log-timestamp", "--syslog"]);
    assert_eq!(parse("--syslog daemon").unwrap().passthrough, ["--syslog", "daemon"]);
}

#[test]
fn a_value_is_never_taken_for_an_option() {
    let options = parse("--vdev -l -l 3").unwrap();
    assert_eq!(options.passthrough, ["--vdev", "-l"]);
    assert_eq!(options.reactor_mask.as_deref(), Some("[3]"));
}

#[test]
fn refusals_name_the_option_and_what_is_allowed() {
    for (line, parts) in [
        ("-l x", &["-l 'x'", "0 to 1023"][..]),
        ("-l 0-", &["'0-'", "such as 0-3,8"]),
        ("-l ,", &["','", "0 to 1023"]),
        ("-l 1024", &["1024", "0 to 1023"]),
        ("-l +1", &["'+1'", "0 to 1023"]),
        ("-c 0", &["'0'", "at least one"]),
        ("-c 0x", &["'0x'", "at least one"]),
        ("-c 12g", &["'12g'", "hexadecimal"]),
        ("-l 0 -c 1", &["-c", "once"]),
        ("--lcores 0@5", &["0@5", "plain list"]),
        ("--lcores=(0-3)@8", &["(0-3)@8", "plain list"]),
        ("-m 1G", &["-m", "'1G'", "0 to 2147483647"]),
        ("-l 0-3 --main-lcore 4", &["--main-lcore 4", "0-3"]),
        ("--main-lcore two", &["'two'", "0 to 1023"]),
        ("--vdev", &["'--vdev'", "lacks its value"]),
        ("-a", &["'-a'", "lacks its value"]),
        ("--no", &["'--no'", "ambiguous", "--no-hpet"]),
        ("-x 1", &["'-x'", "after '--'"]),
        ("eth0", &["'eth0'", "before '--'"]),
        ("-v eth0", &["'eth0'", "before '--'"]),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        for part in parts {
            assert!(error.to_string().contains(part), "{line}: {error} lacks {part}");
        }
    }
}

#[test]
fn white_space_inside_an_option_is_refused() {
    for word in ["--vdev=net_pcap0,rx_pcap=/a b", "", "a\tb"] {
        let error = EalOptions::parse(&[word.into()], (22, 11)).unwrap_err();
        assert!(error.to_string().contains("white space"), "{error}");
    }
}
