//! The bdevs that can be exported, and as what.

use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use control::backing_file::FileId;
use control::options::CacheMode;
use control::{CreateExport, ErrorCode, RpcError, ServedBdev, ServedFile};
use nix::fcntl::OFlag;
use spdk::{Bdev, BdevInfo, Durability, FileBeneath, block_device};

/// The bdev block sizes that are exported, in bytes: AoE's sector, and blocks that hold 2, 4 or 8 of them.
const BLOCK_SIZES: [u32; 4] = [512, 1024, 2048, 4096];

/// Refuses a bdev that can't be exported as requested.
pub(super) fn check(info: &BdevInfo, request: &CreateExport) -> Result<(), RpcError> {
    check_blocks(info)?;
    check_writable(info, request.options.read_only)?;
    check_durable(info, request.options.read_only, request.options.cache)
}

const EPERM: i32 = 1;
const EBUSY: i32 = 16;

/// Whether the bdev was not opened because others have claimed it or write it.
fn is_claimed(error: &spdk::Error) -> bool {
    error.call == "spdk_bdev_module_claim_bdev_desc" && [EPERM, EBUSY].contains(&error.errno)
}

/// Whether others have it open for writing without a claim: modules do so while they examine a new bdev, and for some turns
/// afterwards.
pub(super) fn is_examined(error: &spdk::Error) -> bool {
    is_claimed(error) && error.errno == EPERM
}

/// Why a bdev can't be opened, in words.
pub(super) fn open_failed(name: &str, error: &spdk::Error) -> RpcError {
    let why = if is_examined(error) {
        "a module of SPDK has it open, as modules do that look whether a new bdev is theirs, and has not closed it: its \
         disk may not answer; try again, or export it read-only"
            .to_owned()
    } else if is_claimed(error) {
        "it is claimed by another bdev or subsystem: export that one, or export this read-only".to_owned()
    } else {
        error.to_string()
    };
    RpcError::new(ErrorCode::Unsuitable, format!("bdev {name} can't be opened: {why}"))
}

/// The bdev for the registry.
pub(super) fn served(bdev: &Bdev) -> Result<ServedBdev, RpcError> {
    let info = bdev.info();
    let files = info.files.iter().map(|file| {
        let path = PathBuf::from(&file.path);
        let id = FileId::of(&path).map_err(|error| {
            RpcError::new(
                ErrorCode::Unsuitable,
                format!("bdev {}: its file '{}' can't be looked at: {error}", info.name, path.display()),
            )
        })?;
        Ok(ServedFile { bdev: file.bdev.clone(), path, id })
    });
    Ok(ServedBdev {
        name: info.name.clone(),
        uuid: info.uuid.clone(),
        sectors: bdev.sectors(),
        files: files.collect::<Result<_, RpcError>>()?,
    })
}

/// Refuses to export for writing what this machine itself has mounted, or uses as a part of something else: two would write it.
/// Linux lets nobody have such a block device to itself.
pub(super) fn check_free(bdev: &BdevInfo, read_only: bool) -> Result<(), RpcError> {
    let in_use = |file: &&FileBeneath| {
        let mut options = std::fs::OpenOptions::new();
        let alone = options.read(true).custom_flags(OFlag::O_EXCL.bits()).open(&file.path);
        alone.is_err_and(|error| error.raw_os_error() == Some(EBUSY))
    };
    // O_EXCL without O_CREAT has a meaning for block devices only.
    let is_block = |file: &&FileBeneath| {
        // A bdev of the module `file` has it to itself already.
        file.access.is_none()
            && Path::new(&file.path).metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
    };
    match bdev.files.iter().filter(|_| !read_only).filter(is_block).find(in_use) {
        None => Ok(()),
        Some(file) => Err(RpcError::new(
            ErrorCode::Unsuitable,
            format!(
                "bdev {} is on '{}', which {}: end that use, or export it read-only",
                bdev.name,
                file.path,
                block_device::why_busy(Path::new(&file.path))
            ),
        )),
    }
}

/// Refuses to export a bdev for writing that takes no writes.
fn check_writable(info: &BdevInfo, read_only: bool) -> Result<(), RpcError> {
    if read_only || info.takes_writes {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::Unsuitable,
        format!("bdev {} takes no writes: export it read-only", info.name),
    ))
}

fn check_blocks(info: &BdevInfo) -> Result<(), RpcError> {
    if !BLOCK_SIZES.contains(&info.block_size) || info.metadata_size != 0 {
        return Err(RpcError::new(
            ErrorCode::Unsuitable,
            format!(
                "bdev {} has blocks of {} bytes with {} bytes of metadata: only blocks of 512, 1024, 2048 or 4096 bytes \
                 without metadata can be exported",
                info.name, info.block_size, info.metadata_size
            ),
        ));
    }
    Ok(())
}

/// Refuses a bdev that may lose acknowledged writes in a power failure, unless the operator allows it or the export is
/// read-only. A bdev in memory is accepted: its name says that it loses everything.
fn check_durable(info: &BdevInfo, read_only: bool, cache: CacheMode) -> Result<(), RpcError> {
    match (&info.durability, cache) {
        (Durability::Unknown(why), CacheMode::WriteThrough) if !read_only => Err(RpcError::new(
            ErrorCode::Unsuitable,
            format!(
                "bdev {}: {why}; a power failure might lose acknowledged writes: add cache=write-back if it may, or \
                 export it read-only",
                info.name
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use spdk::FlushMethod;

    use super::*;

    /// A bdev without features.
    pub(in crate::target) fn info(block_size: u32, metadata_size: u32) -> BdevInfo {
        BdevInfo {
            name: "b0".into(),
            uuid: String::new(),
            product: "test".into(),
            block_size,
            metadata_size,
            blocks: 8,
            alignment: 4,
            durability: Durability::Stable,
            write_cache: false,
            files: Vec::new(),
            flush: FlushMethod::Nothing,
            fua: false,
            takes_writes: true,
            unmaps: false,
            health: false,
            aborts: false,
        }
    }

    #[test]
    fn only_blocks_of_whole_sectors_without_metadata_are_exported() {
        for block_size in [512, 1024, 2048, 4096] {
            assert_eq!(check_blocks(&info(block_size, 0)), Ok(()));
        }
        for (block_size, metadata_size) in
            [(520, 0), (4160, 0), (512, 8), (4096, 64), (8192, 0), (1536, 0), (0, 0)]
        {
            let error = check_blocks(&info(block_size, metadata_size)).expect_err("refused");
            assert_eq!(error.code(), ErrorCode::Unsuitable);
            let message = error.message();
            assert!(message.contains("b0") && message.contains(&block_size.to_string()), "{message}");
            assert!(message.contains("only blocks of 512, 1024, 2048 or 4096 bytes"), "{message}");
        }
    }

    #[test]
    fn only_the_operators_word_exports_what_may_lose_acknowledged_writes() {
        let of = |durability| BdevInfo { durability, ..info(512, 0) };
        let unknown = of(Durability::Unknown("it stands on sand".into()));
        for (info, read_only, cache, refused) in [
            (&of(Durability::Stable), false, CacheMode::WriteThrough, false),
            (&of(Durability::Cached), false, CacheMode::WriteThrough, false),
            (&of(Durability::Memory), false, CacheMode::WriteThrough, false),
            (&of(Durability::Cached), false, CacheMode::WriteBack, false),
            (&unknown, false, CacheMode::WriteThrough, true),
            (&unknown, false, CacheMode::WriteBack, false),
            (&unknown, true, CacheMode::WriteThrough, false),
        ] {
            let result = check_durable(info, read_only, cache);
            assert_eq!(result.is_err(), refused, "{:?} {read_only} {cache:?}", info.durability);
            if let Err(error) = result {
                assert_eq!(error.code(), ErrorCode::Unsuitable);
                let message = error.message();
                assert!(message.starts_with("bdev b0: it stands on sand; "), "{message}");
                assert!(message.contains("add cache=write-back"), "{message}");
            }
        }
    }

    #[test]
    fn what_takes_no_writes_is_exported_read_only_or_not_at_all() {
        let snapshot = BdevInfo { takes_writes: false, ..info(512, 0) };
        assert_eq!(check_writable(&snapshot, true), Ok(()));
        assert_eq!(check_writable(&info(512, 0), false), Ok(()));
        let error = check_writable(&snapshot, false).expect_err("refused");
        assert_eq!(error.message(), "bdev b0 takes no writes: export it read-only");
    }

    #[test]
    fn a_claimed_bdev_is_refused_in_words() {
        for (errno, why) in [(1, "a module of SPDK has it open"), (16, "it is claimed")] {
            let error = open_failed("m0", &spdk::Error { call: "spdk_bdev_module_claim_bdev_desc", errno });
            let message = error.message();
            assert!(message.starts_with(&format!("bdev m0 can't be opened: {why}")), "{message}");
        }
        let error = open_failed("f0", &spdk::Error { call: "open", errno: 13 });
        assert!(error.message().contains("Permission denied"), "{}", error.message());
    }
}
