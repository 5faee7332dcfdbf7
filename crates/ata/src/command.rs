//! The opcode table, and the decoding of registers to commands.

use crate::sectors::{Lba, SectorCount};

/// The width of a command's address in the LBA registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressWidth {
    /// 28 bits; the nibble above them belongs to the device register.
    Lba28,
    /// 48 bits.
    Lba48,
}

/// The operation of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Return the IDENTIFY DEVICE page.
    Identify,
    /// Return sectors.
    Read,
    /// Store sectors.
    Write,
    /// Bring the write cache to stable storage.
    Flush,
    /// Tell the power mode.
    CheckPowerMode,
    /// Save power, which a disk of others' users does not: accepted and without effect.
    PowerMode,
    /// Say which sectors are no longer needed.
    DataSetManagement,
    /// Tell of the drive's health.
    Smart,
    /// Change a setting.
    SetFeatures,
}

/// A supported opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode {
    /// Value of the command register.
    pub code: u8,
    /// The standard's name.
    pub name: &'static str,
    /// The operation.
    pub operation: Operation,
    /// The address width.
    pub width: AddressWidth,
}

/// Every opcode that is carried out; any other is aborted.
///
/// The DMA commands are what their PIO twins are: how data crosses a bus that is not there makes no difference.
/// Of the power commands those of ATA-4 and later are here; their older codes 94h to 99h have been retired since,
/// and the standard has a device abort them.
pub const OPCODES: [Opcode; 20] = [
    opcode(0x06, "DATA SET MANAGEMENT", Operation::DataSetManagement, AddressWidth::Lba48),
    opcode(0x20, "READ SECTOR(S)", Operation::Read, AddressWidth::Lba28),
    opcode(0x24, "READ SECTOR(S) EXT", Operation::Read, AddressWidth::Lba48),
    opcode(0x25, "READ DMA EXT", Operation::Read, AddressWidth::Lba48),
    opcode(0x30, "WRITE SECTOR(S)", Operation::Write, AddressWidth::Lba28),
    opcode(0x34, "WRITE SECTOR(S) EXT", Operation::Write, AddressWidth::Lba48),
    opcode(0x35, "WRITE DMA EXT", Operation::Write, AddressWidth::Lba48),
    opcode(0xb0, "SMART", Operation::Smart, AddressWidth::Lba28),
    opcode(0xc8, "READ DMA", Operation::Read, AddressWidth::Lba28),
    opcode(0xca, "WRITE DMA", Operation::Write, AddressWidth::Lba28),
    opcode(0xe0, "STANDBY IMMEDIATE", Operation::PowerMode, AddressWidth::Lba28),
    opcode(0xe1, "IDLE IMMEDIATE", Operation::PowerMode, AddressWidth::Lba28),
    opcode(0xe2, "STANDBY", Operation::PowerMode, AddressWidth::Lba28),
    opcode(0xe3, "IDLE", Operation::PowerMode, AddressWidth::Lba28),
    opcode(0xe5, "CHECK POWER MODE", Operation::CheckPowerMode, AddressWidth::Lba28),
    opcode(0xe6, "SLEEP", Operation::PowerMode, AddressWidth::Lba28),
    opcode(0xe7, "FLUSH CACHE", Operation::Flush, AddressWidth::Lba28),
    opcode(0xea, "FLUSH CACHE EXT", Operation::Flush, AddressWidth::Lba48),
    opcode(0xec, "IDENTIFY DEVICE", Operation::Identify, AddressWidth::Lba28),
    opcode(0xef, "SET FEATURES", Operation::SetFeatures, AddressWidth::Lba28),
];

const fn opcode(code: u8, name: &'static str, operation: Operation, width: AddressWidth) -> Opcode {
    Opcode { code, name, operation, width }
}

/// [`OPCODES`] by code, so that decoding is one load. The width of an opcode that is not carried out means nothing.
static BY_CODE: [(Option<Operation>, AddressWidth); 256] = {
    let mut table = [(None, AddressWidth::Lba28); 256];
    let mut i = 0;
    while i < OPCODES.len() {
        table[OPCODES[i].code as usize] = (Some(OPCODES[i].operation), OPCODES[i].width);
        i += 1;
    }
    table
};

/// The registers of a command as the initiator filled them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taskfile {
    /// The command register: the opcode.
    pub command: u8,
    /// The feature register: which part of DATA SET MANAGEMENT, SMART or SET FEATURES is meant.
    pub feature: u8,
    /// Sectors, 0 to 255.
    pub count: u8,
    /// The six LBA registers as one number of 48 bits, the first of them least significant. What it means depends on the
    /// command.
    pub lba: u64,
}

/// A command that moves sectors of the disk. Not yet held against the size of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The sectors are stored; else they are returned.
    pub is_write: bool,
    /// First sector.
    pub lba: Lba,
    /// Number of sectors, 1 to 255.
    pub sectors: SectorCount,
    /// Width of the address registers.
    pub width: AddressWidth,
}

/// A command the disk understands, or the fact that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtaCommand {
    /// Return the 512-byte IDENTIFY DEVICE page.
    Identify,
    /// Return `sectors` (1 to 255) of 512 bytes from `lba` on. Not yet held against the size of the disk.
    Read {
        /// First sector.
        lba: Lba,
        /// Number of sectors, at least 1.
        sectors: SectorCount,
        /// Width of the address registers.
        width: AddressWidth,
    },
    /// Store `sectors` (1 to 255) of 512 bytes from `lba` on. Not yet held against the size of the disk.
    Write {
        /// First sector.
        lba: Lba,
        /// Number of sectors, at least 1.
        sectors: SectorCount,
        /// Width of the address registers.
        width: AddressWidth,
    },
    /// Bring every acknowledged write to stable storage.
    Flush,
    /// Tell the power mode.
    CheckPowerMode,
    /// Enter a mode that saves power.
    PowerMode,
    /// Sectors are no longer needed: `blocks` (1 to 255) blocks of 512 bytes with [`Ranges`](crate::Ranges).
    Trim {
        /// Blocks of ranges, at least 1.
        blocks: u16,
    },
    /// Tell of the drive's health.
    Smart(Smart),
    /// Turn the volatile write cache on, or off.
    SetWriteCache(bool),
    /// A supported opcode with a count it cannot have; to be aborted. Carries opcode and count.
    BadCount(u8, u8),
    /// An opcode, or a subcommand of one, that is not supported; to be aborted. Carries the opcode.
    Unsupported(u8),
}

impl From<Transfer> for AtaCommand {
    fn from(Transfer { is_write, lba, sectors, width }: Transfer) -> Self {
        if is_write { Self::Write { lba, sectors, width } } else { Self::Read { lba, sectors, width } }
    }
}

/// The supported SMART subcommands. Attribute autosave, tests and logs are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Smart {
    /// D0h: the attributes, a page of 512 bytes.
    ReadData,
    /// D1h: the attributes' thresholds, a page of 512 bytes.
    ReadThresholds,
    /// D8h: turn SMART on.
    Enable,
    /// D9h: turn SMART off: all but [`Smart::Enable`] is aborted from then on.
    Disable,
    /// DAh: whether the drive expects to fail.
    ReturnStatus,
}

/// The LBA registers 1 and 2 of every SMART command, and of the status of a drive that expects no failure.
const SMART_SIGNATURE: u64 = 0xc24f;

impl Taskfile {
    /// Decodes the registers. The opcode alone decides between 28 and 48 bits, because initiators set
    /// AoE's own flag for it on commands that have no address.
    ///
    /// A READ or WRITE of 0 sectors would mean 256 to ATA; no AoE frame carries that many, and other targets
    /// move nothing and report success, so it comes out as [`AtaCommand::BadCount`]. So does an IDENTIFY whose
    /// count is not 1: every initiator known sends 1.
    ///
    #[must_use]
    pub fn decode(self) -> AtaCommand {
        match self.transfer() {
            Some(Transfer { is_write: false, lba, sectors, width }) => {
                AtaCommand::Read { lba, sectors, width }
            }
            Some(Transfer { is_write: true, lba, sectors, width }) => {
                AtaCommand::Write { lba, sectors, width }
            }
            None => self.decode_other(BY_CODE[usize::from(self.command)].0),
        }
    }

    /// The read or write of sectors that these registers mean; `None` for any other command.
    #[inline(always)]
    #[must_use]
    pub fn transfer(self) -> Option<Transfer> {
        let (operation, width) = BY_CODE[usize::from(self.command)];
        let is_write = match operation {
            Some(Operation::Read) => false,
            Some(Operation::Write) => true,
            _ => return None,
        };
        let sectors = SectorCount(u16::from(self.count));
        (self.count != 0).then(|| Transfer { is_write, lba: self.address(width), sectors, width })
    }

    /// Every command but a read or write of something.
    fn decode_other(self, operation: Option<Operation>) -> AtaCommand {
        let Self { command, feature, count, .. } = self;
        let Some(operation) = operation else { return AtaCommand::Unsupported(command) };
        match operation {
            Operation::Read | Operation::Write => AtaCommand::BadCount(command, count),
            Operation::Identify if count != 1 => AtaCommand::BadCount(command, count),
            Operation::Identify => AtaCommand::Identify,
            Operation::Flush => AtaCommand::Flush,
            Operation::CheckPowerMode => AtaCommand::CheckPowerMode,
            Operation::PowerMode => AtaCommand::PowerMode,
            Operation::DataSetManagement => self.data_set_management(),
            Operation::Smart => self.smart(),
            Operation::SetFeatures => match feature {
                0x02 => AtaCommand::SetWriteCache(true),
                0x82 => AtaCommand::SetWriteCache(false),
                _ => AtaCommand::Unsupported(command),
            },
        }
    }

    /// ACS-2 reserves the feature register's other bits, which a device need not look at; TRIM is bit 0.
    fn data_set_management(self) -> AtaCommand {
        match (self.feature & 1, self.count) {
            (0, _) => AtaCommand::Unsupported(self.command),
            (_, 0) => AtaCommand::BadCount(self.command, self.count),
            (_, blocks) => AtaCommand::Trim { blocks: u16::from(blocks) },
        }
    }

    /// The count of the pages that SMART returns is not looked at: up to ATA-6 it is not defined.
    fn smart(self) -> AtaCommand {
        if self.lba >> 8 & 0xffff != SMART_SIGNATURE {
            return AtaCommand::Unsupported(self.command);
        }
        match self.feature {
            0xd0 => AtaCommand::Smart(Smart::ReadData),
            0xd1 => AtaCommand::Smart(Smart::ReadThresholds),
            0xd8 => AtaCommand::Smart(Smart::Enable),
            0xd9 => AtaCommand::Smart(Smart::Disable),
            0xda => AtaCommand::Smart(Smart::ReturnStatus),
            _ => AtaCommand::Unsupported(self.command),
        }
    }

    #[inline(always)]
    fn address(self, width: AddressWidth) -> Lba {
        match width {
            AddressWidth::Lba28 => Lba(self.lba & 0x0fff_ffff),
            AddressWidth::Lba48 => Lba(self.lba),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(command: u8, count: u8, lba: u64) -> AtaCommand {
        Taskfile { command, feature: 0, count, lba }.decode()
    }

    fn with_feature(command: u8, feature: u8, lba: u64) -> AtaCommand {
        Taskfile { command, feature, count: 1, lba }.decode()
    }

    const LBA: u64 = 0x6655_e433_2211;

    #[test]
    fn opcode_decides_the_width() {
        let (lba28, lba48) = (Lba(0x0433_2211), Lba(LBA));
        let (two, most) = (SectorCount(2), SectorCount(255));
        let (short, long) = (AddressWidth::Lba28, AddressWidth::Lba48);
        assert_eq!(decode(0x20, 2, LBA), AtaCommand::Read { lba: lba28, sectors: two, width: short });
        assert_eq!(decode(0x24, 2, LBA), AtaCommand::Read { lba: lba48, sectors: two, width: long });
        assert_eq!(decode(0x30, 255, LBA), AtaCommand::Write { lba: lba28, sectors: most, width: short });
        assert_eq!(decode(0x34, 255, LBA), AtaCommand::Write { lba: lba48, sectors: most, width: long });
    }

    #[test]
    fn commands_without_an_address() {
        assert_eq!(decode(0xec, 1, LBA), AtaCommand::Identify);
        for count in [0, 1, 255] {
            assert_eq!(decode(0xe7, count, LBA), AtaCommand::Flush);
            assert_eq!(decode(0xea, count, LBA), AtaCommand::Flush);
            assert_eq!(decode(0xe5, count, LBA), AtaCommand::CheckPowerMode);
        }
    }

    #[test]
    fn impossible_counts() {
        for code in [0x20, 0x24, 0x30, 0x34] {
            assert_eq!(decode(code, 0, LBA), AtaCommand::BadCount(code, 0));
        }
        for count in [0, 2, 255] {
            assert_eq!(decode(0xec, count, LBA), AtaCommand::BadCount(0xec, count));
        }
    }

    #[test]
    fn dma_is_its_pio_twin() {
        for (dma, pio) in [(0xc8, 0x20), (0xca, 0x30), (0x25, 0x24), (0x35, 0x34)] {
            for count in [1, 255] {
                assert_eq!(decode(dma, count, LBA), decode(pio, count, LBA), "{dma:#x}");
            }
            assert_eq!(decode(dma, 0, LBA), AtaCommand::BadCount(dma, 0));
        }
    }

    #[test]
    fn power_commands_but_the_retired() {
        for code in [0xe0, 0xe1, 0xe2, 0xe3, 0xe6] {
            for count in [0, 1, 255] {
                assert_eq!(decode(code, count, LBA), AtaCommand::PowerMode);
            }
        }
        for code in 0x94..=0x99 {
            assert_eq!(decode(code, 0, LBA), AtaCommand::Unsupported(code));
        }
    }

    #[test]
    fn trim_is_feature_bit_0() {
        assert_eq!(with_feature(0x06, 1, LBA), AtaCommand::Trim { blocks: 1 });
        assert_eq!(with_feature(0x06, 0, LBA), AtaCommand::Unsupported(0x06));
        assert_eq!(with_feature(0x06, 2, LBA), AtaCommand::Unsupported(0x06));
        let none = Taskfile { command: 0x06, feature: 1, count: 0, lba: LBA };
        assert_eq!(none.decode(), AtaCommand::BadCount(0x06, 0));
    }

    #[test]
    fn smart_wants_its_signature() {
        let signed = 0xa0c2_4f00;
        for feature in 0..=255 {
            let want = match feature {
                0xd0 => AtaCommand::Smart(Smart::ReadData),
                0xd1 => AtaCommand::Smart(Smart::ReadThresholds),
                0xd8 => AtaCommand::Smart(Smart::Enable),
                0xd9 => AtaCommand::Smart(Smart::Disable),
                0xda => AtaCommand::Smart(Smart::ReturnStatus),
                _ => AtaCommand::Unsupported(0xb0),
            };
            assert_eq!(with_feature(0xb0, feature, signed), want);
            for unsigned in [LBA, 0x4f00, 0x00c2_0000, 0x004f_c200] {
                assert_eq!(with_feature(0xb0, feature, unsigned), AtaCommand::Unsupported(0xb0));
            }
        }
    }

    #[test]
    fn set_features_knows_the_write_cache() {
        for feature in 0..=255 {
            let want = match feature {
                0x02 => AtaCommand::SetWriteCache(true),
                0x82 => AtaCommand::SetWriteCache(false),
                _ => AtaCommand::Unsupported(0xef),
            };
            assert_eq!(with_feature(0xef, feature, LBA), want);
        }
    }

    #[test]
    fn the_rest_is_aborted() {
        // NOP, READ MULTIPLE, DOWNLOAD MICROCODE, READ LOG EXT, SECURITY ERASE UNIT, IDENTIFY PACKET DEVICE.
        for code in [0x00, 0xc4, 0x92, 0x2f, 0xf4, 0xa1] {
            assert_eq!(decode(code, 1, LBA), AtaCommand::Unsupported(code));
        }
    }

    #[test]
    fn table_has_no_duplicates() {
        for (i, opcode) in OPCODES.iter().enumerate() {
            assert!(OPCODES[..i].iter().all(|earlier| earlier.code != opcode.code), "{:#04x}", opcode.code);
            assert!(OPCODES[..i].iter().all(|earlier| earlier.name != opcode.name), "{}", opcode.name);
        }
    }

    proptest! {
        #[test]
        fn exactly_the_table_is_supported(command: u8, count: u8, lba in 0..1u64 << 48) {
            let listed = OPCODES.iter().any(|opcode| opcode.code == command);
            let refused = matches!(decode(command, count, lba), AtaCommand::Unsupported(c) if c == command);
            // These have subcommands, of which 0 is none.
            prop_assert_eq!(listed && ![0x06, 0xb0, 0xef].contains(&command), !refused);
        }

        #[test]
        fn addresses_stay_in_their_width(command: u8, count: u8, lba in 0..1u64 << 48) {
            if let AtaCommand::Read { lba, sectors, width } | AtaCommand::Write { lba, sectors, width } =
                decode(command, count, lba)
            {
                let bits = if width == AddressWidth::Lba28 { 28 } else { 48 };
                prop_assert!(lba < Lba(1 << bits));
                prop_assert!((1..=255).contains(&sectors.0));
            }
        }
    }
}
