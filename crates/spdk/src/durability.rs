//! The durability of a bdev's completed writes, and the operation that brings them to stable media. Both are determined
//! once, when a bdev is opened, from the bdevs beneath it.
//!
//! SPDK does not report them. An lvol or a raid reports no write cache, whatever is beneath (module/bdev/lvol,
//! module/bdev/raid). An lvol has no flush, and that of an nvme bdev sends a command only if the option `enable_flush` is
//! set (bdev_nvme_flush in module/bdev/nvme/bdev_nvme.c; since 25.09). So this module lists the kinds of bdevs: those that
//! complete a write when the bdevs beneath have, and those at the bottom.

use serde_json::Value;

/// The place of a write that the bdev has completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// It is on stable media.
    Stable,
    /// It is in memory, and lost when the program ends. No flush changes that.
    Memory,
    /// It may be in a volatile cache. The operation [`crate::BdevInfo::flush`] brings it to stable media.
    Cached,
    /// It may be in a volatile cache that can't be flushed from here. The text is the reason, a sentence without its end.
    Unknown(String),
}

/// The operation that carries out a FLUSH for a bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMethod {
    /// The bdev's own flush (spdk_bdev_flush).
    Bdev,
    /// NVMe's FLUSH command itself: bdev_nvme's own flush sends it only if an option is set, which may change.
    NvmeCommand,
    /// The kernel's asynchronous fdatasync on the files at the bottom whose bdevs do not sync themselves. bdev_aio's own flush is an fsync, which blocks the
    /// lcore (module/bdev/aio/bdev_aio.c), and stacked bdevs do not always pass a flush on.
    FileSync,
    /// No operation: there is no volatile cache, or this descriptor can't write.
    Nothing,
    /// The bdev may have a volatile cache and there is no way to flush it.
    Impossible,
}

/// SPDK's description of one bdev.
#[derive(Debug, Clone, Default)]
pub(crate) struct Described {
    /// Its kind, as "Malloc disk".
    pub(crate) product: String,
    /// The module's description (`driver_specific` of bdev_get_bdevs), as JSON.
    pub(crate) description: String,
    pub(crate) write_cache: bool,
    pub(crate) can_flush: bool,
    /// An nvme bdev's flush sends NVMe's FLUSH: the option `enable_flush` of bdev_nvme_set_options.
    pub(crate) nvme_flushes: bool,
}

/// A file or block device beneath a bdev.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBeneath {
    /// The bdev that is made of it: the bdev itself, or one that it stands on.
    pub bdev: String,
    /// As that bdev was given it.
    pub path: String,
    /// How a bdev of the module `file` serves it; `None` for other modules.
    pub access: Option<FileAccess>,
}

/// How a bdev of the module `file` serves its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccess {
    /// Through the page cache.
    pub buffered: bool,
    /// The word of its way to stable media: `group`, `each` or `none`.
    pub sync: String,
}

impl FileAccess {
    /// Whether a write is on stable media when the bdev completes it.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.sync != "none"
    }
}

impl FileBeneath {
    /// Whether a write is on stable media when the bdev completes it.
    pub(crate) fn is_synced(&self) -> bool {
        self.access.as_ref().is_some_and(FileAccess::is_synced)
    }
}

/// Whether this SPDK's bdev_nvme_set_options takes `enable_flush`.
pub const NVME_HAS_ENABLE_FLUSH: bool = {
    let (major, minor) = (spdk_sys::SPDK_VERSION_MAJOR, spdk_sys::SPDK_VERSION_MINOR);
    major > 25 || (major == 25 && minor >= 9)
};

/// A bdev's way to stable media, as determined from its description and from those of the bdevs beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) durability: Durability,
    pub(crate) flush: FlushMethod,
    /// A write with NVMe's FUA is as durable as a write and a FLUSH.
    pub(crate) fua: bool,
    /// The files and block devices at the bottom.
    pub(crate) files: Vec<FileBeneath>,
    /// One of the files was opened read-only.
    pub(crate) read_only: bool,
    /// It is an NVMe namespace itself.
    pub(crate) nvme: bool,
}

/// The kind of a bdev, as far as it decides on durability.
enum Kind {
    /// It completes a write when the bdevs of these names have, and passes a flush on to them, or does not.
    Over { names: Vec<String>, passes_flush: bool },
    /// A file or block device under the kernel's control, which may have been opened read-only.
    File { path: String, read_only: bool, access: Option<FileAccess> },
    /// Memory, or nothing at all.
    Memory,
    /// An NVMe namespace; on this machine's PCIe, or reached by a fabric.
    Nvme { local: bool },
    /// A bdev that completes a write when it is on stable media.
    Stable,
    /// A bdev whose flush is known to reach stable media.
    Flushes,
    /// None that is known here.
    Other,
}

/// Maximum depth of stacked bdevs. SPDK allows no circle.
const DEPTH_MAX: usize = 16;

/// The descriptions that name one bdev beneath, and whether the module passes a flush on to it. Each of these modules
/// completes a write when the bdev beneath has: passthru, delay, error, split, gpt, crypto; and lvol, which has no flush, and
/// whose blobstore writes its metadata before it completes the write that needed it (lib/blob/blobstore.c).
const OVER_ONE: [(&str, bool); 7] = [
    ("/passthru/base_bdev_name", true),
    ("/delay/base_bdev_name", true),
    ("/error_disk/base_bdev", true),
    ("/split/base_bdev", true),
    ("/gpt/base_bdev", true),
    ("/crypto/base_bdev_name", true),
    ("/lvol/base_bdev", false),
];

/// Raid levels without metadata, which keep their members: other levels rebuild onto new members.
const RAIDS: [&str; 2] = ["raid0", "concat"];

fn kind_of(bdev: &Described) -> Kind {
    let value: Value = serde_json::from_str(&bdev.description).unwrap_or_default();
    let text = |pointer: &&str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let is = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    if let (Some(path), Some(sync)) = (text(&"/file/filename"), text(&"/file/sync")) {
        let access = Some(FileAccess { buffered: is("/file/buffered"), sync });
        return Kind::File { path, read_only: is("/file/readonly"), access };
    }
    if let Some(path) = ["/aio/filename", "/uring/filename"].iter().find_map(text) {
        return Kind::File { path, read_only: is("/aio/readonly"), access: None };
    }
    if let Some(nvme) = value.get("nvme") {
        // A list of paths in later releases.
        let paths = nvme.as_array().map_or(std::slice::from_ref(nvme), Vec::as_slice);
        let is_local = |path: &Value| path.pointer("/trid/trtype").and_then(Value::as_str) == Some("PCIe");
        return Kind::Nvme { local: !paths.is_empty() && paths.iter().all(is_local) };
    }
    let over = |(pointer, passes_flush): &(&str, bool)| Some((text(pointer)?, *passes_flush));
    if let Some((base, passes_flush)) = OVER_ONE.iter().find_map(over) {
        return Kind::Over { names: vec![base], passes_flush };
    }
    if let Some(raid) = value.get("raid") {
        let known = raid["raid_level"].as_str().is_some_and(|level| RAIDS.contains(&level));
        // Objects with a name in later releases.
        let name = |base: &Value| base.as_str().or_else(|| base["name"].as_str()).map(str::to_owned);
        let members = raid["base_bdevs_list"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Option<Vec<String>> = members.iter().map(name).collect();
        let over = |names| Kind::Over { names, passes_flush: true };
        return names.filter(|names| known && !names.is_empty()).map_or(Kind::Other, over);
    }
    match bdev.product.as_str() {
        "Malloc disk" | "Null disk" => Kind::Memory,
        // Without librbd's cache, a write completes when all its OSDs have it on stable media. spdk-sys's module reports the
        // cache of an image; SPDK's own module does not.
        _ if value.pointer("/rbd/rbd_cache").and_then(Value::as_bool) == Some(false) => Kind::Stable,
        // Its flush is rbd_aio_flush.
        _ if value.get("rbd").is_some() && bdev.can_flush => Kind::Flushes,
        _ => Kind::Other,
    }
}

/// Determines the way to stable media of the bdev `name`, for a descriptor that may `write`, or not. Its data lie at
/// multiples of 4 bytes, where the bdev asks for `alignment`. `look` finds bdevs by name.
pub(crate) fn judge(
    name: &str,
    write: bool,
    alignment: usize,
    look: &impl Fn(&str) -> Option<Described>,
) -> Verdict {
    let top = look(name).unwrap_or_default();
    let nvme = matches!(kind_of(&top), Kind::Nvme { .. });
    let mut bottom = Bottom::default();
    bottom.sound(name, look, 0, true);
    if bottom.flushes && bottom.unsynced {
        bottom
            .give_up("it stands on files and on other bdevs, which are flushed in different ways".to_owned());
    }
    let (files, read_only) = (bottom.files.clone(), bottom.read_only);
    let verdict = |durability, flush, fua| Verdict { durability, flush, fua, files, read_only, nvme };
    let found = match bottom {
        Bottom { unknown: Some(why), .. } => {
            // A flush that is known not to reach the media must not succeed.
            let flush =
                if bottom.void || !top.can_flush { FlushMethod::Impossible } else { FlushMethod::Bdev };
            verdict(Durability::Unknown(why), flush, false)
        }
        // Others may write the file, so a descriptor that only reads flushes as well.
        Bottom { unsynced, unflushed, .. } if unsynced || unflushed && !write => {
            return verdict(Durability::Cached, FlushMethod::FileSync, false);
        }
        Bottom { nvme_cache: Some(local), .. } => {
            // FUA is the drive's to keep; SPDK's own NVMe-oF target, for one, does not look at it
            // (lib/nvmf/ctrlr_bdev.c). SPDK makes no bounce buffer for an NVMe command.
            let fua = local && write && alignment <= 4;
            verdict(Durability::Cached, FlushMethod::NvmeCommand, fua)
        }
        Bottom { flushes, unflushed, .. } if flushes || unflushed => {
            verdict(Durability::Cached, FlushMethod::Bdev, false)
        }
        Bottom { memory: true, .. } => verdict(Durability::Memory, FlushMethod::Nothing, false),
        Bottom { .. } => verdict(Durability::Stable, FlushMethod::Nothing, false),
    };
    // SPDK takes neither a flush nor an NVMe command from a descriptor that only reads.
    if write { found } else { Verdict { flush: FlushMethod::Nothing, ..found } }
}

/// The findings at the bottom of a stack.
#[derive(Default)]
struct Bottom {
    files: Vec<FileBeneath>,
    /// No flush from above reaches one of the files, and its bdev completes writes that are not on stable media.
    unsynced: bool,
    /// A flush from above reaches a file whose bdev completes writes that are not on stable media.
    unflushed: bool,
    read_only: bool,
    memory: bool,
    flushes: bool,
    /// The bdev itself is an NVMe namespace with a volatile cache: local, or not.
    nvme_cache: Option<bool>,
    /// The first reason for which the durability is unknown.
    unknown: Option<String>,
    /// A flush would succeed without effect.
    void: bool,
}

impl Bottom {
    /// Descends from `name`, which lies `depth` bdevs below the top. `flushed`: all bdevs above pass a flush on.
    fn sound(&mut self, name: &str, look: &impl Fn(&str) -> Option<Described>, depth: usize, flushed: bool) {
        let Some(bdev) = look(name).filter(|_| depth < DEPTH_MAX) else {
            return self.give_up(format!("it stands on bdev {name}, of which nothing is known"));
        };
        match kind_of(&bdev) {
            Kind::Over { names, passes_flush } => {
                let flushed = flushed && passes_flush;
                names.iter().for_each(|name| self.sound(name, look, depth + 1, flushed));
            }
            Kind::File { path, read_only, access } => {
                self.read_only |= read_only;
                let file = FileBeneath { bdev: name.to_owned(), path, access };
                match &file.access {
                    Some(access) if access.is_synced() => {}
                    Some(_) if flushed => self.unflushed = true,
                    _ => self.unsynced = true,
                }
                if !self.files.contains(&file) {
                    self.files.push(file);
                }
            }
            Kind::Memory => self.memory = true,
            Kind::Stable => {}
            Kind::Nvme { .. } if !bdev.write_cache => {}
            Kind::Nvme { local } if depth == 0 => self.nvme_cache = Some(local),
            Kind::Nvme { .. } if flushed && bdev.nvme_flushes => self.flushes = true,
            Kind::Nvme { .. } => {
                self.void = true;
                self.give_up(format!(
                    "it stands on the NVMe bdev {name}, whose drive has a volatile cache that no flush reaches from there"
                ));
            }
            Kind::Flushes if depth == 0 => self.flushes = true,
            Kind::Flushes | Kind::Other => {
                let product = &bdev.product;
                let what =
                    if depth == 0 { "it".to_owned() } else { format!("it stands on bdev {name}, which") };
                self.give_up(format!(
                    "{what} is a bdev of kind {product:?}, of which it is not known when a write is on stable media"
                ));
            }
        }
    }

    /// Keeps the first reason.
    fn give_up(&mut self, why: String) {
        self.unknown.get_or_insert(why);
    }
}

#[cfg(test)]
mod tests {
    use FlushMethod::{Bdev, FileSync, Impossible, Nothing, NvmeCommand};

    use super::*;

    /// The bdevs of these tests: name, product, description, what SPDK says of cache and flush.
    const BDEVS: &[(&str, &str, &str, bool, bool)] = &[
        ("mem", "Malloc disk", "{}", true, true),
        ("nil", "Null disk", "{}", false, false),
        ("aio", "AIO disk", r#"{"aio":{"filename":"/x"}}"#, true, true),
        ("rofile", "AIO disk", r#"{"aio":{"filename":"/z","readonly":true}}"#, true, true),
        ("ptro", "passthru", r#"{"passthru":{"name":"ptro","base_bdev_name":"rofile"}}"#, true, true),
        (
            "file",
            "File",
            r#"{"file":{"filename":"/f","readonly":false,"buffered":false,"sync":"group"}}"#,
            false,
            true,
        ),
        (
            "filero",
            "File",
            r#"{"file":{"filename":"/g","readonly":true,"buffered":true,"sync":"each"}}"#,
            false,
            true,
        ),
        (
            "loose",
            "File",
            r#"{"file":{"filename":"/l","readonly":false,"buffered":true,"sync":"none"}}"#,
            true,
            true,
        ),
        ("ptloose", "passthru", r#"{"passthru":{"base_bdev_name":"loose"}}"#, true, true),
        ("lvfile", "Logical Volume", r#"{"lvol":{"base_bdev":"file"}}"#, false, false),
        ("lvloose", "Logical Volume", r#"{"lvol":{"base_bdev":"loose"}}"#, false, false),
        (
            "r0files",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":[{"name":"file"},{"name":"aio"},{"name":"loose"}]}}"#,
            false,
            true,
        ),
        (
            "r0kinds",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":[{"name":"file"},{"name":"nv"},{"name":"loose"}]}}"#,
            false,
            true,
        ),
        ("uring", "URING bdev", r#"{"uring":{"filename":"/y"}}"#, true, false),
        ("nv", "NVMe disk", r#"{"nvme":{"trid":{"trtype":"PCIe"}}}"#, true, true),
        ("nv26", "NVMe disk", r#"{"nvme":[{"trid":{"trtype":"PCIe"}}],"mp_policy":"x"}"#, true, true),
        ("nvsafe", "NVMe disk", r#"{"nvme":{"trid":{"trtype":"PCIe"}}}"#, false, true),
        ("nvof", "NVMe disk", r#"{"nvme":{"trid":{"trtype":"TCP"}}}"#, true, true),
        ("rbd", "Ceph Rbd Disk", r#"{"rbd":{"pool_name":"p"}}"#, false, true),
        ("rbdcache", "Ceph Rbd Disk", r#"{"rbd":{"pool_name":"p","rbd_cache":true}}"#, true, true),
        ("rbdplain", "Ceph Rbd Disk", r#"{"rbd":{"pool_name":"p","rbd_cache":false}}"#, false, true),
        ("lvrbd", "Logical Volume", r#"{"lvol":{"base_bdev":"rbdplain"}}"#, false, false),
        ("vblk", "VirtioBlk Disk", r#"{"vblk":{}}"#, false, false),
        ("vscsi", "Virtio SCSI Disk", r#"{"scsi":{}}"#, false, true),
        ("pt", "passthru", r#"{"passthru":{"name":"pt","base_bdev_name":"aio"}}"#, true, true),
        ("ptnv", "passthru", r#"{"passthru":{"base_bdev_name":"nv"}}"#, true, true),
        ("lv", "Logical Volume", r#"{"lvol":{"base_bdev":"pt"}}"#, false, false),
        ("lvnv", "Logical Volume", r#"{"lvol":{"base_bdev":"ptnv"}}"#, false, false),
        ("lvsafe", "Logical Volume", r#"{"lvol":{"base_bdev":"nvsafe"}}"#, false, false),
        ("lvmem", "Logical Volume", r#"{"lvol":{"base_bdev":"mem"}}"#, false, false),
        ("split", "Split Disk", r#"{"split":{"base_bdev":"nvof","offset_blocks":0}}"#, true, true),
        ("err", "Error Injection Disk", r#"{"error_disk":{"base_bdev":"vblk"}}"#, false, true),
        (
            "r0",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":["lv","uring","mem"]}}"#,
            false,
            true,
        ),
        (
            "r26",
            "Raid Volume",
            r#"{"raid":{"raid_level":"concat","base_bdevs_list":[{"name":"aio"}]}}"#,
            false,
            true,
        ),
        (
            "r1",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid1","base_bdevs_list":[{"name":"aio"}]}}"#,
            false,
            true,
        ),
        (
            "hole",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":["aio",null]}}"#,
            false,
            true,
        ),
        (
            "r0nv",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":[{"name":"nv"},{"name":"nvof"}]}}"#,
            false,
            true,
        ),
        (
            "r0mixed",
            "Raid Volume",
            r#"{"raid":{"raid_level":"raid0","base_bdevs_list":[{"name":"nv"},{"name":"aio"}]}}"#,
            false,
            true,
        ),
        ("gone", "delay", r#"{"delay":{"base_bdev_name":"nobody"}}"#, true, true),
        ("round", "delay", r#"{"delay":{"base_bdev_name":"round"}}"#, true, true),
        ("odd", "Odd", "not json", false, true),
    ];

    fn judged(name: &str, write: bool, alignment: usize) -> Verdict {
        judged_with(name, write, alignment, false)
    }

    fn judged_with(name: &str, write: bool, alignment: usize, nvme_flushes: bool) -> Verdict {
        let look = |wanted: &str| {
            BDEVS.iter().find(|(name, ..)| *name == wanted).map(|(_, product, description, cache, flush)| {
                Described {
                    product: (*product).into(),
                    description: (*description).into(),
                    write_cache: *cache,
                    can_flush: *flush,
                    nvme_flushes,
                }
            })
        };
        judge(name, write, alignment, &look)
    }

    #[test]
    fn writes_lie_where_the_bottom_of_the_bdevs_says() {
        for (name, durability, flush) in [
            ("mem", Durability::Memory, Nothing),
            ("nil", Durability::Memory, Nothing),
            ("lvmem", Durability::Memory, Nothing),
            ("aio", Durability::Cached, FileSync),
            ("uring", Durability::Cached, FileSync),
            ("file", Durability::Stable, Nothing),
            ("filero", Durability::Stable, Nothing),
            ("lvfile", Durability::Stable, Nothing),
            ("loose", Durability::Cached, Bdev),
            ("ptloose", Durability::Cached, Bdev),
            // A volume has no flush.
            ("lvloose", Durability::Cached, FileSync),
            ("r0files", Durability::Cached, FileSync),
            ("pt", Durability::Cached, FileSync),
            ("lv", Durability::Cached, FileSync),
            ("r0", Durability::Cached, FileSync),
            ("r26", Durability::Cached, FileSync),
            ("nv", Durability::Cached, NvmeCommand),
            ("nv26", Durability::Cached, NvmeCommand),
            ("nvof", Durability::Cached, NvmeCommand),
            ("nvsafe", Durability::Stable, Nothing),
            ("lvsafe", Durability::Stable, Nothing),
            ("rbd", Durability::Cached, Bdev),
            ("rbdcache", Durability::Cached, Bdev),
            ("rbdplain", Durability::Stable, Nothing),
            ("lvrbd", Durability::Stable, Nothing),
        ] {
            let verdict = judged(name, true, 1);
            assert_eq!((verdict.durability, verdict.flush), (durability, flush), "{name}");
        }
    }

    #[test]
    fn what_is_not_certain_says_why_and_no_void_flush_succeeds() {
        for (name, flush, part) in [
            ("ptnv", Impossible, "stands on the NVMe bdev nv, whose drive has a volatile cache"),
            ("lvnv", Impossible, "NVMe bdev nv"),
            ("split", Impossible, "NVMe bdev nvof"),
            ("vblk", Impossible, "it is a bdev of kind \"VirtioBlk Disk\""),
            ("vscsi", Bdev, "Virtio SCSI Disk"),
            ("err", Bdev, "stands on bdev vblk, which is a bdev of kind"),
            ("r1", Bdev, "Raid Volume"),
            ("hole", Bdev, "Raid Volume"),
            ("gone", Bdev, "bdev nobody"),
            ("round", Bdev, "bdev round"),
            ("odd", Bdev, "kind \"Odd\""),
            ("no such", Impossible, "no such"),
        ] {
            let verdict = judged(name, true, 1);
            let Durability::Unknown(why) = &verdict.durability else { panic!("{name}: {verdict:?}") };
            assert!(why.contains(part), "{name}: {why}");
            assert_eq!((verdict.flush, verdict.fua), (flush, false), "{name}");
        }
    }

    #[test]
    fn a_flush_reaches_drives_through_bdevs_that_pass_it_on_to_drives_that_send_it() {
        for name in ["ptnv", "split", "r0nv"] {
            let verdict = judged_with(name, true, 1, true);
            assert_eq!((verdict.durability, verdict.flush), (Durability::Cached, Bdev), "{name}");
        }
        assert_eq!(
            judged_with("r0kinds", true, 1, true).flush,
            Bdev,
            "its own files are flushed as the drives are"
        );
        // An lvol has no flush; files of aio and drives would need two kinds of it.
        for (name, part) in [("lvnv", "no flush reaches"), ("r0mixed", "files and on other bdevs")] {
            let verdict = judged_with(name, true, 1, true);
            let Durability::Unknown(why) = &verdict.durability else { panic!("{name}: {verdict:?}") };
            assert!(why.contains(part), "{name}: {why}");
        }
        // The drive itself is flushed by the command, whatever the option says.
        assert_eq!(judged_with("nv", true, 1, true).flush, NvmeCommand);
    }

    #[test]
    fn every_file_at_the_bottom_is_synced_once() {
        let beneath =
            |bdev: &str, path: &str| FileBeneath { bdev: bdev.into(), path: path.into(), access: None };
        assert_eq!(judged("lv", true, 1).files, [beneath("aio", "/x")]);
        assert_eq!(judged("r0", true, 1).files, [beneath("aio", "/x"), beneath("uring", "/y")]);
        assert_eq!(judged("nv", true, 1).files, []);
        let reads = judged("aio", false, 512);
        assert_eq!(
            (reads.flush, reads.files.as_slice()),
            (FileSync, &[beneath("aio", "/x")][..]),
            "others may write"
        );
        assert_eq!(judged("loose", false, 1).flush, FileSync, "others may write");
        assert_eq!(judged("file", false, 1).flush, Nothing, "others' writes are durable");
        let synced = judged("r0files", true, 1).files;
        assert_eq!(
            synced.iter().map(|file| (file.path.as_str(), file.is_synced())).collect::<Vec<_>>(),
            [("/f", true), ("/x", false), ("/l", false)]
        );
        let access = FileAccess { buffered: true, sync: "each".into() };
        assert_eq!(judged("filero", false, 1).files[0].access, Some(access));
    }

    #[test]
    fn a_file_that_was_opened_to_be_read_is_known_through_what_stands_on_it() {
        for (name, read_only) in [
            ("rofile", true),
            ("ptro", true),
            ("filero", true),
            ("file", false),
            ("aio", false),
            ("lv", false),
            ("mem", false),
        ] {
            assert_eq!(judged(name, true, 1).read_only, read_only, "{name}");
        }
    }

    #[test]
    fn only_a_local_nvme_drive_that_takes_the_data_where_it_lies_writes_with_fua() {
        assert!(judged("nv", true, 4).fua && judged("nv26", true, 1).fua);
        for (name, write, alignment) in [
            ("nv", true, 8),
            ("nv", false, 4),
            ("nvof", true, 4),
            ("nvsafe", true, 4),
            ("ptnv", true, 4),
            ("aio", true, 4),
        ] {
            assert!(!judged(name, write, alignment).fua, "{name}");
        }
        assert!(
            judged("nvsafe", true, 4).nvme && judged("nvof", false, 4).nvme && !judged("ptnv", true, 4).nvme
        );
    }

    #[test]
    fn a_descriptor_that_only_reads_has_nothing_to_flush() {
        for name in ["nv", "rbd", "ptnv", "odd"] {
            assert_eq!(judged(name, false, 1).flush, Nothing, "{name}: SPDK would refuse it");
        }
    }
}
