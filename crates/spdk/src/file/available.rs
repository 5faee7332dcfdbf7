//! Whether this machine lets this program use io_uring, and if not, why.

use std::io;

use super::{error::FileError, ring};
use crate::error::{EACCES, ENOMEM, ENOSYS, EPERM};

/// The sysctl by which an operator forbids io_uring, since Linux 6.6: 0 allows it to all, 1 to a group, 2 to nobody.
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Tries io_uring, with a small ring.
///
/// # Errors
/// The reason, with what to do about it.
pub(super) fn check() -> Result<(), FileError> {
    ring::build(2, 4, false).map(drop).map_err(|error| explain(&error))
}

/// Why a ring can't be made.
pub(super) fn explain(error: &io::Error) -> FileError {
    let setting = std::fs::read_to_string(DISABLED).unwrap_or_default();
    FileError::new(error.raw_os_error().unwrap_or(crate::error::EIO), sentence(error, setting.trim()))
}

fn sentence(error: &io::Error, setting: &str) -> String {
    let why = match (error.raw_os_error(), setting) {
        (Some(EPERM), "1" | "2") => {
            format!(": sysctl kernel.io_uring_disabled is {setting}, and 0 allows it")
        }
        (Some(EPERM | EACCES), _) => {
            ": a seccomp filter forbids it, as those of container engines do".to_owned()
        }
        (Some(ENOSYS), _) => ": this kernel is built without it, or a seccomp filter hides it".to_owned(),
        (Some(ENOMEM), _) => ": the limit of locked memory is too low (ulimit -l)".to_owned(),
        _ => String::new(),
    };
    format!("io_uring can't be used ({error}){why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        for (errno, setting, part) in [
            (EPERM, "2", "kernel.io_uring_disabled is 2, and 0 allows it"),
            (EPERM, "1", "kernel.io_uring_disabled is 1"),
            (EPERM, "0", "a seccomp filter forbids it"),
            (EPERM, "", "a seccomp filter forbids it"),
            (ENOSYS, "", "built without it"),
            (ENOMEM, "0", "ulimit -l"),
            (24, "0", "Too many open files"),
        ] {
            let text = sentence(&io::Error::from_raw_os_error(errno), setting);
            assert!(text.starts_with("io_uring can't be used (") && text.contains(part), "{text}");
        }
    }
}
