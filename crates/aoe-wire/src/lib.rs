//! The ATA over Ethernet frame, from bytes to values and back.
//!
//! The crate holds three things for each part of a frame:
//!
//! - a *view* ([`Header`], [`AtaArgs`], [`ConfigArgs`]): a fixed layout laid over the caller's bytes. The
//!   length is checked once, when the view is made; after that no accessor can fail. A view checks no value,
//!   so a mutable one may be laid over the stale bytes of a reused buffer and then written.
//! - a *value* ([`HeaderRepr`], [`AtaRepr`], [`ConfigRepr`]): the part's meaning. `parse` reads a value and
//!   checks it, `emit` writes every byte of the part.
//! - [`Header::turn_into_reply`]: turns the buffer of a request into the buffer of its
//!   reply, in place.
//!
//! All offsets count from the first byte of the Ethernet header. Multi-byte fields are big endian, except the
//! six LBA bytes, which start with the least significant one. VLAN tags are not part of the layout: a frame
//! whose EtherType is 0x8100 is not AoE here. [`ETHERNET_LEN`] is the one place that says where AoE starts.
//!
//! This crate does not know ATA opcodes, existing shelves, drop reasons or the owner of the bytes. It allocates nothing, needs no `std` and contains no unsafe code.
//!
//! Source: AoE specification, revision 11 (AoEr11); field names follow it (`major` is the shelf, `minor` the
//! slot).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod access_args;
mod address;
mod ata_args;
mod config_args;
mod ethernet;
mod header;
mod layout;
mod open_enum;

pub use access_args::{
    Directive, DirectiveCommand, Key, KeyedArgs, KeyedCommand, KeyedReplaceArgs, KeyedStatus, MaskArgs,
    MaskCommand, MaskError, ReserveArgs, ReserveCommand, mac_list, test_and_replace,
};
pub use address::{AddressError, Excerpt, Shelf, ShelfSlot, Slot};
pub use ata_args::{AtaArgs, AtaFlags, AtaRepr};
pub use config_args::{ConfigArgs, ConfigCommand, ConfigRepr};
pub use ethernet::{EthernetHeader, MacAddr};
pub use header::{AoeCommand, AoeError, Header, HeaderRepr, ParseError, Tag};
pub use layout::{
    ATA_LEN, CONFIG_LEN, ETHERNET_LEN, ETHERTYPE_AOE, HEADER_LEN, KEYED_LEN, KEYED_STATUS_LEN, MASK_LEN,
    MAX_CONFIG_STRING, MAX_SECTORS_PER_FRAME, MIN_FRAME, RESERVE_LEN, SECTOR_BYTES, TooShort, VERSION,
    max_sectors_for_mtu,
};
