//! The four commands as a user runs them, against a fake target.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::fake_target::{FakeTarget, Reply, bdev};
use control::ExportInfo;
use serde_json::json;

/// `kv`, called by the name of one of its links.
pub(crate) fn kv_as(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
    command.arg0(name);
    command
}

pub(crate) fn run(target: &FakeTarget, command: &str, words: &[&str]) -> Output {
    kv_as(command)
        .args(words)
        .arg("--rpc-socket")
        .arg(target.socket())
        .current_dir(target.directory())
        .output()
        .unwrap()
}

#[track_caller]
pub(crate) fn succeeds(target: &FakeTarget, command: &str, words: &[&str]) -> String {
    let output = run(target, command, words);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""), "{command} {words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn fails(target: &FakeTarget, command: &str, words: &[&str], exit_code: i32, parts: &[&str]) {
    let output = run(target, command, words);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{command} {words:?}: {error}");
    assert_eq!(output.stdout, b"", "{command} {words:?}");
    assert!(error.starts_with(&format!("{command}: ")), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for part in parts {
        assert!(error.contains(part), "{command} {words:?}: {error} lacks {part}");
    }
}

#[test]
fn a_file_is_added_listed_and_removed_with_its_bdev() {
    let target = FakeTarget::start();
    let disk = target.file("disk", 1 << 20);
    let disk = disk.to_str().unwrap();
    assert_eq!(succeeds(&target, "kvadd", &["1", "3", "veth0", "disk"]), "e1.3 serves disk\n");
    assert_eq!(target.exports(), ["1.3 port 0 file1.3"]);
    let created =
        target.state().calls.iter().find(|(method, _)| method == "bdev_file_create").cloned().unwrap();
    assert_eq!(created.1, json!({"name": "file1.3", "filename": disk}));
    assert_eq!(succeeds(&target, "kvstat", &[]), format!("       1.3  veth0    0.001GB {disk}\n"));
    assert_eq!(succeeds(&target, "kvdel", &["1", "3", "net_af_packet0"]), "");
    let listed = target.state().calls.iter().rfind(|(method, _)| method == "bdev_get_bdevs").cloned();
    assert_eq!(listed.unwrap().1, json!({"name": "file1.3"}), "and not thousands of bdevs");
    assert_eq!((target.exports(), target.bdev_names()), (vec![], vec!["Malloc0".to_owned()]));
    assert_eq!(succeeds(&target, "kvstat", &[]), "");
}

#[test]
fn an_image_is_added_listed_and_removed_with_its_bdev() {
    let target = FakeTarget::start();
    let add = ["1", "3", "veth0", "rbd:pool/disk", "--user", "kv", "--conf", "/etc/c.conf"];
    assert_eq!(succeeds(&target, "kvadd", &add), "e1.3 serves rbd:pool/disk\n");
    let created =
        target.state().calls.iter().find(|(method, _)| method == "bdev_rbd_create").cloned().unwrap();
    assert_eq!(
        created.1,
        json!({"name": "rbd1.3", "pool_name": "pool", "rbd_name": "disk", "block_size": 512,
               "user_id": "kv", "config_file": "/etc/c.conf"})
    );
    assert_eq!(succeeds(&target, "kvstat", &[]), "       1.3  veth0    0.001GB rbd:pool/disk\n");
    let again = ["1", "3", "0000:03:00.0", "rbd:pool/disk", "--user", "kv", "--conf", "/etc/c.conf"];
    succeeds(&target, "kvadd", &again);
    assert_eq!(target.bdev_names(), ["Malloc0", "rbd1.3"], "one image is one bdev");
    for port in ["veth0", "0000:03:00.0"] {
        succeeds(&target, "kvdel", &["1", "3", port]);
    }
    assert_eq!(target.bdev_names(), ["Malloc0"]);
}

#[test]
fn an_image_is_refused_by_a_target_without_ceph_with_the_package() {
    let target = FakeTarget::start();
    target.script(|method, _| match method {
        "bdev_rbd_create" => Reply::Error(-32601, "Method not found"),
        _ => Reply::Usual,
    });
    fails(&target, "kvadd", &["1", "3", "veth0", "rbd:p/d"], 1, &["'rbd:p/d'", "kvblade-dpdk-ceph"]);
    fails(&target, "kvadd", &["1", "3", "veth0", "rbd:d"], 2, &["rbd:d names no image", "POOL/IMAGE"]);
    fails(&target, "kvadd", &["1", "3", "veth0", "Malloc0x", "--user", "a"], 2, &["--user and --conf"]);
}

#[test]
fn a_bdev_is_added_by_name_and_stays() {
    let target = FakeTarget::start();
    // A file of the same name does not come before the bdev.
    target.file("Malloc0", 512);
    succeeds(&target, "kvadd", &["2", "1", "0000:03:00.0", "Malloc0", "--read-only"]);
    assert_eq!(target.exports(), ["2.1 port 1 Malloc0"]);
    assert_eq!(succeeds(&target, "kvstat", &[]), "       2.1 0000:03:00.0    0.067GB Malloc0 ro\n");
    succeeds(&target, "kvdel", &["2", "1", "1"]);
    assert_eq!(target.bdev_names(), ["Malloc0"]);
}

#[test]
fn a_bdev_keeps_the_alias_it_is_added_by() {
    let target = FakeTarget::start();
    let mut volume = bdev("0b1c", 8, json!({}));
    volume["aliases"] = json!(["lvs/lvol"]);
    target.state().bdevs.push(volume);
    succeeds(&target, "kvadd", &["1", "1", "0", "lvs/lvol"]);
    assert_eq!(target.exports(), ["1.1 port 0 lvs/lvol"]);
    assert_eq!(succeeds(&target, "kvstat", &[]), "       1.1  veth0    0.000GB lvs/lvol\n");
    fails(
        &target,
        "kvadd",
        &["1", "2", "0", "0b1c"],
        1,
        &["'0b1c' is exported as 1.1 already", "second disk"],
    );
    succeeds(&target, "kvdel", &["1", "1", "0"]);
}

#[test]
fn one_file_on_two_interfaces_is_one_bdev_that_goes_with_the_last() {
    let target = FakeTarget::start();
    let disk = target.file("disk", 1 << 20);
    std::os::unix::fs::symlink(&disk, target.directory().join("link")).unwrap();
    succeeds(&target, "kvadd", &["1", "1", "veth0", "disk"]);
    succeeds(&target, "kvadd", &["1", "1", "1", "link"]);
    assert_eq!(target.exports(), ["1.1 port 0 file1.1", "1.1 port 1 file1.1"]);
    succeeds(&target, "kvdel", &["1", "1", "veth0"]);
    assert_eq!(target.bdev_names(), ["Malloc0", "file1.1"]);
    succeeds(&target, "kvdel", &["1", "1", "1"]);
    assert_eq!(target.bdev_names(), ["Malloc0"]);
}

#[test]
fn one_file_is_two_disks_only_when_nobody_writes() {
    let target = FakeTarget::start();
    target.file("disk", 1 << 20);
    succeeds(&target, "kvadd", &["1", "1", "veth0", "disk", "--read-only"]);
    fails(
        &target,
        "kvadd",
        &["1", "2", "veth0", "disk"],
        1,
        &["'disk'", "1.1", "1.2", "second disk", "read-only"],
    );
    succeeds(&target, "kvadd", &["1", "2", "veth0", "disk", "-r"]);
    assert_eq!(target.exports(), ["1.1 port 0 file1.1", "1.2 port 0 file1.1"]);
}

#[test]
fn two_files_at_one_address_have_two_bdevs() {
    let target = FakeTarget::start();
    target.file("one", 512);
    target.file("two", 512);
    target.file("three", 512);
    succeeds(&target, "kvadd", &["1", "1", "0", "one"]);
    succeeds(&target, "kvadd", &["1", "1", "1", "two"]);
    assert_eq!(target.exports(), ["1.1 port 0 file1.1", "1.1 port 1 file1.1@1"]);
    fails(&target, "kvadd", &["1", "1", "1", "three"], 1, &["'file1.1'", "'file1.1@1'", "bdev_file_delete"]);
    succeeds(&target, "kvdel", &["1", "1", "1"]);
    assert_eq!(target.bdev_names(), ["Malloc0", "file1.1"]);
}

#[test]
fn a_read_only_export_opens_its_file_read_only() {
    let target = FakeTarget::start();
    target.file("disk", 512);
    succeeds(&target, "kvadd", &["1", "1", "0", "disk", "-r"]);
    let created =
        target.state().calls.iter().find(|(method, _)| method == "bdev_file_create").cloned().unwrap();
    assert_eq!(created.1["readonly"], true);
}

#[test]
fn a_file_is_served_as_its_options_say() {
    let target = FakeTarget::start();
    let disk = target.file("disk", 1025);
    let disk = disk.to_str().unwrap();
    for (slot, path, words, method, params) in [
        (
            "1",
            "disk",
            &["--sync", "each", "--buffered"][..],
            "bdev_file_create",
            json!({"name": "file1.1", "filename": disk, "buffered": true, "sync": "each"}),
        ),
        (
            "2",
            "file:disk",
            &["-r", "--direct"],
            "bdev_file_create",
            json!({"name": "file1.2", "filename": disk, "readonly": true, "buffered": false}),
        ),
        (
            "3",
            "disk",
            &["--cache", "write-back"],
            "bdev_file_create",
            json!({"name": "file1.3", "filename": disk, "sync": "none"}),
        ),
    ] {
        succeeds(&target, "kvadd", &[&["1", slot, "0", path], words].concat());
        let calls = target.state().calls.clone();
        assert!(calls.contains(&(method.to_owned(), params.clone())), "{params}: {calls:?}");
        succeeds(&target, "kvdel", &["1", slot, "0"]);
    }
    target.file("whole", 1024);
    succeeds(&target, "kvadd", &["1", "4", "0", "spdk-aio:whole"]);
    assert_eq!(target.exports(), ["1.4 port 0 aio1.4"]);
    succeeds(&target, "kvdel", &["1", "4", "0"]);
    assert_eq!(target.bdev_names(), ["Malloc0"]);
    let leave_out = "leave them out";
    fails(&target, "kvadd", &["1", "5", "0", "Malloc0", "--buffered"], 2, &["'Malloc0'", leave_out]);
    fails(&target, "kvadd", &["1", "5", "0", "rbd:p/d", "--direct"], 2, &["'rbd:p/d'", leave_out]);
    fails(
        &target,
        "kvadd",
        &["1", "5", "0", "spdk-aio:whole", "--sync", "none"],
        2,
        &["SPDK's own", leave_out],
    );
    fails(&target, "kvadd", &["1", "5", "0", "disk", "--sync", "all"], 2, &["sync 'all'", "group"]);
    fails(&target, "kvadd", &["1", "5", "0", "disk", "--buffered", "--direct"], 2, &["--direct"]);
    succeeds(&target, "kvadd", &["1", "5", "0", "disk"]);
    fails(
        &target,
        "kvadd",
        &["1", "5", "1", "disk", "--direct"],
        2,
        &["bdev 'file1.5' serves already", leave_out],
    );
}

#[test]
fn a_target_without_io_uring_serves_a_file_by_spdks_aio() {
    let target = FakeTarget::start();
    let disk = target.file("disk", 1024);
    target.script(|method, _| match method {
        "bdev_file_create" => Reply::Error(-1, "io_uring can't be used (Operation not permitted)"),
        _ => Reply::Usual,
    });
    succeeds(&target, "kvadd", &["1", "1", "0", "disk", "--read-only", "--buffered"]);
    let params = json!({"name": "file1.1", "filename": disk, "readonly": true, "block_size": 512});
    let calls = target.state().calls.clone();
    assert!(calls.contains(&("bdev_aio_create".to_owned(), params)), "{calls:?}");
    succeeds(&target, "kvdel", &["1", "1", "0"]);
    assert_eq!(target.bdev_names(), ["Malloc0"], "deleted by the method of its kind");
    // Another refusal is no reason for another module.
    target.script(|method, _| match method {
        "bdev_file_create" => Reply::Error(-16, "'disk' is mounted at '/srv'"),
        _ => Reply::Usual,
    });
    fails(&target, "kvadd", &["1", "1", "0", "disk"], 1, &["mounted at '/srv'"]);
    assert_eq!(target.bdev_names(), ["Malloc0"]);
}

#[test]
fn a_refused_export_takes_its_bdev_along() {
    let target = FakeTarget::start();
    target.file("disk", 512);
    fails(&target, "kvadd", &["1", "1", "eth9", "disk"], 1, &["'eth9'", "0 (net_af_packet0, veth0)"]);
    assert_eq!(target.bdev_names(), ["Malloc0"]);
    let methods = target.methods();
    assert_eq!(
        methods,
        ["bdev_get_bdevs", "bdev_file_create", "aoe_create_export", "bdev_get_bdevs", "bdev_file_delete"]
    );

    target.script(|method, _| match method {
        "bdev_file_delete" => Reply::Error(-16, "Device or resource busy"),
        _ => Reply::Usual,
    });
    fails(
        &target,
        "kvadd",
        &["1", "1", "eth9", "disk"],
        1,
        &["'eth9'", "'file1.1'", "Device or resource busy"],
    );
}

#[test]
fn an_address_in_use_is_refused_with_what_uses_it() {
    let target = FakeTarget::start();
    succeeds(&target, "kvadd", &["1", "1", "0", "Malloc0"]);
    fails(
        &target,
        "kvadd",
        &["1", "1", "veth0", "Malloc0"],
        1,
        &["1.1", "already exported on port 0", "'Malloc0'"],
    );
}

#[test]
fn paths_that_cannot_be_served_are_named() {
    let target = FakeTarget::start();
    target.file("odd", 100);
    target.file("part", 1025);
    fs::create_dir(target.directory().join("directory")).unwrap();
    for (path, parts) in [
        ("Malloc1", &["'Malloc1' is no bdev", "No such file", "Malloc0"][..]),
        ("/nonexistent/x", &["'/nonexistent/x'", "No such file", "Malloc0"]),
        ("odd", &["/odd'", "100 bytes", "at least 512"]),
        ("spdk-aio:part", &["/part'", "1025 bytes", "multiple of 512", "file:"]),
        ("directory", &["/directory'", "a directory", "regular file or block device"]),
        ("/dev/null", &["'/dev/null'", "regular file or block device"]),
        ("/sys/kernel/uevent_seqnum", &["uevent_seqnum'", "read-only"]),
    ] {
        fails(&target, "kvadd", &["1", "1", "0", path], 1, parts);
    }
    assert!(target.methods().iter().all(|method| method == "bdev_get_bdevs"));
    // One that can't be written can be read.
    succeeds(&target, "kvadd", &["1", "1", "0", "/sys/kernel/uevent_seqnum", "-r"]);
}

#[test]
fn a_bdev_somebody_else_uses_or_named_is_kept() {
    let target = FakeTarget::start();
    let file = json!({"aio": {"filename": "/x"}});
    let mut claimed = bdev("aio1.1", 8, file.clone());
    claimed["claimed"] = true.into();
    target.state().bdevs.extend([claimed, bdev("aiodisk", 8, file.clone()), bdev("aio1.3", 8, json!({}))]);
    for (slot, name) in [("1", "aio1.1"), ("2", "aiodisk"), ("3", "aio1.3")] {
        succeeds(&target, "kvadd", &["1", slot, "0", name]);
        succeeds(&target, "kvdel", &["1", slot, "0"]);
    }
    assert_eq!(target.bdev_names(), ["Malloc0", "aio1.1", "aiodisk", "aio1.3"]);
}

/// The third call's answer lists the export as quarantined; SPDK deletes its bdev when it may.
#[test]
fn a_forced_kvdel_has_the_bdev_go_after_its_requests() {
    for (read_only, is_deleted) in [(false, true), (true, false)] {
        let target = FakeTarget::start();
        target.file("disk", 1 << 20);
        succeeds(&target, "kvadd", &["1", "3", "0", "disk"]);
        let state = target.state();
        let mut export = json!(ExportInfo::of(state.registry.exports()[0], state.registry.ports()));
        drop(state);
        export["state"] = "quarantined".into();
        export["read_only"] = read_only.into();
        let mut lists = 0;
        target.script(move |method, _| match method {
            "aoe_get_exports" => {
                lists += 1;
                let answer = json!({ "jsonrpc": "2.0", "id": 3, "result": [export] });
                if lists == 2 { Reply::Pieces(vec![answer.to_string().into_bytes()]) } else { Reply::Usual }
            }
            "bdev_file_delete" => Reply::Silence,
            _ => Reply::Usual,
        });
        let told = "1.3 is no longer exported; its bdev 'file1.3' goes when it has answered the requests in flight\n";
        let printed = succeeds(&target, "kvdel", &["1", "3", "0", "--force"]);
        assert_eq!(printed, if is_deleted { told } else { "" });
        assert_eq!(
            target.methods().contains(&"bdev_file_delete".to_owned()),
            is_deleted,
            "{:?}",
            target.methods()
        );
    }
}

#[test]
fn kvdel_names_what_is_not_there() {
    let target = FakeTarget::start();
    fails(&target, "kvdel", &["1", "1", "0"], 1, &["no export 1.1", "none"]);
    succeeds(&target, "kvadd", &["1", "1", "0", "Malloc0"]);
    fails(&target, "kvdel", &["1", "1", "1"], 1, &["1.1 is not exported on port 1", "port 0"]);
    fails(&target, "kvdel", &["1", "1", "eth9"], 1, &["'eth9'", "the ports are"]);
    assert_eq!(target.exports().len(), 1);
}

#[test]
fn a_bdev_that_stays_behind_is_told() {
    let target = FakeTarget::start();
    target.file("disk", 512);
    succeeds(&target, "kvadd", &["1", "1", "0", "disk"]);
    target.script(|method, _| match method {
        "bdev_file_delete" => Reply::Error(-16, "Device or resource busy"),
        _ => Reply::Usual,
    });
    fails(&target, "kvdel", &["1", "1", "0"], 1, &["1.1 is no longer exported", "'file1.1'", "busy"]);
    assert!(target.exports().is_empty());
}

#[test]
fn announcements_are_asked_for_by_shelf_and_slot() {
    let target = FakeTarget::start();
    succeeds(&target, "kvadd", &["1", "1", "0", "Malloc0"]);
    for (words, params) in
        [(&[][..], json!({})), (&["1"], json!({"shelf": 1})), (&["1", "1"], json!({"shelf": 1, "slot": 1}))]
    {
        assert_eq!(succeeds(&target, "kvannounce", words), "");
        assert_eq!(target.state().calls.last().unwrap(), &("aoe_announce".to_owned(), params));
    }
    fails(&target, "kvannounce", &["2"], 1, &["no export 2.*", "1.1"]);
}

#[test]
fn wrong_command_lines_exit_with_2_and_ask_nobody() {
    let target = FakeTarget::start();
    for (command, words, parts) in [
        ("kvadd", &["1", "1", "eth0"][..], &["<PATH>"][..]),
        ("kvadd", &["65535", "1", "eth0", "x"], &["65535", "0 to 65534"]),
        ("kvadd", &["1", "255", "eth0", "x"], &["255", "0 to 254"]),
        ("kvadd", &["1", "0x1", "eth0", "x"], &["0x1", "decimal"]),
        ("kvadd", &["1", "1", "70000", "x"], &["70000", "0 to 65535"]),
        ("kvadd", &["1", "1", "eth 0", "x"], &["eth 0", "white space"]),
        ("kvdel", &["1", "1", "eth0", "x"], &["'x'"]),
        ("kvdel", &["1"], &["<SLOT>"]),
        ("kvstat", &["1"], &["'1'"]),
        ("kvstat", &["--timeout", "0"], &["seconds", "above 0"]),
        ("kvstat", &["--timeout", "nan"], &["seconds", "above 0"]),
        ("kvannounce", &["1", "256"], &["256", "0 to 254"]),
    ] {
        fails(&target, command, words, 2, parts);
        fails(&target, command, words, 2, &["--help"]);
    }
    assert_eq!(target.methods(), Vec::<String>::new());
}

#[test]
fn help_and_version_are_answered() {
    let target = FakeTarget::start();
    for command in ["kvadd", "kvdel", "kvstat", "kvannounce"] {
        let help = succeeds(&target, command, &["--help"]);
        assert!(help.contains("--rpc-socket") && help.contains("/var/tmp/spdk.sock"), "{help}");
        assert!(succeeds(&target, command, &["--version"]).starts_with(command));
    }
    assert!(succeeds(&target, "kvadd", &["--help"]).contains("kvadd 1 3 eth0 /dev/sdb"));
}

#[test]
fn a_target_that_does_not_answer_is_told() {
    let target = FakeTarget::start();
    target.script(|_, _| Reply::Silence);
    fails(&target, "kvstat", &["--timeout", "0.05"], 1, &["aoe_get_exports", "0.05 s"]);
    let socket = target.socket();
    fs::remove_file(&socket).unwrap();
    fails(
        &target,
        "kvstat",
        &[],
        1,
        &["cannot reach kvblade-dpdk", socket.to_str().unwrap(), "is it running"],
    );
}

#[test]
fn output_that_cannot_be_written_is_a_failure_with_a_sentence() {
    let target = FakeTarget::start();
    target.file("disk", 1 << 20);
    succeeds(&target, "kvadd", &["1", "3", "veth0", "disk"]);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let kvstat = |output: Stdio, errors: Stdio| {
        let mut command = kv_as("kvstat");
        command.arg("--rpc-socket").arg(target.socket()).stdout(output).stderr(errors);
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    for (output, reason) in [(full().into(), "No space left"), (closed.into(), "Broken pipe")] {
        let run = kvstat(output, Stdio::piped());
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.starts_with("kvstat: standard output can't be written: "), "{said}");
        assert!(said.contains(reason) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(kvstat(full().into(), full().into()).status.code(), Some(1));
}
