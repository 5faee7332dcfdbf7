//! The error of this crate: a sentence.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a part of the lab could not be set up or did not behave. Tests and benches only print the sentence.
#[derive(Debug, thiserror::Error)]
#[error("lab: {0}")]
pub struct Error(String);

impl Error {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}
