//! The options of a file bdev, as an operator gives them.

use serde::{Deserialize, Serialize};

/// When a write of a bdev is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// When an fdatasync has ended that was submitted after it, and which it shares with other writes. A write is on stable
    /// media then.
    #[default]
    Group,
    /// When Linux has written it with RWF_DSYNC. A write is on stable media then. Better than `Group` where that is one
    /// operation of the disk: its queue announces FUA, or no volatile cache.
    Each,
    /// When Linux has taken it. A FLUSH brings it to stable media.
    None,
}

/// A bdev on a file or block device of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBdevOptions {
    /// The bdev's name.
    pub name: String,
    /// The file or block device. A relative path is one from the program's directory.
    pub filename: String,
    /// Bytes a block, a power of two from 512 to 65,536. Absent: the device's logical block size; of a file, 512, or what
    /// direct I/O on its file system asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Opens it for reading only.
    #[serde(default)]
    pub readonly: bool,
    /// Whether reads and writes go through the page cache. Absent: of a regular file that is only read, and where the file system
    /// has no direct I/O, which is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffered: Option<bool>,
    /// When a write is complete. Absent: [`SyncMode::Each`] where that is one operation of the disk, else [`SyncMode::Group`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncMode>,
    /// The bdev's UUID. Absent: another one at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

impl FileBdevOptions {
    /// A bdev with the default options.
    #[must_use]
    pub fn new(name: impl Into<String>, filename: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filename: filename.into(),
            block_size: None,
            readonly: false,
            buffered: None,
            sync: None,
            uuid: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_has_its_default_and_comes_back_from_the_saved_form() {
        let given: FileBdevOptions =
            serde_json::from_value(json!({ "name": "f", "filename": "/x" })).expect("enough");
        assert_eq!(given, FileBdevOptions::new("f", "/x"));
        let all = FileBdevOptions {
            block_size: Some(4096),
            readonly: true,
            buffered: Some(false),
            sync: Some(SyncMode::None),
            uuid: Some("u".into()),
            ..given
        };
        let saved = serde_json::to_value(&all).expect("plain data");
        assert_eq!(saved["sync"], "none");
        assert_eq!(serde_json::from_value::<FileBdevOptions>(saved).expect("as saved"), all);
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_is_allowed() {
        for (params, parts) in [
            (json!({ "name": "f" }), vec!["filename"]),
            (json!({ "name": "f", "filename": "/x", "sync": "all" }), vec!["all", "group", "each", "none"]),
            (json!({ "name": "f", "filename": "/x", "direct": true }), vec!["direct", "buffered"]),
            (json!({ "name": "f", "filename": "/x", "block_size": -1 }), vec!["-1"]),
        ] {
            let error = serde_json::from_value::<FileBdevOptions>(params).expect_err("refused").to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
