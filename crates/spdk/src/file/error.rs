//! Why a file bdev can't be made or changed.

use std::io;

/// A refusal: its errno, and a sentence that names the value and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct FileError {
    /// A positive errno.
    pub errno: i32,
    /// A sentence without its end.
    pub sentence: String,
}

impl FileError {
    pub(super) fn new(errno: i32, sentence: impl Into<String>) -> Self {
        Self { errno, sentence: sentence.into() }
    }

    /// A refusal by the kernel, which the sentence ends with.
    pub(super) fn of(error: &io::Error, sentence: impl AsRef<str>) -> Self {
        Self::new(
            error.raw_os_error().unwrap_or(crate::error::EIO),
            format!("{}: {error}", sentence.as_ref()),
        )
    }
}
