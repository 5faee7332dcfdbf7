//! A place in the settings file, for sentences about mistakes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::launch_error::LaunchError;

/// A path, if it is absolute: the working directory of a service is not that of the file.
pub(super) fn absolute(path: &impl AsRef<Path>) -> Result<PathBuf, String> {
    let path = path.as_ref();
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(format!("'{}' is no absolute path: one that begins with / is needed", path.display()))
    }
}

/// A file and its text, for the place of a mistake.
pub(super) struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    /// Reads one value.
    pub(super) fn value<T, R>(
        &self,
        key: &str,
        value: &Spanned<T>,
        read: impl FnOnce(&T) -> Result<R, String>,
    ) -> Result<R, LaunchError> {
        read(value.get_ref()).map_err(|sentence| self.mistake(key, Some(value.span()), &sentence))
    }

    /// Reads a value that may be left out.
    pub(super) fn optional<T, R>(
        &self,
        key: &str,
        value: Option<&Spanned<T>>,
        read: impl FnOnce(&T) -> Result<R, String>,
    ) -> Result<Option<R>, LaunchError> {
        value.map(|value| self.value(key, value, read)).transpose()
    }

    /// One sentence about a key.
    pub(super) fn mistake(&self, key: &str, span: Option<Range<usize>>, sentence: &str) -> LaunchError {
        let line = span.map_or(1, |span| self.line_of(span.start));
        LaunchError::usage(format!("{}:{line}: {key}: {sentence}", self.path.display()))
    }

    /// The number of the line that byte `at` is on.
    fn line_of(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// A refusal of the TOML reader: no TOML, an unknown key, or a value of another type.
    pub(super) fn refused(&self, error: &toml::de::Error) -> LaunchError {
        let message = error.message().replace('\n', ", ").replace('`', "'");
        let Some(span) = error.span() else {
            return LaunchError::usage(format!("{}: {message}", self.path.display()));
        };
        let number = self.line_of(span.start);
        let line = self.text.lines().nth(number - 1).unwrap_or_default();
        // The reader does not name the key of a value of another type.
        let key = line
            .split_once('=')
            .map(|(key, _)| key.trim())
            .filter(|key| !key.is_empty() && !message.contains(*key));
        let key = key.map_or_else(String::new, |key| format!("{key}: "));
        LaunchError::usage(format!("{}:{number}: {key}{message}", self.path.display()))
    }
}
