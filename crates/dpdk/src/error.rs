//! The failure of a DPDK call: its name and its errno.

use std::ffi::CStr;

/// A DPDK function's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {} (errno {errno})", describe(*.errno))]
pub struct Error {
    /// The C function that failed.
    pub call: &'static str,
    /// Its (positive) errno.
    pub errno: i32,
}

impl Error {
    /// Whether the same call may succeed soon (`EAGAIN`).
    pub fn is_temporary(&self) -> bool {
        self.errno == 11
    }
}

/// The result of a call that DPDK can refuse.
pub type Result<T> = std::result::Result<T, Error>;

/// DPDK's text for an errno.
fn describe(errno: i32) -> String {
    // SAFETY: rte_strerror (rte_errno.h) takes any number.
    let text = unsafe { dpdk_sys::rte_strerror(errno) };
    // SAFETY: rte_strerror returns a NUL-terminated string, static or in a buffer of this thread, which its next call
    // changes; there is none before the text is copied.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// For functions that return a negative errno: the value if it is none.
pub(crate) fn check(call: &'static str, value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error { call, errno: value.saturating_neg() })
}

/// For functions that return NULL or -1 and leave `rte_errno`.
pub(crate) fn last(call: &'static str) -> Error {
    // SAFETY: the shim reads rte_errno, a variable of this thread.
    let errno = unsafe { dpdk_sys::dpdk_shim_errno() };
    Error { call, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_results_name_the_call_and_the_cause() {
        let error = check("rte_eth_dev_start", -22).expect_err("-22 is a failure");
        assert_eq!(error, Error { call: "rte_eth_dev_start", errno: 22 });
        assert_eq!(error.to_string(), "rte_eth_dev_start failed: Invalid argument (errno 22)");
    }

    #[test]
    fn other_results_pass() {
        assert_eq!(check("f", 0), Ok(0));
        assert_eq!(check("f", 7), Ok(7));
        assert_eq!(check("f", i32::MIN).expect_err("negative").errno, i32::MAX);
    }
}
