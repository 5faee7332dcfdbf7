//! The decisions of an AoE target between rx and tx, without I/O.
//!
//! The way of a request through this crate, one module a step:
//!
//! 1. [`request`]: [`Request::parse`] checks the frame and copies out the fields that decide its fate;
//! 2. [`table`]: [`Table::route`] finds the export, or reports that a wildcard means many;
//! 3. [`admit`]: [`Export::admit`] returns the [`Disposition`]: drop, reply at once, submit an [`io`] to the bdev, or
//!    defer a change of the [`initiator_state`] to the state manager; an [`acl`], if there is one, is checked first;
//! 4. [`reply`]: a [`Reply`], made at once or by [`Reply::completed`] when the bdev is done, writes itself
//!    over the request's own bytes.
//!
//! There are two classes of failure. A frame that is malformed or not ours is dropped with a [`DropReason`],
//! of which each has a counter. A request we understand and refuse is answered: with ATA error registers when
//! it concerns the disk, with an AoE error only when it concerns the protocol, because the Linux initiator
//! retransmits for minutes on an AoE error and fails the I/O at once on an ATA one.
//!
//! What this crate must not know: where frames come from, what a bdev is beyond "reads, writes and flushes
//! sectors", which thread runs it, and the time, which [`qos`] is told. It performs no I/O. The functions called per frame allocate
//! nothing, lock nothing and log nothing; only changes of the [`Table`] allocate.
#![forbid(unsafe_code)]

pub mod acl;
pub mod admit;
pub mod counters;
pub mod drop_reason;
pub mod export;
pub mod histogram;
pub mod initiator_activity;
pub mod initiator_drops;
pub mod initiator_hash;
pub mod initiator_state;
pub mod io;
pub mod order;
pub mod ports;
pub mod qos;
pub mod reply;
pub mod request;
pub mod table;
pub mod vlan;

pub use aoe_wire::{AddressError, AoeError, MacAddr, Shelf, ShelfSlot, Slot};
pub use ata::{
    AddressWidth, Features, Health, Identity, IdentityError, Lba, Range, Ranges, SMART_BYTES, SectorCount,
    Transfer,
};

pub use acl::Acl;
pub use admit::{Disposition, Refusal};
pub use counters::{ExportCounters, PortCounters};
pub use drop_reason::{DropCounters, DropReason};
pub use export::{Export, ExportId, ExportKey, ExportState, Settings};
pub use histogram::{Histogram, Histograms};
pub use initiator_activity::{InitiatorActivities, InitiatorActivity};
pub use initiator_drops::{DropsOfInitiator, InitiatorDrop, InitiatorDropEntry, InitiatorDrops};
pub use initiator_hash::InitiatorHash;
pub use initiator_state::{
    Applied, ConfigString, ConfigStringTooLong, InitiatorState, InitiatorStateError, Key, MaskList,
    Registration, Reservation, ReservationType, StateReply,
};
pub use io::{BdevIo, BdevOp, IoOutcome, PAYLOAD_OFFSET};
pub use order::{Entry, OrderTable, Place};
pub use ports::{PortId, PortLimits, PortOutOfRange, PortSet, Ports};
pub use reply::{Reply, emit_advertisement};
pub use request::{Request, RequestKind};
pub use table::{Cursor, Route, Scan, Table, TableError};
pub use vlan::{VlanId, Vlans};
