//! The file of a capture: made anew in one directory, within its limits.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use datapath::CapturedFrames;
use dpdk::tsc;
use nix::sys::statvfs::fstatvfs;

use super::order::{Order, Reason};
use super::pcapng;

/// Permissions of the directory and of a file: frames are the initiators' data.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Bytes that a capture leaves free in the file system, in which initiator state lies too.
const FREE_MIN: u64 = 64 << 20;

/// Bytes that are written between two looks at the free space.
const FREE_EVERY: u64 = 4 << 20;

/// EtherType of a VLAN tag.
const TAG: [u8; 2] = [0x81, 0x00];

/// Bytes before a tag: the addresses.
const BEFORE_TAG: usize = 12;

/// Free bytes of the file system that a file lies in; `None` where they are not known.
fn free(file: &File) -> Option<u64> {
    fstatvfs(file).ok().map(|of| of.blocks_available().saturating_mul(of.fragment_size()))
}

/// Returns the free bytes of the file system.
type Room<W> = Box<dyn Fn(&W) -> Option<u64> + Send>;

/// A file that is written.
pub(super) struct Output<W: Write> {
    to: BufWriter<W>,
    room: Room<W>,
    path: String,
    /// A moment by both clocks: ticks of the time stamp counter, and nanoseconds since 1970.
    moment: (u64, u64),
    max_bytes: u64,
    snap_length: usize,
    frames: Vec<u64>,
    bytes: u64,
    /// Bytes at which the free space is looked at next.
    look_at: u64,
    block: Vec<u8>,
}

impl Output<File> {
    /// Makes the file, and the directory if there is none.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn create(directory: &Path, order: &Order) -> Result<Self, String> {
        let made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
        made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(|error| format!("the directory '{}' can't be made: {error}", directory.display()))?;
        let path = directory.join(&order.file);
        let opened = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("'{}' exists, and a capture overwrites nothing: give another name", path.display())
            }
            _ => format!("'{}' can't be made: {error}", path.display()),
        })?;
        let mut output = Self::new(file, path.display().to_string(), order, Box::new(free));
        output.begin(order).map_err(|reason| match std::fs::remove_file(&path) {
            Ok(()) => reason.to_string(),
            Err(error) => format!("{reason}; nor can it be removed: {error}"),
        })?;
        Ok(output)
    }
}

impl<W: Write> Output<W> {
    fn new(to: W, path: String, order: &Order, room: Room<W>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            to: BufWriter::with_capacity(256 << 10, to),
            room,
            path,
            moment: (tsc::now(), u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)),
            max_bytes: order.max_bytes,
            snap_length: usize::try_from(order.snap_length).unwrap_or(usize::MAX),
            frames: vec![0; order.ports.len()],
            bytes: 0,
            look_at: 0,
            block: Vec::new(),
        }
    }

    /// Writes the headers.
    fn begin(&mut self, order: &Order) -> Result<(), Reason> {
        pcapng::section(&mut self.block, concat!("kvblade-dpdk ", env!("CARGO_PKG_VERSION")));
        for port in &order.ports {
            pcapng::interface(&mut self.block, &port.name, port.mac, order.snap_length);
        }
        self.put()?;
        self.flush()
    }

    /// Writes frames, in the order of their times.
    ///
    /// # Errors
    /// Why the capture ends.
    pub(super) fn write(&mut self, frames: &mut CapturedFrames) -> Result<(), Reason> {
        let behind = (self.frames.len() * pcapng::STATISTICS_LENGTH) as u64;
        for (frame, bytes) in frames.in_order() {
            // The tag that a port has taken out stands in the file where it stood in the frame.
            let tag = frame.tag.map(|tag| [TAG, tag.to_be_bytes()].concat()).unwrap_or_default();
            let (addresses, rest) = bytes.split_at(bytes.len().min(BEFORE_TAG));
            let rest = &rest[..rest.len().min(self.snap_length.saturating_sub(addresses.len() + tag.len()))];
            let captured = addresses.len() + tag.len() + rest.len();
            let length = u32::try_from(frame.length + tag.len()).unwrap_or(u32::MAX);
            if self.bytes + pcapng::frame_length(captured) as u64 + behind > self.max_bytes {
                return Err(Reason::Bytes);
            }
            let (time, interface) = (self.nanoseconds(frame.time), u32::try_from(frame.from).unwrap_or(0));
            let parts = [addresses, &tag[..], rest];
            pcapng::frame(&mut self.block, interface, time, frame.sent, length, &parts);
            self.put()?;
            if let Some(count) = self.frames.get_mut(frame.from) {
                *count += 1;
            }
        }
        Ok(())
    }

    /// Writes how many frames are missing of each port, and what is not written yet.
    ///
    /// # Errors
    /// Why the file is not complete.
    pub(super) fn finish(&mut self, dropped: &dyn Fn(usize) -> u64) -> Result<(), Reason> {
        let now = self.nanoseconds(tsc::now());
        for (port, frames) in self.frames.iter().enumerate() {
            let (missing, interface) = (dropped(port), u32::try_from(port).unwrap_or(0));
            pcapng::statistics(&mut self.block, interface, now, frames + missing, missing);
        }
        self.put()?;
        self.flush()
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// Why the capture ends.
    pub(super) fn flush(&mut self) -> Result<(), Reason> {
        self.to.flush().map_err(|error| self.failed(&error))
    }

    /// Frames in the file.
    pub(super) fn frames(&self) -> u64 {
        self.frames.iter().sum()
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the blocks that are ready.
    fn put(&mut self) -> Result<(), Reason> {
        if self.bytes >= self.look_at {
            self.look_at = self.bytes + FREE_EVERY;
            if (self.room)(self.to.get_ref()).is_some_and(|free| free < FREE_MIN) {
                self.block.clear();
                return Err(Reason::Failed(format!(
                    "the file system of '{}' has less than {} MiB left, which are for initiator state",
                    self.path,
                    FREE_MIN >> 20
                )));
            }
        }
        let written = self.to.write_all(&self.block);
        written.map_err(|error| self.failed(&error))?;
        self.bytes += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Reason {
        Reason::Failed(format!("'{}' can't be written: {error}", self.path))
    }

    /// A time of the time stamp counter in nanoseconds since 1970.
    fn nanoseconds(&self, ticks: u64) -> u64 {
        let (then, nanoseconds) = self.moment;
        let hz = u128::from(tsc::hz().max(1));
        let since = |ticks: u64| u64::try_from(u128::from(ticks) * 1_000_000_000 / hz).unwrap_or(u64::MAX);
        if ticks >= then {
            nanoseconds.saturating_add(since(ticks - then))
        } else {
            nanoseconds.saturating_sub(since(then - ticks))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datapath::CaptureFilter;

    use super::super::order::CapturedPort;
    use super::*;

    fn order(max_bytes: u64) -> Order {
        Order {
            number: 1,
            file: "a.pcapng".into(),
            filter: CaptureFilter::default(),
            ports: vec![CapturedPort { name: "eth1".into(), mac: [2, 0, 0, 0, 0, 1] }],
            rings: vec![0],
            max_bytes,
            time: Duration::from_secs(1),
            snap_length: 65_535,
        }
    }

    /// A disk with so many bytes.
    struct Small(usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let captures = directory.path().join("captures");
        let made = Output::create(&captures, &order(1 << 20)).unwrap_or_else(|sentence| panic!("{sentence}"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&captures), mode(&captures.join("a.pcapng"))), (0o700, 0o600));
        assert!(made.bytes() > 0);
        let again = Output::create(&captures, &order(1 << 20)).err().unwrap();
        assert!(again.contains("a.pcapng' exists, and a capture overwrites nothing"), "{again}");
        std::os::unix::fs::symlink("/etc/passwd", captures.join("b.pcapng")).unwrap();
        let link = Order { file: "b.pcapng".into(), ..order(1 << 20) };
        assert!(Output::create(&captures, &link).is_err());
    }

    #[test]
    fn a_disk_that_is_full_ends_a_capture_with_its_reason() {
        let mut output = Output::new(Small(10), "x".into(), &order(1 << 20), Box::new(|_| None));
        let Err(Reason::Failed(sentence)) = output.begin(&order(1 << 20)) else { panic!("it was full") };
        assert!(sentence.starts_with("'x' can't be written: "), "{sentence}");
        let mut output =
            Output::new(Vec::new(), "x".into(), &order(1 << 20), Box::new(|_| Some(FREE_MIN - 1)));
        let Err(Reason::Failed(sentence)) = output.begin(&order(1 << 20)) else { panic!("it was short") };
        assert!(sentence.contains("less than 64 MiB left"), "{sentence}");
        assert!(output.to.get_ref().is_empty());
    }
}
