//! The failure of an SPDK call: its name and its errno.

use std::io;

/// An SPDK function's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {}", io::Error::from_raw_os_error(*.errno))]
pub struct Error {
    /// The C function that failed.
    pub call: &'static str,
    /// Its (positive) errno.
    pub errno: i32,
}

/// Why there is no way into a bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Its blocks, of so many bytes, are none that this crate reads and writes by sectors.
    #[error(
        "the bdev has blocks of {0} bytes: only blocks of 512, 1024, 2048 or 4096 bytes can be read and written"
    )]
    BlockSize(u32),
    /// SPDK's refusal.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// The result of a call that SPDK can refuse.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) const EPERM: i32 = 1;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const ESRCH: i32 = 3;
pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const EAGAIN: i32 = 11;
pub(crate) const ENOMEM: i32 = 12;
pub(crate) const EACCES: i32 = 13;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENODEV: i32 = 19;
pub(crate) const EISDIR: i32 = 21;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const EROFS: i32 = 30;
pub(crate) const ENOSYS: i32 = 38;
pub(crate) const EALREADY: i32 = 114;
pub(crate) const ENOTSUP: i32 = 95;
pub(crate) const ECANCELED: i32 = 125;

/// For functions that return 0 or a negative errno.
pub(crate) fn check(call: &'static str, code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error { call, errno: code.saturating_neg() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_call_and_the_cause() {
        assert_eq!(check("spdk_bdev_open_ext", 0), Ok(()));
        let error = check("spdk_bdev_open_ext", -1).expect_err("-1 is a failure");
        assert_eq!(error.to_string(), "spdk_bdev_open_ext failed: Operation not permitted (os error 1)");
    }
}
