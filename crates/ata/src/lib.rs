//! Registers in, command out; outcome in, registers out: the ATA step of a request.
//!
//! [`Taskfile::decode`] turns the registers an initiator filled in into an [`AtaCommand`], [`Registers`] says
//! what a disk reports afterwards, [`write_identify`] fills in the IDENTIFY DEVICE page, [`Health`] those of SMART,
//! and [`Ranges`] reads the payload of TRIM. [`OPCODES`] is
//! the one list of what is supported: decoding is built from it, and a test holds the page to it.
//!
//! What this crate must not know: how registers travel (there is no network here), what stores the sectors
//! (there is no bdev here), how large the disk is when it decodes, and whether the disk may be written. It
//! allocates nothing, needs no `std` and contains no unsafe code.
//!
//! Source: ATA/ATAPI-6 (INCITS 361), the first revision with 48-bit commands: its command
//! descriptions and its table of IDENTIFY DEVICE data; ACS-2 (INCITS 482) for DATA SET MANAGEMENT.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod command;
mod identify;
mod ranges;
mod registers;
mod sectors;
mod smart;

pub use command::{AddressWidth, AtaCommand, OPCODES, Opcode, Operation, Smart, Taskfile, Transfer};
pub use identify::{Features, IDENTIFY_BYTES, Identity, IdentityError, write_identify};
pub use ranges::{Range, Ranges};
pub use registers::{Registers, error, status};
pub use sectors::{Lba, SectorCount};
pub use smart::Health;

/// Bytes of a page that SMART returns.
pub const SMART_BYTES: usize = 512;
