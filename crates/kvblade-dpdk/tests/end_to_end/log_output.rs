//! Standard error that is full, closed, or a pipe that nobody reads: the target serves on, and lost lines are counted.

use std::fs::{self, File};
use std::io::{Read, pipe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use lab::Daemon;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::lab::{Lab, PATIENCE, PROGRAM, find, until};
use crate::rpc::Rpc;

/// Exports created and deleted in turns, with a line each. The lines fill a pipe and the queue in front of it.
const MANY: usize = 2000;

/// Lines that fit into the queue, and fill a pipe of 4 KiB.
const SOME: usize = 100;

/// A target whose standard error is at `errors`, once it answers.
fn started(lab: &Lab, errors: Stdio) -> (Daemon, Rpc) {
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0".to_owned()]);
    let mut command = lab.command(&eal, &["-e", "1.1=malloc:1M"]);
    let mut daemon = Daemon::start_with_errors_at(&mut command, errors).unwrap();
    daemon
        .wait_ready(PATIENCE, || Ok(std::os::unix::net::UnixStream::connect(lab.socket()).is_ok()))
        .unwrap();
    let mut rpc = Rpc::connect(&lab.socket());
    until("the export to be served", || rpc.state(1, 1).as_deref() == Some("online"));
    (daemon, rpc)
}

/// Makes the target log: its link goes down and up, and exports come and go.
fn make_lines(lab: &Lab, rpc: &mut Rpc, count: usize) {
    lab.set_far(0, "down");
    lab.set_far(0, "up");
    rpc.call("bdev_malloc_create", json!({ "name": "spare", "num_blocks": 8, "block_size": 512 }));
    for _ in 0..count / 2 {
        rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "spare" }));
        rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    }
    rpc.call("bdev_malloc_delete", json!({ "name": "spare" }));
}

/// I/O and RPC still work.
#[track_caller]
fn serves(lab: &Lab, rpc: &mut Rpc) {
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    initiator.write(&export, 5, &[0x3c; SECTOR]).unwrap();
    let mut sector = [0; SECTOR];
    initiator.read(&export, 5, &mut sector).unwrap();
    assert_eq!(sector, [0x3c; SECTOR]);
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
}

#[track_caller]
fn ends(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(0));
}

fn dev_full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_full_standard_error_does_not_end_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (mut daemon, mut rpc) = started(&lab, dev_full().into());
    make_lines(&lab, &mut rpc, SOME);
    serves(&lab, &mut rpc);
    ends(&mut daemon);
}

#[test]
fn a_reader_that_goes_does_not_end_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (reader, writer) = pipe().unwrap();
    let (mut daemon, mut rpc) = started(&lab, writer.into());
    drop(reader);
    make_lines(&lab, &mut rpc, SOME);
    serves(&lab, &mut rpc);
    ends(&mut daemon);
}

#[test]
fn a_reader_that_stands_still_does_not_stop_it_and_learns_how_many_lines_it_missed() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (mut reader, errors) = cat(&lab);
    let (mut daemon, mut rpc) = started(&lab, errors.into());
    reader.signal(Signal::SIGSTOP).unwrap();
    make_lines(&lab, &mut rpc, MANY);
    serves(&lab, &mut rpc);
    assert!(!reader.log().unwrap().contains("lines are lost"));
    reader.signal(Signal::SIGCONT).unwrap();
    reader.wait_for_log("lines are lost", PATIENCE).unwrap();
    let log = reader.log().unwrap();
    let line = log.lines().find(|line| line.contains("lines are lost")).unwrap();
    let lost: usize = line.split_whitespace().find_map(|word| word.parse().ok()).expect("their number");
    let exports = log.lines().filter(|line| line.contains("export=1.2")).count();
    assert!(lost > 0 && exports + lost >= MANY, "{exports} lines are there, {lost} are lost of {MANY}");
    ends(&mut daemon);
}

#[test]
fn it_ends_although_a_reader_stands_still() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (reader, errors) = cat(&lab);
    let (mut daemon, mut rpc) = started(&lab, errors.into());
    reader.signal(Signal::SIGSTOP).unwrap();
    make_lines(&lab, &mut rpc, MANY);
    ends(&mut daemon);
}

#[test]
fn a_file_system_without_room_does_not_end_it_and_gets_the_number_of_lines_later() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mount = Tmpfs::mount(&lab, "64k");
    let log = mount.0.join("log");
    let errors = File::options().create(true).append(true).open(&log).unwrap();
    let (mut daemon, mut rpc) = started(&lab, errors.into());
    make_lines(&lab, &mut rpc, MANY);
    serves(&lab, &mut rpc);
    let full = fs::read_to_string(&log).unwrap();
    assert!(!full.contains("lines are lost"), "there is no room for it: {}", full.len());
    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    until("the number of lost lines", || fs::read_to_string(&log).unwrap().contains("lines are lost"));
    ends(&mut daemon);
}

#[test]
fn the_last_lines_before_an_abort_are_written() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (mut reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let (mut daemon, mut rpc) = started(&lab, writer.into());
    make_lines(&lab, &mut rpc, SOME);
    daemon.signal(Signal::SIGABRT).unwrap();
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    let exports = log.lines().filter(|line| line.contains("export=1.2")).count();
    assert!(exports >= SOME, "{exports} of {SOME}: {log}");
    let status = daemon.wait(PATIENCE).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGABRT as i32));
}

#[test]
fn an_abort_does_not_wait_long_for_a_reader_that_stands_still() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (_reader, writer) = pipe().unwrap();
    let (mut daemon, mut rpc) = started(&lab, writer.into());
    make_lines(&lab, &mut rpc, MANY);
    daemon.signal(Signal::SIGABRT).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGABRT as i32));
}

#[test]
fn help_that_cannot_be_written_is_a_failure_with_a_sentence() {
    let (reader, closed) = pipe().unwrap();
    drop(reader);
    for (output, reason) in [(Stdio::from(dev_full()), "No space left"), (closed.into(), "Broken pipe")] {
        let run = Command::new(PROGRAM).arg("--help").stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        let run = run.wait_with_output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.starts_with("kvblade-dpdk: standard output can't be written: "), "{said}");
        assert!(said.contains(reason) && said.lines().count() == 1, "{said}");
    }
    let run = Command::new(PROGRAM).arg("--no-such").stderr(dev_full()).status().unwrap();
    assert_eq!(run.code(), Some(2), "a sentence that can't be written changes no exit code");
}

/// A process that reads a pipe into its log, and the pipe's other end.
fn cat(lab: &Lab) -> (Daemon, File) {
    let path = lab.path("errors");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    // Each end waits for the other one when it is opened.
    let daemon = Daemon::start(Command::new("cat").arg(&path)).unwrap();
    let writer = File::options().write(true).open(&path).unwrap();
    (daemon, writer)
}

/// A file system in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(lab: &Lab, size: &str) -> Self {
        let path = lab.path("full");
        fs::create_dir(&path).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path));
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(path: &Path) {
    run(Command::new("umount").arg("--lazy").arg(path));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
