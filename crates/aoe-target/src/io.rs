//! An I/O for a bdev, and its outcome: the boundary between the protocol and the disk.

use aoe_wire::ATA_LEN;
use ata::{AddressWidth, Lba, SectorCount, Transfer};

/// Offset of sector data in a frame, for reads and writes alike: a multiple of 4, not of 512.
pub const PAYLOAD_OFFSET: usize = ATA_LEN;

/// The operation of an I/O. None carries a value, so that it is one byte, which stays in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BdevOp {
    /// Fill the frame's payload from the disk.
    Read,
    /// Store the frame's payload on the disk.
    Write,
    /// Bring all acknowledged writes to stable storage.
    Flush,
    /// Give up the sectors of the [`Ranges`](ata::Ranges) in the frame's payload, all of which lie within the disk;
    /// `sectors` is the length of that payload in sectors.
    Trim,
    /// Put the page of SMART READ DATA about the drive's [`Health`](ata::Health) into the frame's payload.
    SmartData,
    /// Put the page of SMART READ THRESHOLDS there.
    SmartThresholds,
    /// Report whether the drive expects to fail: [`IoOutcome::Ok`] or [`IoOutcome::Failing`]. The payload's place is used on
    /// the way.
    SmartStatus,
}

impl BdevOp {
    /// Whether it asks about the drive's health.
    #[inline]
    #[must_use]
    pub const fn is_smart(self) -> bool {
        matches!(self, Self::SmartData | Self::SmartThresholds | Self::SmartStatus)
    }
}

/// An I/O that passed every check: it lies within the disk, within what the port can carry, and, for a write,
/// its data is all there.
///
/// Without padding, so that a copy moves its fields and nothing else, and they stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct BdevIo {
    /// First sector (512 bytes); 0 for a flush.
    pub lba: Lba,
    /// Number of sectors (512 bytes each), 1 to 16; 0 for a flush. For the others the length of the payload.
    pub sectors: SectorCount,
    /// The operation.
    pub op: BdevOp,
    /// Width of the address registers, in which the reply returns the next sector.
    pub width: AddressWidth,
}

const _: () = assert!(size_of::<BdevIo>() == 12);

impl BdevIo {
    /// The I/O of a read or write. It holds what its fields promise once it has been checked.
    #[inline(always)]
    pub(crate) fn of(Transfer { is_write, lba, sectors, width }: Transfer) -> Self {
        Self { op: if is_write { BdevOp::Write } else { BdevOp::Read }, lba, sectors, width }
    }

    /// Bytes of payload, at [`PAYLOAD_OFFSET`] of the frame; 0 for a flush.
    #[inline]
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.sectors.bytes()
    }

    /// A copy, field by field. A rare arm that is given this one leaves the original in registers.
    #[inline(always)]
    #[must_use]
    pub fn again(&self) -> Self {
        let Self { op, lba, sectors, width } = *self;
        Self { op, lba, sectors, width }
    }
}

/// The outcome of an I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoOutcome {
    /// Done in full.
    Ok,
    /// Done, and the drive expects to fail; for [`BdevOp::SmartStatus`] only.
    Failing,
    /// The medium failed under this I/O.
    MediaError,
    /// The device failed, or was removed.
    DeviceFault,
    /// The bdev has no such sectors, for instance because it shrank.
    OutOfRange,
    /// The bdev refused or gave up.
    Aborted,
}
