//! An I/O in sectors: what is asked of a bdev, and how it ended.

use std::ffi::c_int;

use crate::sectors::Sectors;

/// What to do with a bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoKind {
    /// Sectors into the frame.
    Read,
    /// The frame's bytes into sectors.
    Write,
    /// As [`IoKind::Write`], with NVMe's Force Unit Access: on stable media when it ends. Only where
    /// [`IoChannel::can_force`](crate::IoChannel::can_force). Bypasses the bdev layer's counts of writes.
    WriteFua,
    /// Everything written and completed before to stable media. Covers the whole bdev; the range is not looked at.
    Flush,
    /// The content of the blocks that lie wholly in the range is no longer needed; the frame is not looked at. For a bdev
    /// with [`crate::BdevInfo::unmaps`].
    Unmap,
    /// NVMe's log page of health information ([`crate::HEALTH_LOG_BYTES`]) into the frame; the range is not looked at.
    /// For a bdev with [`crate::BdevInfo::health`].
    Health,
}

/// One I/O of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Io {
    /// What to do.
    pub kind: IoKind,
    /// Where on the bdev.
    pub sectors: Sectors,
    /// Bytes into the frame where the data starts.
    pub payload: u16,
}

/// How an I/O ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The medium could not be read or written there.
    MediaError,
    /// Beyond the bdev's end.
    OutOfRange,
    /// The bdev can't do this, or not now: removed, reset, claimed, read-only.
    Aborted,
    /// Any other failure of the device.
    DeviceFault,
}

impl Outcome {
    /// What an NVMe status (spdk/nvme_spec.h: type, code) means for a request.
    pub(crate) fn of_nvme(status_type: c_int, status: c_int) -> Self {
        match (status_type, status) {
            (0, 0x80) => Self::OutOfRange,
            // Invalid opcode or field, aborted by request or by a deleted queue, namespace write protected.
            (0, 0x01 | 0x02 | 0x07 | 0x08 | 0x20) => Self::Aborted,
            (2, _) => Self::MediaError,
            _ => Self::DeviceFault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvme_statuses_map_to_outcomes() {
        assert_eq!(Outcome::of_nvme(0, 0x80), Outcome::OutOfRange);
        assert_eq!(Outcome::of_nvme(0, 0x01), Outcome::Aborted);
        assert_eq!(Outcome::of_nvme(0, 0x08), Outcome::Aborted);
        assert_eq!(Outcome::of_nvme(2, 0x81), Outcome::MediaError, "unrecovered read error");
        assert_eq!(Outcome::of_nvme(2, 0x80), Outcome::MediaError, "write fault");
        assert_eq!(Outcome::of_nvme(0, 0x06), Outcome::DeviceFault, "internal device error");
        assert_eq!(Outcome::of_nvme(7, 0xff), Outcome::DeviceFault);
    }
}
