//! Facts about block devices that Linux shows in sysfs and procfs: the limits of the request queue, and the uses of the device.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// Bytes of a sector, in which sysfs counts sizes whatever the device's blocks are.
const SYSFS_SECTOR: u64 = 512;

/// The number of a block device: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    /// From `dev_t`, as stat(2) has it.
    #[must_use]
    pub fn new(encoded: u64) -> Self {
        Self { major: major(encoded), minor: minor(encoded) }
    }

    /// From its two parts.
    #[must_use]
    pub fn from_parts(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `MAJOR:MINOR`.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Of the block device that the path leads to; `None` if it leads to none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        found.file_type().is_block_device().then(|| Self::new(found.rdev()))
    }

    /// Of the block device beneath the file system of a regular file; the device itself for a block device. A file system that
    /// lies on no block device, or on several, has a number of its own that is in no directory of sysfs.
    #[must_use]
    pub fn beneath(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self::new(if found.file_type().is_block_device() { found.rdev() } else { found.dev() }))
    }
}

/// The limits of a block device's request queue (Documentation/ABI/stable/sysfs-block of Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Bytes of the smallest unit that it reads and writes.
    pub logical_block_size: u32,
    /// Whether it has a volatile cache, as far as Linux knows. If not, a completed write is on stable media.
    pub write_cache: bool,
    /// Whether a single write can be made durable without a flush of the cache.
    pub fua: bool,
    /// Bytes that one discard may cover; 0 if it discards nothing.
    pub discard_max_bytes: u64,
    /// Whether its media rotate.
    pub rotational: bool,
}

impl Queue {
    /// Whether a write with RWF_DSYNC is one operation of the device: no flush of a cache follows it.
    #[must_use]
    pub fn syncs_each_write(&self) -> bool {
        self.fua || !self.write_cache
    }
}

/// Another use of a block device by this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceUse {
    /// It is mounted there.
    Mounted(String),
    /// It is swapped to.
    Swap,
    /// It is a part of this device, such as `md0` or a volume's `dm-3 (vg-home)`.
    PartOf(String),
}

impl std::fmt::Display for DeviceUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mounted(place) => write!(f, "mounted at '{place}'"),
            Self::Swap => f.write_str("swap space"),
            Self::PartOf(device) => write!(f, "a part of {device}"),
        }
    }
}

/// Linux's `/sys` and `/proc`, or a test's.
#[derive(Debug, Clone)]
pub struct Kernel {
    root: PathBuf,
}

impl Kernel {
    /// This machine's.
    #[must_use]
    pub fn this() -> Self {
        Self::at("/")
    }

    /// With `sys` and `proc` in that directory.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn directory(&self, device: DeviceNumber) -> PathBuf {
        self.root.join(format!("sys/dev/block/{}:{}", device.major, device.minor))
    }

    /// The limits of its queue; a partition has those of its disk. `None` if Linux does not say.
    #[must_use]
    pub fn queue(&self, device: DeviceNumber) -> Option<Queue> {
        let own = self.directory(device).join("queue");
        let queue = if own.is_dir() { own } else { self.directory(device).join("../queue") };
        let text = |name: &str| fs::read_to_string(queue.join(name)).ok();
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        Some(Queue {
            logical_block_size: u32::try_from(number("logical_block_size")?).ok()?,
            // Linux writes "write back" or "write through".
            write_cache: text("write_cache")?.trim() != "write through",
            fua: number("fua").is_some_and(|fua| fua != 0),
            discard_max_bytes: number("discard_max_bytes").unwrap_or(0),
            rotational: number("rotational").is_some_and(|rotates| rotates != 0),
        })
    }

    /// Its size in bytes now. Reads no data and waits for no device.
    #[must_use]
    pub fn size(&self, device: DeviceNumber) -> Option<u64> {
        let sectors = fs::read_to_string(self.directory(device).join("size")).ok()?;
        sectors.trim().parse::<u64>().ok()?.checked_mul(SYSFS_SECTOR)
    }

    /// The uses of it, of its disk and of its partitions: mounts, swap, and devices that are made of it. Empty if Linux shows none.
    #[must_use]
    pub fn uses(&self, device: DeviceNumber) -> Vec<DeviceUse> {
        let related = self.related(device);
        let mut uses = Vec::new();
        for process in ["self", "1"] {
            let mounts = self.read(&format!("proc/{process}/mountinfo"));
            let places = mounts.lines().filter_map(|line| mount_of(line, &related)).map(DeviceUse::Mounted);
            let new: Vec<DeviceUse> = places.filter(|place| !uses.contains(place)).collect();
            uses.extend(new);
        }
        let swaps = self.read("proc/swaps");
        let mut swapped = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        if swapped
            .any(|path| DeviceNumber::of(Path::new(path)).is_some_and(|number| related.contains(&number)))
        {
            uses.push(DeviceUse::Swap);
        }
        for one in &related {
            let holders = fs::read_dir(self.directory(*one).join("holders")).into_iter().flatten().flatten();
            let names = holders.filter_map(|holder| holder.file_name().into_string().ok());
            uses.extend(names.map(|name| DeviceUse::PartOf(self.named(name))));
        }
        uses
    }

    /// The device, its disk if it is a partition, and its partitions.
    fn related(&self, device: DeviceNumber) -> Vec<DeviceNumber> {
        let directory = self.directory(device);
        let number = |place: &Path| DeviceNumber::parse(&fs::read_to_string(place.join("dev")).ok()?);
        let mut related = vec![device];
        if directory.join("partition").exists() {
            related.extend(number(&directory.join("..")));
        }
        let below = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        related.extend(below.filter(|path| path.join("partition").exists()).filter_map(|path| number(&path)));
        related
    }

    /// A device-mapper device with the name that its users know.
    fn named(&self, holder: String) -> String {
        let name = self.read(&format!("sys/block/{holder}/dm/name"));
        match name.trim() {
            "" => holder,
            name => format!("{holder} ({name})"),
        }
    }

    /// Whether Linux lets this program make io_uring instances, as far as `kernel.io_uring_disabled` says: 0 for all, 1 for
    /// processes of a group and with CAP_SYS_ADMIN, 2 for none. `None` on kernels without that setting.
    #[must_use]
    pub fn io_uring_disabled(&self) -> Option<u8> {
        self.read("proc/sys/kernel/io_uring_disabled").trim().parse().ok()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }
}

/// How this machine uses a block device that nobody else can have to himself, for a sentence: `is mounted at '/srv'`.
#[must_use]
pub fn why_busy(path: &Path) -> String {
    let uses = DeviceNumber::of(path).map(|number| Kernel::this().uses(number)).unwrap_or_default();
    let uses: Vec<String> = uses.iter().map(DeviceUse::to_string).collect();
    if uses.is_empty() {
        // Mounts of other containers are not seen from here.
        return "is in use, as a mount, a part of a RAID or a volume group, or open by another program or bdev"
            .into();
    }
    format!("is {}", uses.join(", and "))
}

/// The mount point in a line of mountinfo (proc_pid_mountinfo(5)), if it is of one of these devices. A file system such as btrfs has
/// a number of its own, so the path of its device counts too.
fn mount_of(line: &str, devices: &[DeviceNumber]) -> Option<String> {
    let mut fields = line.split(' ');
    let number = DeviceNumber::parse(fields.nth(2)?)?;
    let place = fields.nth(1)?;
    let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
    let is_of = |source: &str| {
        source.starts_with('/') && DeviceNumber::of(Path::new(source)).is_some_and(|it| devices.contains(&it))
    };
    (devices.contains(&number) || source.is_some_and(is_of)).then(|| unescaped(place))
}

/// Undoes the escapes of mountinfo: a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: DeviceNumber = DeviceNumber { major: 8, minor: 0 };
    const PARTITION: DeviceNumber = DeviceNumber { major: 8, minor: 2 };
    const VOLUME: DeviceNumber = DeviceNumber { major: 253, minor: 1 };

    /// A disk of 4096-byte blocks with two partitions, the second of which is a part of a volume.
    fn machine() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("written");
        };
        for (name, text) in [
            ("queue/logical_block_size", "4096\n"),
            ("queue/write_cache", "write back\n"),
            ("queue/fua", "0\n"),
            ("queue/discard_max_bytes", "2147450880\n"),
            ("queue/rotational", "1\n"),
            ("size", "7814037168\n"),
            ("dev", "8:0\n"),
            ("sda1/partition", "1\n"),
            ("sda1/dev", "8:1\n"),
            ("sda2/partition", "2\n"),
            ("sda2/dev", "8:2\n"),
            ("sda2/size", "2048\n"),
            ("sda2/holders/dm-1/dev", "253:1\n"),
        ] {
            write(&format!("sys/devices/sda/{name}"), text);
        }
        for (name, text) in [
            ("queue/logical_block_size", "512\n"),
            ("queue/write_cache", "write through\n"),
            ("queue/discard_max_bytes", "0\n"),
            ("dm/name", "vg-home\n"),
        ] {
            write(&format!("sys/devices/dm-1/{name}"), text);
        }
        for (link, target) in [
            ("sys/dev/block/8:0", "sys/devices/sda"),
            ("sys/dev/block/8:1", "sys/devices/sda/sda1"),
            ("sys/dev/block/8:2", "sys/devices/sda/sda2"),
            ("sys/dev/block/253:1", "sys/devices/dm-1"),
            ("sys/block/dm-1", "sys/devices/dm-1"),
        ] {
            let link = place.path().join(link);
            fs::create_dir_all(link.parent().expect("a parent")).expect("a directory");
            std::os::unix::fs::symlink(place.path().join(target), link).expect("a link");
        }
        let mounts = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                      30 22 253:1 / /srv/home\\040of\\040all rw shared:3 - xfs /dev/mapper/vg-home rw\n\
                      broken\n";
        write("proc/self/mountinfo", mounts);
        write("proc/1/mountinfo", mounts);
        write("proc/swaps", "Filename Type Size Used Priority\n/no/such partition 1 0 -2\n");
        write("proc/sys/kernel/io_uring_disabled", "2\n");
        place
    }

    #[test]
    fn a_partition_has_its_disks_queue_and_its_own_size() {
        let place = machine();
        let kernel = Kernel::at(place.path());
        let queue = kernel.queue(DISK).expect("a disk");
        assert_eq!(
            queue,
            Queue {
                logical_block_size: 4096,
                write_cache: true,
                fua: false,
                discard_max_bytes: 2_147_450_880,
                rotational: true
            }
        );
        assert_eq!(kernel.queue(PARTITION), Some(queue));
        assert_eq!(
            (kernel.size(DISK), kernel.size(PARTITION)),
            (Some(7_814_037_168 * 512), Some(2048 * 512))
        );
        let volume = kernel.queue(VOLUME).expect("a volume");
        assert!(!volume.write_cache && !volume.fua && volume.discard_max_bytes == 0);
        let nobody = DeviceNumber { major: 0, minor: 57 };
        assert_eq!(
            (kernel.queue(nobody), kernel.size(nobody)),
            (None, None),
            "of a file system without a device"
        );
    }

    #[test]
    fn each_write_is_synced_by_itself_where_that_is_one_operation() {
        let queue = |write_cache, fua| Queue {
            logical_block_size: 512,
            write_cache,
            fua,
            discard_max_bytes: 0,
            rotational: false,
        };
        for (write_cache, fua, each) in [(true, false, false), (true, true, true), (false, false, true)] {
            assert_eq!(queue(write_cache, fua).syncs_each_write(), each);
        }
    }

    #[test]
    fn every_use_of_a_disk_its_partitions_and_its_disk_is_named() {
        let place = machine();
        let kernel = Kernel::at(place.path());
        let named = |device| kernel.uses(device).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(named(DISK), ["mounted at '/'", "a part of dm-1 (vg-home)"], "by its partitions");
        assert_eq!(named(PARTITION), ["a part of dm-1 (vg-home)"]);
        assert_eq!(named(VOLUME), ["mounted at '/srv/home of all'"]);
        assert_eq!(named(DeviceNumber { major: 7, minor: 0 }), [""; 0]);
    }

    #[test]
    fn escapes_of_mount_points_are_undone() {
        for (text, place) in [("/a\\040b", "/a b"), ("/a\\", "/a\\"), ("/\\134x", "/\\x"), ("/\\9", "/\\9")] {
            assert_eq!(unescaped(text), place);
        }
    }

    #[test]
    fn settings_of_io_uring_are_read() {
        let place = machine();
        assert_eq!(Kernel::at(place.path()).io_uring_disabled(), Some(2));
        assert_eq!(Kernel::at(place.path().join("none")).io_uring_disabled(), None);
    }

    #[test]
    fn block_devices_of_this_machine_have_a_block_size_and_files_have_none() {
        assert_eq!(DeviceNumber::of(Path::new("/proc/self/exe")), None);
        assert_eq!(DeviceNumber::of(Path::new("/no such file")), None);
        let devices = fs::read_dir("/dev").expect("a /dev").flatten();
        for number in devices.filter_map(|entry| DeviceNumber::of(&entry.path())) {
            let queue = Kernel::this().queue(number).expect("Linux says it of every block device");
            assert!(
                queue.logical_block_size >= 512 && queue.logical_block_size.is_power_of_two(),
                "{queue:?}"
            );
        }
    }
}
