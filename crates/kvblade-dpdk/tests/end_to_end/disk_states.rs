//! Files as file systems have them: sparse, allocated and never written, without room, cut short, on a file system that
//! Linux makes read-only.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::files::{Loop, Mount};
use crate::lab::{Lab, SECTORS, Target, find, require, until};

/// Bytes of a disk.
const BYTES: u64 = SECTORS * SECTOR as u64;

/// A file system in a file, by a loop device.
///
/// Fields are dropped in this order.
struct FileSystem {
    mount: Mount,
    _device: Loop,
    image: PathBuf,
}

impl FileSystem {
    /// A new one of this kind and so many MiB, with options for mount(8).
    fn make(lab: &Lab, kind: &str, mib: u64, options: &str) -> Self {
        let image = lab.path(&format!("{kind}.image"));
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let mut make = Command::new(require(&format!("mkfs.{kind}")));
        match kind {
            // A supported one has 300 MB at least.
            "xfs" => make.args(["-q", "--unsupported"]),
            _ => make.args(["-q", "-b", "4096"]),
        };
        lab::run(make.arg(&image)).unwrap();
        Self::mount(lab, image, kind, kind, options)
    }

    fn mount(lab: &Lab, image: PathBuf, kind: &str, at: &str, options: &str) -> Self {
        let device = Loop::attach(image.to_str().unwrap());
        let mount = Mount::at(lab.path(at), &["-t", kind, "-o", options, &device.0]);
        Self { mount, _device: device, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.0.join(name)
    }

    /// A file of [`BYTES`] without a block.
    fn sparse(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::File::create(&path).unwrap().set_len(BYTES).unwrap();
        path
    }

    /// The file system as its disk has it at this moment, after a power failure: mounted, its journal replayed.
    fn after_power_failure(&self, lab: &Lab, kind: &str) -> Self {
        let copy = lab.path(&format!("{kind}.copy"));
        fs::copy(&self.image, &copy).unwrap();
        // An xfs is not mounted beside one of the same UUID otherwise.
        let options = if kind == "xfs" { "nouuid" } else { "defaults" };
        Self::mount(lab, copy, kind, &format!("{kind}.after"), options)
    }
}

fn start(lab: &Lab, exports: &[String]) -> Target {
    let options: Vec<&str> = exports.iter().flat_map(|export| ["-e", export.as_str()]).collect();
    lab.start(&options)
}

fn slot(number: usize) -> ShelfSlot {
    ShelfSlot::new(1, u8::try_from(number).unwrap() + 1)
}

/// The first sectors of a file, as many as the array holds.
fn head<const BYTES: usize>(path: &Path) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn blocks_that_were_never_written_read_as_zeroes_and_a_write_to_them_is_durable_with_its_place() {
    const BLOCK: usize = 8 * SECTOR;
    lab::needs_root!();
    let lab = Lab::new(9000);
    // Nothing but a sync commits the journal of the ext4 during this test.
    let systems = [("ext4", "commit=300"), ("xfs", "defaults")]
        .map(|(kind, options)| (kind, FileSystem::make(&lab, kind, 64, options)));
    let mut files = Vec::new();
    for (kind, system) in &systems {
        for sync in ["sync=group", "sync=each", "buffered,sync=group"] {
            for allocated in [false, true] {
                let path = system.sparse(&format!("disk{}", files.len()));
                if allocated {
                    let file = fs::File::options().write(true).open(&path).unwrap();
                    fallocate(&file, FallocateFlags::empty(), 0, i64::try_from(BYTES / 2).unwrap()).unwrap();
                }
                let name = path.file_name().unwrap().to_owned();
                files.push((*kind, name, format!("{},{sync}", path.display())));
            }
        }
    }
    // This one may lose its write, which shows that the test would see it.
    let lossy = systems[0].1.sparse("lossy");
    let exports = files.iter().map(|(_, _, export)| export.clone());
    let exports = exports.chain([format!("{},cache=write-back", lossy.display())]);
    let exports: Vec<String> =
        exports.enumerate().map(|(number, export)| format!("{}={export}", slot(number))).collect();
    let target = start(&lab, &exports);
    let mut initiator = lab.initiator(0);
    let mut expected = [0; BLOCK];
    expected[3 * SECTOR..4 * SECTOR].fill(0x3c);
    for (number, shown) in exports.iter().enumerate() {
        let export = find(&mut initiator, slot(number));
        let mut block = [0xff; BLOCK];
        initiator.read(&export, 0, &mut block).unwrap();
        assert_eq!(block, [0; BLOCK], "{shown}");
        initiator.write(&export, 3, &[0x3c; SECTOR]).unwrap();
        initiator.read(&export, 0, &mut block).unwrap();
        assert_eq!(block, expected, "{shown}");
    }
    for (kind, system) in &systems {
        let after = system.after_power_failure(&lab, kind);
        for (_, name, export) in files.iter().filter(|(of, _, _)| of == kind) {
            assert!(head(&after.mount.0.join(name)) == expected, "{kind}: {export}");
        }
        if *kind == "ext4" {
            assert_eq!(head(&after.path("lossy")), [0; BLOCK], "nothing made it durable");
        }
    }
    target.stop();
}

#[test]
fn without_room_writes_fail_and_go_on_when_there_is_some() {
    const STEP: u64 = 64;
    lab::needs_root!();
    let lab = Lab::new(9000);
    let system = FileSystem::make(&lab, "ext4", 8, "defaults");
    let file = system.sparse("disk");
    fs::write(system.path("ballast"), vec![1; 1 << 20]).unwrap();
    let target = start(&lab, &[format!("1.1={},sync=group", file.display()), "1.2=malloc:1M".into()]);
    let mut initiator = lab.initiator(0);
    let (export, other) = (find(&mut initiator, slot(0)), find(&mut initiator, slot(1)));
    let data =
        |lba: u64| vec![u8::try_from(1 + lba / STEP).unwrap(); usize::try_from(STEP).unwrap() * SECTOR];
    let full_at = (0..SECTORS / STEP)
        .map(|step| step * STEP)
        .find(|lba| initiator.write(&export, *lba, &data(*lba)).is_err());
    let full_at = full_at.expect("8 MiB of disk do not fit into 8 MiB");
    assert!(full_at > 0);
    let line = format!("a write of '{}' failed: ", file.display());
    until("the failure to be logged", || {
        let log = target.log();
        let mut lines = log.lines().filter(|one| one.contains(&line));
        lines.any(|line| line.contains("No space left on device") || line.contains("its file system is full"))
    });
    // Nothing that was acknowledged is lost, so the export is as it was.
    assert_eq!(target.rpc().state(1, 1).as_deref(), Some("online"));
    initiator.write(&export, 0, &data(0)).unwrap();
    initiator.write(&other, 0, &data(0)).unwrap();
    fs::remove_file(system.path("ballast")).unwrap();
    initiator.write(&export, full_at, &data(full_at)).unwrap();
    let after = system.after_power_failure(&lab, "ext4");
    let disk = fs::read(after.path("disk")).unwrap();
    for lba in (0..=full_at).step_by(usize::try_from(STEP).unwrap()) {
        let at = usize::try_from(lba).unwrap() * SECTOR;
        assert!(disk[at..].starts_with(&data(lba)), "sector {lba}");
    }
    target.stop();
}

#[test]
fn a_file_that_is_cut_short_takes_no_write_behind_its_end_and_says_so() {
    const HALF: u64 = SECTORS / 2;
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let target = start(&lab, &[format!("1.1={file},sync=group")]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, slot(0));
    initiator.write(&export, HALF - 1, &[1; SECTOR]).unwrap();
    initiator.write(&export, HALF, &[2; SECTOR]).unwrap();
    let disk = fs::File::options().write(true).open(&file).unwrap();
    disk.set_len(HALF * SECTOR as u64).unwrap();
    until("the export to be degraded", || rpc.state(1, 1).as_deref() == Some("degraded"));
    let exports = rpc.call("aoe_get_exports", serde_json::Value::Null);
    let reason = exports[0]["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains(&file) && reason.contains("8192 blocks of 512 bytes now, which is less"),
        "{exports}"
    );
    // A write there would make the file longer again, with zeroes in place of what was lost.
    let mut sector = [0; SECTOR];
    initiator.write(&export, SECTORS - 1, &[3; SECTOR]).unwrap_err();
    initiator.read(&export, HALF, &mut sector).unwrap_err();
    assert_eq!(fs::metadata(&file).unwrap().len(), HALF * SECTOR as u64);
    // What is left is served.
    initiator.read(&export, HALF - 1, &mut sector).unwrap();
    assert_eq!(sector, [1; SECTOR]);
    initiator.write(&export, 0, &[4; SECTOR]).unwrap();
    disk.set_len(BYTES).unwrap();
    until("the export to be well", || rpc.state(1, 1).as_deref() == Some("online"));
    initiator.write(&export, SECTORS - 1, &[5; SECTOR]).unwrap();
    target.stop();
}

#[test]
fn on_a_file_system_that_linux_makes_read_only_writes_fail_and_reads_go_on() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let system = FileSystem::make(&lab, "ext4", 32, "errors=remount-ro");
    let file = system.sparse("disk");
    let target = start(&lab, &[format!("1.1={},sync=group", file.display()), "1.2=malloc:1M".into()]);
    let mut initiator = lab.initiator(0);
    let (export, other) = (find(&mut initiator, slot(0)), find(&mut initiator, slot(1)));
    for lba in 0..8 {
        initiator.write(&export, lba, &[7; SECTOR]).unwrap();
    }
    // As an error of its journal does.
    let remount = ["-o", "remount,abort"];
    let aborted = Command::new(require("mount")).args(remount).arg(&system.mount.0).output().unwrap();
    assert!(fs::write(system.path("other"), "").is_err(), "it is read-only: {aborted:?}");
    initiator.write(&export, 3, &[8; SECTOR]).unwrap_err();
    initiator.write(&export, 4000, &[8; SECTOR]).unwrap_err();
    let line = format!("of '{}' failed: ", file.display());
    until("the failure to be logged", || target.log().contains(&line));
    let mut sectors = [0; 8 * SECTOR];
    initiator.read(&export, 0, &mut sectors).unwrap();
    assert_eq!(sectors, [7; 8 * SECTOR]);
    initiator.write(&other, 0, &[9; SECTOR]).unwrap();
    target.stop();
}
