//! A file or block device as a bdev: the options that an operator may give it, and the calls that make it.

use std::path::Path;

use serde_json::{Value, json};

use crate::backing_file::SECTOR;
use crate::error::Quoted;

/// The RPC that makes a bdev of the kernel's file or block device, by io_uring.
pub const CREATE: &str = "bdev_file_create";

/// The RPC that deletes it.
pub const DELETE: &str = "bdev_file_delete";

/// The RPC that makes SPDK's own bdev of a file, by Linux's aio.
pub const CREATE_AIO: &str = "bdev_aio_create";

/// The RPC that deletes that one.
pub const DELETE_AIO: &str = "bdev_aio_delete";

/// Before a path, on a command line: SPDK's own bdev is to be made of it.
pub const AIO_PREFIX: &str = "spdk-aio:";

/// How the bdev brings writes to stable media before it completes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// One fdatasync for all writes that completed before it began.
    Group,
    /// Each write by itself (RWF_DSYNC).
    Each,
    /// Not at all: a flush does.
    None,
}

impl SyncMode {
    const WORDS: [(&'static str, Self); 3] =
        [("group", Self::Group), ("each", Self::Each), ("none", Self::None)];

    /// Reads its word.
    ///
    /// # Errors
    /// A sentence naming the text and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, mode)| mode).ok_or_else(|| {
            format!(
                "sync {} is not allowed: it is group (one sync for the writes that completed before it), each (every write by \
                 itself) or none (a flush does)",
                Quoted(text)
            )
        })
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// The way of reads and writes to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Through the page cache.
    Buffered,
    /// Past it (O_DIRECT).
    Direct,
}

/// What an operator asks of a file's bdev. The target chooses what is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// How writes become durable.
    pub sync: Option<SyncMode>,
    /// Whether the page cache is used.
    pub caching: Option<Caching>,
}

impl FileOptions {
    /// The options in words, for error texts.
    pub const FORMS: &'static str = "sync=group|each|none, buffered, direct";

    /// Sets an option by its word. Returns false if it is none of these.
    ///
    /// # Errors
    /// A sentence naming what is wrong and what is allowed.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<bool, String> {
        let caching = match (name, value) {
            ("sync", Some(text)) => {
                self.sync = Some(SyncMode::parse(text)?);
                return Ok(true);
            }
            ("sync", None) => {
                return Err("sync lacks its value: write sync=group, sync=each or sync=none".into());
            }
            ("buffered", None) => Caching::Buffered,
            ("direct", None) => Caching::Direct,
            ("buffered" | "direct", Some(value)) => {
                return Err(format!("{name} takes no value, and {} is given: write {name}", Quoted(value)));
            }
            _ => return Ok(false),
        };
        if self.caching.is_some_and(|given| given != caching) {
            return Err("buffered and direct are both given: give one of them, or none".into());
        }
        self.caching = Some(caching);
        Ok(true)
    }

    /// Both requests in one, for two exports of one bdev.
    ///
    /// # Errors
    /// The word of an option that they want different values of.
    pub fn merge(self, other: Self) -> Result<Self, &'static str> {
        fn one<T: PartialEq>(
            a: Option<T>,
            b: Option<T>,
            name: &'static str,
        ) -> Result<Option<T>, &'static str> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => Err(name),
                (a, b) => Ok(a.or(b)),
            }
        }
        Ok(Self {
            sync: one(self.sync, other.sync, "sync")?,
            caching: one(self.caching, other.caching, "buffered")?,
        })
    }

    /// The parameters of [`CREATE`]. `write_back`: every export that writes it has a volatile cache, which FLUSH CACHE empties, so
    /// that the bdev does not sync by itself unless it is asked to.
    #[must_use]
    pub fn to_params(self, bdev_name: &str, path: &Path, read_only: bool, write_back: bool) -> Value {
        let mut params = json!({ "name": bdev_name, "filename": path });
        if read_only {
            params["readonly"] = true.into();
        }
        if let Some(caching) = self.caching {
            params["buffered"] = (caching == Caching::Buffered).into();
        }
        if let Some(sync) = self.sync.or_else(|| (write_back && !read_only).then_some(SyncMode::None)) {
            params["sync"] = sync.word().into();
        }
        params
    }
}

/// The parameters of [`CREATE_AIO`]. A block device has a block size of its own, and SPDK refuses a smaller one.
#[must_use]
pub fn aio_params(bdev_name: &str, path: &Path, read_only: bool, is_block_device: bool) -> Value {
    let mut params = json!({ "name": bdev_name, "filename": path });
    if !is_block_device {
        params["block_size"] = SECTOR.into();
    }
    if read_only {
        params["readonly"] = true.into();
    }
    params
}

/// The parameters of [`CREATE_AIO`] for the file that parameters of [`CREATE`] are for.
#[must_use]
pub fn to_aio(params: &Value, is_block_device: bool) -> Value {
    let mut aio = json!({});
    for name in ["name", "filename", "block_size", "readonly", "uuid"] {
        if let Some(value) = params.get(name) {
            aio[name] = value.clone();
        }
    }
    if !is_block_device && aio.get("block_size").is_none() {
        aio["block_size"] = SECTOR.into();
    }
    aio
}

/// In the sentence by which [`CREATE`] is refused where Linux lets the target have no io_uring.
pub const NO_IO_URING: &str = "io_uring can't be used";

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[(&str, Option<&str>)]) -> Result<FileOptions, String> {
        let mut options = FileOptions::default();
        for (name, value) in words {
            assert!(options.set(name, *value)?, "{name}");
        }
        Ok(options)
    }

    #[test]
    fn options_become_parameters_and_what_is_not_given_is_left_to_the_target() {
        let path = Path::new("/d");
        let params =
            |options: FileOptions, read_only, write_back| options.to_params("f", path, read_only, write_back);
        let none = FileOptions::default();
        assert_eq!(params(none, false, false), json!({ "name": "f", "filename": "/d" }));
        assert_eq!(params(none, true, false), json!({ "name": "f", "filename": "/d", "readonly": true }));
        assert_eq!(params(none, false, true), json!({ "name": "f", "filename": "/d", "sync": "none" }));
        assert_eq!(params(none, true, true)["sync"], Value::Null, "nothing is written");
        let all = options(&[("sync", Some("each")), ("direct", None)]).unwrap();
        assert_eq!(
            params(all, true, true),
            json!({ "name": "f", "filename": "/d", "readonly": true, "buffered": false, "sync": "each" })
        );
        assert_eq!(params(options(&[("buffered", None)]).unwrap(), false, false)["buffered"], true);
        assert_eq!(
            aio_params("a", path, true, false),
            json!({ "name": "a", "filename": "/d", "block_size": 512, "readonly": true })
        );
        assert_eq!(aio_params("a", path, false, true), json!({ "name": "a", "filename": "/d" }));
        let asked = params(all, true, true);
        assert_eq!(to_aio(&asked, false), aio_params("f", path, true, false));
        assert_eq!(to_aio(&asked, true), json!({ "name": "f", "filename": "/d", "readonly": true }));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (words, parts) in [
            (&[("sync", Some("all"))][..], &["sync 'all'", "group", "each", "none"][..]),
            (&[("sync", None)], &["lacks its value", "sync=group"]),
            (&[("buffered", Some("yes"))], &["buffered takes no value", "'yes'"]),
            (&[("buffered", None), ("direct", None)], &["buffered and direct"]),
        ] {
            let sentence = options(words).unwrap_err();
            assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
        }
        assert_eq!(FileOptions::default().set("user", Some("x")), Ok(false));
    }

    #[test]
    fn two_exports_of_one_file_may_not_want_different_things() {
        let of = |words: &[(&str, Option<&str>)]| options(words).unwrap();
        let (none, each, group) = (of(&[]), of(&[("sync", Some("each"))]), of(&[("sync", Some("group"))]));
        let direct = of(&[("direct", None)]);
        assert_eq!(none.merge(each), Ok(each));
        assert_eq!(each.merge(direct), Ok(FileOptions { sync: each.sync, caching: direct.caching }));
        assert_eq!(each.merge(group), Err("sync"));
        assert_eq!(direct.merge(of(&[("buffered", None)])), Err("buffered"));
    }

    #[test]
    fn modes_are_read_and_written_the_same() {
        for mode in [SyncMode::Group, SyncMode::Each, SyncMode::None] {
            assert_eq!(SyncMode::parse(mode.word()), Ok(mode));
        }
    }
}
