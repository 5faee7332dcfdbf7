//! Where the log goes and how its lines are written: `--log-target` and `--log-format`.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::record::Form;
use crate::launch_error::LaunchError;

/// The socket of journald's native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Device and inode of the journal's stream, `DEV:INODE`, if the service manager has connected standard error to it.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object on each line.
    Json,
}

impl LogFormat {
    /// Reads `--log-format`.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("the formats are text and json".into()),
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// To journald where standard error is connected to it, else to standard error.
    #[default]
    Auto,
    /// To standard error.
    Stderr,
    /// To the end of this file.
    File(PathBuf),
    /// To journald at this socket.
    Journald(PathBuf),
}

impl LogTarget {
    /// Reads `--log-target`.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let absolute = |path: &str| {
            let path = PathBuf::from(path);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(format!("'{text}': PATH must be absolute, as in file:/var/log/kvblade.log"))
            }
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "stderr" => Ok(Self::Stderr),
            None if text == "journald" => Ok(Self::Journald(JOURNAL.into())),
            Some(("file", path)) => absolute(path).map(Self::File),
            Some(("journald", path)) => absolute(path).map(Self::Journald),
            _ => Err("the targets are auto, stderr, file:PATH and journald".into()),
        }
    }

    /// Whether `format` can be written there.
    ///
    /// # Errors
    /// A sentence, if not.
    pub(crate) fn check(&self, format: LogFormat) -> Result<(), LaunchError> {
        match self {
            Self::Journald(_) if format == LogFormat::Json => Err(LaunchError::usage(
                "--log-format json and --log-target journald exclude each other: journald gets fields anyway",
            )),
            _ => Ok(()),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// A sentence that names what can't be opened.
    pub(super) fn open(&self, format: LogFormat) -> Result<Destination, LaunchError> {
        let failed = |error: io::Error| {
            let hint = match self {
                Self::File(_) => "give a file in a directory that exists, and that this user may write to",
                _ => "is systemd-journald running? Other targets are stderr and file:PATH",
            };
            LaunchError::environment(format!("--log-target '{self}': {error}: {hint}"))
        };
        let form = if format == LogFormat::Json { Form::Json } else { Form::Text };
        Ok(match self {
            Self::Auto => {
                let stream = std::env::var_os(JOURNAL_STREAM);
                let found =
                    stream.filter(|_| format == LogFormat::Text).filter(|stream| is_standard_error(stream));
                match found.and_then(|_| Output::journal(Path::new(JOURNAL)).ok()) {
                    Some(output) => {
                        Destination { output, form: Form::Journal, repeats: false, name: "journald".into() }
                    }
                    None => return Self::Stderr.open(format),
                }
            }
            Self::Stderr => Destination {
                output: Output::standard_error().map_err(failed)?,
                form,
                repeats: false,
                name: self.to_string(),
            },
            Self::File(path) => Destination {
                output: Output::file(path).map_err(failed)?,
                form,
                repeats: true,
                name: self.to_string(),
            },
            Self::Journald(path) => Destination {
                output: Output::journal(path).map_err(failed)?,
                form: Form::Journal,
                // The journal would have them twice.
                repeats: !std::env::var_os(JOURNAL_STREAM).is_some_and(|stream| is_standard_error(&stream)),
                name: self.to_string(),
            },
        })
    }
}

/// As `parse` reads it.
impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Journald(path) if path == Path::new(JOURNAL) => f.write_str("journald"),
            Self::Journald(path) => write!(f, "journald:{}", path.display()),
        }
    }
}

/// A target that is open.
pub(super) struct Destination {
    pub(super) output: Output,
    pub(super) form: Form,
    /// Whether the last words of the program go to standard error as well, where someone may wait for them.
    pub(super) repeats: bool,
    /// As `--log-target` has it.
    pub(super) name: String,
}

/// Whether standard error is that stream.
fn is_standard_error(stream: &OsStr) -> bool {
    let numbers = stream.to_str().and_then(|stream| stream.split_once(':'));
    let Some((Ok(device), Ok(inode))) = numbers.map(|(device, inode)| (device.parse(), inode.parse())) else {
        return false;
    };
    let metadata = io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    metadata.is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written() {
        for text in
            ["auto", "stderr", "journald", "file:/var/log/a b", "journald:/run/systemd/journal.x/socket"]
        {
            assert_eq!(LogTarget::parse(text).unwrap().to_string(), text);
        }
        for (text, part) in [
            ("", "auto, stderr, file:PATH and journald"),
            ("syslog", "auto, stderr, file:PATH and journald"),
            ("file", "auto, stderr"),
            ("file:log", "must be absolute"),
            ("file:", "must be absolute"),
            ("journald:x", "must be absolute"),
        ] {
            let sentence = LogTarget::parse(text).unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
        assert!(LogFormat::parse("xml").unwrap_err().contains("text and json"));
        assert!(LogTarget::parse("journald").unwrap().check(LogFormat::Json).is_err());
        assert!(LogTarget::Stderr.check(LogFormat::Json).is_ok());
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_named() {
        for (target, part) in [
            ("file:/nonexistent/log", "a directory that exists"),
            ("journald:/nonexistent/socket", "is systemd-journald running?"),
        ] {
            let Err(error) = LogTarget::parse(target).unwrap().open(LogFormat::Text) else {
                panic!("{target} can be opened");
            };
            let sentence = error.to_string();
            assert!(sentence.contains(target) && sentence.contains(part), "{sentence}");
        }
    }

    #[test]
    fn standard_error_is_the_journals_if_device_and_inode_agree() {
        let own = File::from(io::stderr().as_fd().try_clone_to_owned().unwrap()).metadata().unwrap();
        let (device, inode) = (own.dev(), own.ino());
        assert!(is_standard_error(OsStr::new(&format!("{device}:{inode}"))));
        for other in [format!("{device}:{}", inode + 1), format!("{device}"), "x:y".into(), String::new()] {
            assert!(!is_standard_error(OsStr::new(&other)), "{other}");
        }
    }
}
