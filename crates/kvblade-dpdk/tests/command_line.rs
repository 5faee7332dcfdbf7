//! The program itself, where it must stop before EAL starts: one sentence on stderr, the right exit code, and
//! nothing else.

use std::process::{Command, Output};

use nix::unistd::geteuid;

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvblade-dpdk")).args(words).env_remove("RUST_LOG").output().unwrap()
}

#[track_caller]
fn refuses(words: &[&str], exit_code: i32, parts: &[&str]) {
    let output = run(words);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{words:?}: {error}");
    assert!(error.starts_with("kvblade-dpdk: ") && error.ends_with('\n'), "{words:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
    assert_eq!(output.stdout, b"", "{words:?}");
    for part in parts {
        assert!(error.contains(part), "{words:?}: {error} lacks {part}");
    }
}

#[test]
fn questions_are_answered_on_stdout() {
    for (words, part) in [
        (&["--help"][..], "Examples:"),
        (&["-l", "0", "--", "--help"], "Examples:"),
        (&["--version"], "kvblade-dpdk "),
    ] {
        let output = run(words);
        assert!(output.status.success(), "{words:?}");
        assert_eq!(output.stderr, b"", "{words:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{words:?}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    refuses(&["--exprot", "1.1=b"], 2, &["--exprot"]);
    refuses(&["--export", "65535.1=b"], 2, &["shelf 65535", "65534"]);
    refuses(&["--export", "1.255=b"], 2, &["slot 255", "254"]);
    refuses(&["--export", "1.1=b", "--export", "1.1=c"], 2, &["'1.1=b'", "'1.1=c'"]);
    refuses(&["--export", "1.1=malloc:1000"], 2, &["'1000'", "512"]);
    refuses(&["--", "-l", "0-1", "--export", "1.1=b"], 2, &["EAL option", "--"]);
    refuses(&["--interface", "lo", "--export", "1.1=/a"], 2, &["'lo'"]);
    refuses(&["-i", "eth1", "-i", "eth1", "--export", "1.1=/a"], 2, &["'eth1'", "twice"]);
    refuses(&["-l", "zero", "--", "--export", "1.1=b"], 2, &["'zero'"]);
}

#[test]
fn a_machine_that_is_not_ready_exits_with_1() {
    let words = ["--strict", "--export", "1.1=aio:/nonexistent/disk"];
    if geteuid().is_root() {
        refuses(&words, 1, &["/nonexistent/disk", "No such file"]);
        refuses(&["--config", "/nonexistent/kv.json"], 1, &["/nonexistent/kv.json", "No such file"]);
        refuses(&["--rpc-socket", "/nonexistent/s"], 1, &["/nonexistent/s", "directory that exists"]);
        refuses(&["--no-huge", "-m", "1024", "-l", "1000", "--"], 1, &["lcore 1000"]);
        refuses(&["--interface", "nosuch0"], 1, &["'nosuch0'", "no such network interface"]);
        refuses(&["--settings", "/nonexistent/kv.toml"], 1, &["/nonexistent/kv.toml", "No such file"]);
    } else {
        refuses(&words, 1, &["run it as root"]);
    }
}
