//! Files and block devices of the kernel as an operator exports them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{AtaRequest, SECTOR};
use serde_json::{Value, json};

use crate::commands::{fails, prints};
use crate::initiator_state::{ata_request, mac};
use crate::lab::{Lab, SECTORS, Target, answer, find, hear, require, until};
use crate::restart::saved;
use crate::rpc::Rpc;

const FIRST: ShelfSlot = ShelfSlot::new(1, 1);

/// A loop device on a file.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn attach(file: &str) -> Self {
        Self::with(file, &[])
    }

    fn with(file: &str, options: &[&str]) -> Self {
        let mut command = Command::new(require("losetup"));
        let output = command.args(["--find", "--show"]).args(options).arg(file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["--detach", &self.0]).status();
        if !detached.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("losetup --detach {}: {detached:?}", self.0);
        }
    }
}

/// A mounted file system.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    pub(crate) fn new(lab: &Lab, words: &[&str]) -> Self {
        Self::at(lab.path("mount"), words)
    }

    pub(crate) fn at(place: PathBuf, words: &[&str]) -> Self {
        fs::create_dir(&place).unwrap();
        lab::run(Command::new(require("mount")).args(words).arg(&place)).unwrap();
        Self(place)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = lab::run(Command::new("umount").arg(&self.0)) {
            eprintln!("{error}");
        }
    }
}

/// How the module serves the file of a bdev.
fn described(rpc: &mut Rpc, name: &str) -> [Value; 4] {
    let bdev = rpc.call("bdev_get_bdevs", json!({ "name": name }))[0].clone();
    ["filename", "readonly", "buffered", "sync"].map(|key| bdev["driver_specific"]["file"][key].clone())
}

fn count(target: &Target, counter: &str) -> u64 {
    target.rpc().call("aoe_get_stats", Value::Null)["exports"][0][counter].as_u64().unwrap()
}

#[test]
fn a_file_is_written_durably_by_its_own_module_and_again_after_a_restart_from_what_was_saved() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let (file, config) = (lab.file("disk"), lab.path("config.json"));
    let target = lab.start(&["-e", &format!("1.1={file},sync=group")]);
    let mut rpc = target.rpc();
    let line = format!("bdev=\"file1.1\" path=\"{file}\" io=\"direct\" sync=\"group\"");
    assert!(target.log().contains(&line), "{}", target.log());
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    for lba in 0..40 {
        initiator.write(&export, lba, &[u8::try_from(lba).unwrap() + 1; SECTOR]).unwrap();
    }
    initiator.flush(&export).unwrap();
    // The bdev has made them durable: no flush follows.
    assert_eq!((count(&target, "writes"), count(&target, "write_flushes")), (40, 0));
    let disk = fs::read(&file).unwrap();
    assert!((0..40_usize).all(|lba| disk[lba * SECTOR] == u8::try_from(lba).unwrap() + 1));
    fs::write(&config, saved(&mut rpc).to_string()).unwrap();
    let before = described(&mut rpc, "file1.1");
    assert_eq!(before, [json!(file), json!(false), json!(false), json!("group")]);
    target.stop();

    let target = lab.start(&["--config", config.to_str().unwrap()]);
    assert_eq!(described(&mut target.rpc(), "file1.1"), before);
    let export = find(&mut initiator, FIRST);
    let mut data = [0; SECTOR];
    initiator.read(&export, 39, &mut data).unwrap();
    assert_eq!(data, [40; SECTOR]);
    target.stop();
}

#[test]
fn a_file_that_is_only_read_goes_through_the_page_cache_and_is_not_copied() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
    disk.write_all_at(&[0x77; SECTOR], 7 * SECTOR as u64).unwrap();
    let exports = [format!("1.1=file:{file},ro"), format!("1.2={},ro,direct", lab.file("other"))];
    let target = lab.start(&["--payload-alignment", "4", "-e", &exports[0], "-e", &exports[1]]);
    for (bdev, io) in [("file1.1", "buffered"), ("file1.2", "direct")] {
        let log = target.log();
        let line = log.lines().find(|line| line.contains(&format!("bdev=\"{bdev}\" path=")));
        assert!(line.is_some_and(|line| line.contains(&format!("io=\"{io}\""))), "{log}");
    }
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    let mut data = [0; SECTOR];
    initiator.read(&export, 7, &mut data).unwrap();
    assert_eq!(data, [0x77; SECTOR]);
    initiator.write(&export, 7, &[0; SECTOR]).unwrap_err();
    let stats = target.rpc().call("aoe_get_stats", Value::Null);
    assert_eq!(stats["lcores"][0]["bounced"], 0, "{stats}");
    target.stop();
}

#[test]
fn what_follows_the_last_whole_sector_is_left_out_and_stays_as_it_is() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    let (last, rest) = (SECTORS - 1, [0xee; 100]);
    let disk = fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    disk.write_all_at(&rest, SECTORS * SECTOR as u64).unwrap();
    let target = lab.start(&["-e", &format!("1.1={file}")]);
    assert!(target.log().contains("the last 100 bytes of"), "{}", target.log());
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    assert_eq!(initiator.identify(&export).unwrap().sectors, SECTORS);
    initiator.write(&export, last, &[0x11; SECTOR]).unwrap();
    initiator.write(&export, SECTORS, &[0x22; SECTOR]).unwrap_err();
    let mut end = [0; SECTOR + 100];
    assert_eq!(disk.read_at(&mut end, last * SECTOR as u64).unwrap(), end.len());
    assert_eq!((&end[..SECTOR], &end[SECTOR..]), (&[0x11; SECTOR][..], &rest[..]));
    target.stop();
}

#[test]
fn a_file_that_grows_is_noticed_without_a_call() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    let target = lab.start(&["-e", &format!("1.1={file}")]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    let disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
    disk.set_len(2 * SECTORS * SECTOR as u64).unwrap();
    initiator.drain().unwrap();
    hear(&mut initiator, &[FIRST]);
    assert_eq!(initiator.identify(&export).unwrap().sectors, 2 * SECTORS);
    initiator.write(&export, 2 * SECTORS - 1, &[0x99; SECTOR]).unwrap();
    assert!(fs::read(&file).unwrap().ends_with(&[0x99; SECTOR]));
    // One that shrinks keeps its size; what is gone fails.
    disk.set_len(SECTORS * SECTOR as u64).unwrap();
    initiator.read(&export, 2 * SECTORS - 1, &mut [0; SECTOR]).unwrap_err();
    assert_eq!(initiator.identify(&export).unwrap().sectors, 2 * SECTORS);
    initiator.write(&export, 3, &[3; SECTOR]).unwrap();
    target.stop();
}

#[test]
fn where_linux_has_no_io_uring_a_file_is_served_by_spdks_aio_and_the_log_says_why() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    let mut eal = lab.eal();
    eal.extend(["-l".into(), "0".into()]);
    let mut command = lab.command(&eal, &["-e", &format!("1.1={file},sync=group")]);
    command.env("LD_PRELOAD", lab.library("refuse_io_uring"));
    let target = lab.start_command(command);
    let log = target.log();
    let line = log.lines().find(|line| line.contains("io_uring"));
    assert!(line.is_some_and(|line| line.contains("file1.1") && line.contains("aio")), "{log}");
    let mut rpc = target.rpc();
    let bdev = rpc.call("bdev_get_bdevs", json!({ "name": "file1.1" }))[0].clone();
    assert_eq!(bdev["driver_specific"]["aio"]["filename"], json!(file), "{bdev}");
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    initiator.write(&export, 5, &[5; SECTOR]).unwrap();
    assert_eq!(count(&target, "write_flushes"), 1, "by an fdatasync");
    // Its commands are the same, whichever module it has.
    prints(&lab, &["kvdel", "1", "1", "t0"]);
    rpc.refused("bdev_get_bdevs", json!({ "name": "file1.1" }), -19, &[]);
    prints(&lab, &["kvadd", "1", "2", "t0", &file]);
    let bdev = rpc.call("bdev_get_bdevs", json!({ "name": "file1.2" }))[0].clone();
    assert_eq!(bdev["driver_specific"]["aio"]["filename"], json!(file), "{bdev}");
    let log = target.log();
    for words in [
        "bdev file1.2 is not made: io_uring can't be used",
        "by SPDK's own bdev, which fdatasync makes durable",
    ] {
        assert!(log.lines().any(|line| line.contains(words) && line.contains("file1.2")), "{log}");
    }
    target.stop();
}

#[test]
fn a_block_device_of_4096_byte_blocks_is_written_in_sectors_and_trimmed() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let device = Loop::with(&file, &["--sector-size", "4096"]);
    let target = lab.start(&["-e", &format!("1.1={}", device.0)]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    let identity = initiator.identify(&export).unwrap();
    assert_eq!(identity.sectors, SECTORS);
    let mut expected = vec![0; 24 * SECTOR];
    for (lba, sectors) in [(1, 1), (6, 4), (8, 16)] {
        let data = vec![u8::try_from(0x40 + lba).unwrap(); sectors * SECTOR];
        initiator.write(&export, lba, &data).unwrap();
        let at = usize::try_from(lba).unwrap() * SECTOR;
        expected[at..at + data.len()].copy_from_slice(&data);
    }
    let mut back = vec![0; expected.len()];
    initiator.read(&export, 0, &mut back).unwrap();
    assert!(back == expected);
    // Word 169: TRIM.
    let identify = ata_request(mac(&initiator), AtaRequest::identify());
    let page = answer(&mut initiator, &identify);
    assert_eq!(page[36 + 2 * 169] & 1, 1, "loop devices on ext4 or tmpfs discard");
    target.stop();
}

#[test]
fn a_mounted_device_is_refused_with_its_mount_point_and_can_be_read() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let device = Loop::attach(&lab.file("disk"));
    lab::run(Command::new(require("mkfs.ext4")).args(["-q", &device.0])).unwrap();
    let mount = Mount::new(&lab, &[&device.0]);
    let target = lab.start(&["-e", "1.2=malloc:1M"]);
    let place = mount.0.display().to_string();
    let parts = [device.0.as_str(), &format!("mounted at '{place}'"), "read-only"];
    fails(&lab, &["kvadd", "1", "1", "t0", &device.0], 1, &parts);
    fails(&lab, &["kvadd", "1", "1", "t0", &format!("spdk-aio:{}", device.0)], 1, &parts);
    let mut rpc = target.rpc();
    assert_eq!(rpc.call("bdev_get_bdevs", Value::Null).as_array().unwrap().len(), 1, "nothing is left");
    prints(&lab, &["kvadd", "1", "1", "t0", &device.0, "--read-only"]);
    target.stop();
    drop(mount);
    let target = lab.start(&["-e", &format!("1.1={}", device.0)]);
    find(&mut lab.initiator(0), FIRST);
    // What is served can't be mounted.
    let mounted = Command::new("mount").arg(&device.0).arg(lab.path("mount")).output().unwrap();
    assert!(!mounted.status.success(), "{mounted:?}");
    target.stop();
}

#[test]
fn an_fdatasync_that_fails_is_final_and_shows_in_the_state_of_the_export() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    // A loop device on a file system that is full: what the page cache took can't be written back.
    let mount = Mount::new(&lab, &["-t", "tmpfs", "-o", "size=1M", "kvblade-test"]);
    let file = mount.0.join("disk");
    fs::File::create(&file).unwrap().set_len(SECTORS * SECTOR as u64).unwrap();
    let device = Loop::attach(file.to_str().unwrap());
    let target = lab.start(&["-e", &format!("1.1={},buffered,sync=group", device.0)]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    initiator.write(&export, 8, &[8; 8 * SECTOR]).unwrap();
    let fails_from =
        (0..64).find(|part| initiator.write(&export, 64 + part * 128, &[1; 128 * SECTOR]).is_err());
    assert!(fails_from.is_some(), "1 MiB was all it had room for");
    until("the export to be degraded", || rpc.state(1, 1).as_deref() == Some("degraded"));
    let listed = rpc.call("aoe_get_exports", Value::Null);
    let reason = listed[0]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("fdatasync") && reason.contains("Input/output error"), "{listed}");
    assert!(prints(&lab, &["kvstat"]).contains("degraded"), "{listed}");
    // With room again, a new fdatasync would succeed and mean nothing.
    initiator.write(&export, 8, &[9; 8 * SECTOR]).unwrap_err();
    let mut data = [0; 8 * SECTOR];
    initiator.read(&export, 8, &mut data).unwrap();
    target.stop();
}
