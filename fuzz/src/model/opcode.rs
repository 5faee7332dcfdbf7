//! ATA opcodes by what they do.

/// Whether the command stores data.
pub fn is_write(opcode: u8) -> bool {
    matches!(opcode, 0x30 | 0x34 | 0x35 | 0xca)
}
