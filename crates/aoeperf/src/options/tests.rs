use super::*;

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("aoeperf").chain(line.split_whitespace()).map(Into::into).collect()
}

fn right(line: &str) -> CommandLine {
    parse(words(line)).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"))
}

fn wrong(line: &str) -> String {
    match parse(words(line)) {
        Err(Refusal::Usage(sentence)) => sentence,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn eal_s_words_stand_before_the_dashes() {
    let command = right("-l 1 --vdev=net_memif0 -- -q 64 -o 512 -w randrw -M 70 -t 2.5");
    assert_eq!(command.eal, ["-l", "1", "--vdev=net_memif0"]);
    let options = command.options;
    assert_eq!((options.queue_depth, options.sectors_per_io(), options.reads()), (64, 1, 70));
    assert_eq!((options.workload, options.time, options.warmup), (Workload::RandRw, 2.5, 1.0));
    assert!(right("-q 2").eal.is_empty());
    assert!(wrong("-q 2 -l 1").contains("'-l' is an EAL option"));
}

#[test]
fn workloads_say_their_share_of_reads() {
    for (line, reads) in [
        ("-w read", 100),
        ("-w randread", 100),
        ("-w write", 0),
        ("-w randwrite", 0),
        ("-w rw", 50),
        ("-w randrw -M 0", 0),
        ("", 100),
    ] {
        assert_eq!(right(line).options.reads(), reads, "{line}");
    }
}

#[test]
fn values_that_cannot_be_are_named_with_what_is_allowed() {
    for (line, parts) in [
        ("-q 0", &["'0'", "1..=512"][..]),
        ("-q 513", &["'513'", "1..=512"]),
        ("-o 1000", &["'1000'", "multiple of 512", "8192"]),
        ("-o 8704", &["'8704'", "512 to 8192"]),
        ("-o 0", &["'0'"]),
        ("-w random", &["'random'", "randread", "rw"]),
        ("-w rw -M 101", &["'101'", "0..=100"]),
        ("-w read -M 50", &["-M", "read"]),
        ("-w read --verify", &["--verify", "read writes nothing"]),
        ("-w randrw -M 100 --verify", &["-M 100"]),
        ("-t 0", &["-t 0"]),
        ("-t -1", &["-1"]),
        ("-t nan", &["'nan'", "0 to 86400"]),
        ("--target 1", &["'1'", "SHELF.SLOT"]),
        ("--target 65535.0", &["'65535.0'", "65534"]),
        ("--target 1.255", &["'1.255'", "254"]),
        ("--target 5-4.0", &["'5-4.0'"]),
        ("--mtu 100", &["'100'", "548"]),
        ("--initiators 0", &["'0'"]),
        ("--first-rto 99", &["'99'", "100"]),
        ("--sectors 0", &["'0'"]),
        ("--colour", &["'--colour'"]),
        ("words", &["'words'"]),
    ] {
        let sentence = wrong(line);
        assert!(parts.iter().all(|part| sentence.contains(part)), "{line}: {sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}

#[test]
fn ranges_are_every_shelf_times_every_slot() {
    let options = right("--target 0-39.0-249 --target 7.1").options;
    let all: Vec<String> =
        options.targets.iter().flat_map(Addresses::iter).map(|address| address.to_string()).collect();
    assert_eq!(all.len(), 40 * 250 + 1);
    assert_eq!((all[0].as_str(), all[250].as_str(), all[9_999].as_str()), ("0.0", "1.0", "39.249"));
    assert_eq!(all[10_000], "7.1");
}

#[test]
fn questions_are_answered_on_either_side() {
    for line in ["--help", "--help --", "-V", "-l 0 -h -- -q 1"] {
        match parse(words(line)) {
            Err(Refusal::Print(text)) => assert!(text.contains("aoeperf"), "{text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}
