//! Opens the file of a bdev, and finds out its size, its blocks, and what its file system can do.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FallocateFlags, FileType, OFlags, StatxFlags, fallocate, statx};

use super::{error::FileError, options::FileBdevOptions};
use crate::block_device::{self, DeviceNumber, Kernel};
use crate::error::{EACCES, EBUSY, EINVAL, EISDIR, ENOENT, ENOTSUP, EROFS};

/// The range of block sizes.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// An open file or block device.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// Its path, from the root.
    pub(super) path: PathBuf,
    /// Reads and writes go around the page cache.
    pub(super) is_direct: bool,
    pub(super) block_size: u32,
    /// Data lies at multiples of so many bytes, a power of two.
    pub(super) alignment: u32,
    /// The size of the file.
    pub(super) bytes: u64,
    /// Blocks can be given up and zeroed by fallocate(2).
    pub(super) punches: bool,
}

/// What direct I/O asks for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectLimits {
    /// Of the data's address.
    memory: u32,
    /// Of the place in the file, and of the length.
    place: u32,
}

impl Opened {
    /// Opens the file as the options say.
    pub(super) fn open(options: &FileBdevOptions) -> Result<Self, FileError> {
        let path = std::path::absolute(&options.filename)
            .map_err(|error| FileError::of(&error, format!("filename is '{}'", options.filename)))?;
        let metadata = std::fs::metadata(&path).map_err(|error| open_failed(&path, &error))?;
        check_kind(&path, &metadata)?;
        let is_device = metadata.file_type().is_block_device();
        let (file, is_direct) = open_either_way(&path, options)?;
        let is_still = file.metadata().map_err(|error| open_failed(&path, &error))?;
        check_kind(&path, &is_still)?;
        let limits = if is_direct { direct_limits(&path, &file, is_device) } else { None };
        let logical = if is_device { logical_block_size(&file) } else { None };
        let least = limits.map_or(*BLOCK_SIZES.start(), |limits| limits.place.max(*BLOCK_SIZES.start()));
        let least = least.max(logical.unwrap_or(0));
        let block_size = block_size(options.block_size, least, &path)?;
        let bytes = size(&file)
            .map_err(|error| FileError::of(&error, format!("the size of '{}'", path.display())))?;
        if bytes < u64::from(block_size) {
            return Err(FileError::new(
                EINVAL,
                format!(
                    "'{}' has {bytes} bytes, which is less than one block of {block_size}: make it larger (truncate -s)",
                    path.display()
                ),
            ));
        }
        let alignment = match (is_direct, limits) {
            (false, _) => 1,
            (true, Some(limits)) => limits.memory,
            (true, None) => block_size,
        };
        let punches = !options.readonly
            && if is_device { device_zeroes(&metadata) } else { file_punches(&file, bytes) };
        Ok(Self { file, path, is_direct, block_size, alignment, bytes, punches })
    }

    /// Whole blocks in so many bytes.
    pub(super) fn blocks(&self, bytes: u64) -> u64 {
        bytes / u64::from(self.block_size)
    }
}

/// The size of a file or block device, in bytes.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    // Of a block device the metadata says nothing.
    file.seek(SeekFrom::End(0))
}

/// The size as Linux knows it at the moment: no server is asked, and nothing is waited for.
pub(super) fn known_size(opened: &Opened) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(&opened.file, "", flags, StatxFlags::SIZE | StatxFlags::TYPE)?;
    if FileType::from_raw_mode(found.stx_mode.into()) == FileType::BlockDevice {
        let number = DeviceNumber::from_parts(found.stx_rdev_major, found.stx_rdev_minor);
        return Kernel::this().size(number).ok_or_else(|| io::ErrorKind::NotFound.into());
    }
    Ok(found.stx_size)
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    let (errno, what) = if kind.is_dir() { (EISDIR, "a directory") } else { (EINVAL, "neither") };
    Err(FileError::new(
        errno,
        format!("'{}' is {what}: a bdev is made of a file or a block device", path.display()),
    ))
}

/// Opens it for direct I/O or through the page cache. True for the first.
fn open_either_way(path: &Path, options: &FileBdevOptions) -> Result<(File, bool), FileError> {
    // Of a block device that is written: a mount, a RAID or a volume group has it to itself, too.
    let is_device = DeviceNumber::of(path).is_some();
    let alone = if is_device && !options.readonly { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| {
        let flags = flags | alone;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        OpenOptions::new().read(true).write(!options.readonly).custom_flags(flags).open(path)
    };
    if options.buffered == Some(true) {
        let file = open(OFlags::empty()).map_err(|error| open_failed(path, &error))?;
        return Ok((file, false));
    }
    match open(OFlags::DIRECT) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.raw_os_error() != Some(EINVAL) => Err(open_failed(path, &error)),
        Err(_) if options.buffered.is_none() => {
            let file = open(OFlags::empty()).map_err(|error| open_failed(path, &error))?;
            Ok((file, false))
        }
        Err(_) => Err(FileError::new(
            ENOTSUP,
            format!(
                "'{}' is on a file system without direct I/O (O_DIRECT): leave 'buffered' out, or make it true",
                path.display()
            ),
        )),
    }
}

/// Why a file can't be opened, and what helps.
fn open_failed(path: &Path, error: &io::Error) -> FileError {
    let help = match error.raw_os_error() {
        Some(EBUSY) => {
            let why = block_device::why_busy(path);
            let remedy = "end that use, or make the bdev read-only (readonly)";
            return FileError::new(EBUSY, format!("'{}' {why}: {remedy}", path.display()));
        }
        Some(EROFS) => "; a bdev of it must be read-only (readonly)",
        Some(EACCES) => "; give this program's user the right to it, or make the bdev read-only (readonly)",
        Some(ENOENT) => "; make it first (truncate -s SIZE FILE)",
        _ => "",
    };
    let mut refusal = FileError::of(error, format!("'{}' can't be opened", path.display()));
    refusal.sentence.push_str(help);
    refusal
}

/// The block size that was asked for, or the least.
fn block_size(asked: Option<u32>, least: u32, path: &Path) -> Result<u32, FileError> {
    let block_size = asked.unwrap_or(least);
    if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
        return Err(FileError::new(
            EINVAL,
            format!(
                "block_size is {block_size}: a power of two from {} to {} is allowed",
                BLOCK_SIZES.start(),
                BLOCK_SIZES.end()
            ),
        ));
    }
    if block_size < least {
        return Err(FileError::new(
            EINVAL,
            format!("block_size is {block_size}: '{}' has blocks of {least} bytes", path.display()),
        ));
    }
    Ok(block_size)
}

/// What direct I/O on an open file asks for; `None` if nothing says so.
fn direct_limits(path: &Path, file: &File, is_device: bool) -> Option<DirectLimits> {
    // Of a device by its path: Linux looks the device behind the node up only then. Since 6.1.
    let (directory, path) = if is_device { (None, path) } else { (Some(file), Path::new("")) };
    let found = match directory {
        Some(file) => statx(file, path, AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN),
        None => statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::DIOALIGN),
    };
    let limits = found.ok().filter(|found| found.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    let limits = limits
        .map(|found| DirectLimits { memory: found.stx_dio_mem_align, place: found.stx_dio_offset_align });
    limits.filter(|limits| limits.memory.is_power_of_two() && limits.place.is_power_of_two()).or_else(|| {
        let bytes = probe_direct(file)?;
        Some(DirectLimits { memory: bytes, place: bytes })
    })
}

/// The smallest direct read that works, where the kernel does not say so. `None` if none does.
fn probe_direct(file: &File) -> Option<u32> {
    const PAGE: usize = 4096;
    let buffer = vec![0_u8; 2 * PAGE];
    let skip = buffer.as_ptr().align_offset(PAGE);
    let mut buffer = buffer;
    let page = buffer.get_mut(skip..skip + PAGE)?;
    [512_u32, 1024, 2048, 4096].into_iter().find(|bytes| {
        let part = usize::try_from(*bytes).ok().and_then(|bytes| page.get_mut(..bytes));
        part.is_some_and(|part| file.read_at(part, 0).is_ok())
    })
}

/// The logical block size of a block device, in bytes.
fn logical_block_size(file: &File) -> Option<u32> {
    rustix::fs::ioctl_blksszget(file).ok()
}

/// Whether a block device writes zeroes by itself, which is how Linux carries out fallocate(2) on one.
fn device_zeroes(metadata: &Metadata) -> bool {
    let device = metadata.rdev();
    let place = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // A partition's queue is its disk's.
    let read = |queue: &str| std::fs::read_to_string(format!("{place}/{queue}/write_zeroes_max_bytes")).ok();
    let bytes = read("queue").or_else(|| read("../queue"));
    bytes.and_then(|bytes| bytes.trim().parse::<u64>().ok()).is_some_and(|bytes| bytes > 0)
}

/// Whether a file's system gives blocks up, tried behind the file's end, where there are none.
fn file_punches(file: &File, bytes: u64) -> bool {
    const LENGTH: u64 = 4096;
    let start = bytes.next_multiple_of(LENGTH);
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, LENGTH).is_ok()
}

#[cfg(test)]
#[path = "opened_tests.rs"]
mod tests;
