//! The registers of a completed command: status, error and count.

/// Bits of the status register, as ATA/ATAPI-6 defines them.
pub mod status {
    /// The device accepts commands; set in every reply.
    pub const DRDY: u8 = 0x40;
    /// The device itself failed.
    pub const DF: u8 = 0x20;
    /// The command failed; the error register says how.
    pub const ERR: u8 = 0x01;
}

/// Bits of the error register, as ATA/ATAPI-6 defines them for reads and writes.
pub mod error {
    /// A transfer was damaged on its way.
    pub const ICRC: u8 = 0x80;
    /// The medium could not be read.
    pub const UNC: u8 = 0x40;
    /// A sector beyond the end of the disk was asked for.
    pub const IDNF: u8 = 0x10;
    /// The command, or an argument of it, is not accepted, or it could not be done.
    pub const ABRT: u8 = 0x04;
}

/// The registers at the end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Status, bits of [`status`].
    pub status: u8,
    /// Error, bits of [`error`]; zero on success.
    pub error: u8,
    /// Count to report. `None` leaves what the request said, which after a failure is the sectors left.
    pub count: Option<u8>,
}

impl Registers {
    /// The command was carried out; no sectors are left.
    pub const SUCCESS: Self = Self { status: status::DRDY, error: 0, count: Some(0) };

    /// CHECK POWER MODE's answer: the disk is active or idle.
    pub const ACTIVE: Self = Self { status: status::DRDY, error: 0, count: Some(0xff) };

    /// The command or an argument is not accepted.
    pub const ABORTED: Self = Self::failed(0, error::ABRT);

    /// A sector beyond the end was asked for.
    pub const NOT_FOUND: Self = Self::failed(0, error::IDNF);

    /// A sector could not be read.
    pub const UNCORRECTABLE: Self = Self::failed(0, error::UNC);

    /// The disk failed, or is gone.
    pub const DEVICE_FAULT: Self = Self::failed(status::DF, error::ABRT);

    const fn failed(status: u8, error: u8) -> Self {
        Self { status: status::DRDY | status::ERR | status, error, count: None }
    }

    /// True when the command failed.
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.status & (status::ERR | status::DF) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_initiators_see() {
        let seen = |registers: Registers| (registers.status, registers.error, registers.count);
        assert_eq!(seen(Registers::SUCCESS), (0x40, 0x00, Some(0)));
        assert_eq!(seen(Registers::ACTIVE), (0x40, 0x00, Some(0xff)));
        assert_eq!(seen(Registers::ABORTED), (0x41, 0x04, None));
        assert_eq!(seen(Registers::NOT_FOUND), (0x41, 0x10, None));
        assert_eq!(seen(Registers::UNCORRECTABLE), (0x41, 0x40, None));
        assert_eq!(seen(Registers::DEVICE_FAULT), (0x61, 0x04, None));
    }

    #[test]
    fn linux_and_ipxe_see_a_failure_as_one() {
        for failure in
            [Registers::ABORTED, Registers::NOT_FOUND, Registers::UNCORRECTABLE, Registers::DEVICE_FAULT]
        {
            assert!(failure.is_error());
            assert_ne!(failure.status & 0xa9, 0, "BSY, DF, DRQ or ERR, which Linux tests");
            assert_ne!(failure.status & 0x01, 0, "ERR, which iPXE tests");
            assert_ne!(failure.error, 0);
        }
        for success in [Registers::SUCCESS, Registers::ACTIVE] {
            assert!(!success.is_error());
            assert_eq!(success.status & 0xa9, 0);
        }
    }
}
