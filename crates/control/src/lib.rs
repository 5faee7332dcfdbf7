//! Management without SPDK: what a request may ask for, which exports there are, and what is answered.
//!
//! A request's way: [`request`] turns JSON into an [`Action`]; [`registry`] decides it against the table of
//! exports; the glue in `kvblade-dpdk` carries the decision to the lcores; [`report`] writes the answer. Nothing
//! here is called on the data path, and nothing here knows SPDK or DPDK.

#![forbid(unsafe_code)]

pub mod backing_file;
pub mod error;
pub mod file_bdev;
pub mod health;
pub mod histogram_report;
pub mod initiator_state;
pub mod initiators;
pub mod json_comments;
pub mod lifecycle;
pub mod log_directives;
pub mod options;
pub mod port;
pub mod rate_limits;
pub mod rbd;
pub mod reference;
pub mod registry;
pub mod report;
pub mod request;
pub mod schema;
pub mod secrets;
pub mod served_bdev;
pub mod state_change;
pub mod state_manager;
mod value;

pub use aoe_target::{AddressError, ExportKey, MacAddr, Shelf, ShelfSlot, Slot, VlanId};
pub use backing_file::BackingFile;
pub use error::{ErrorCode, RpcError};
pub use initiators::{InitiatorStats, Seen};
pub use lifecycle::{Effect, Event, Lifecycle, Refusal, Round, Stage, Task};
pub use options::ExportOptions;
pub use port::{PortChanges, PortInfo, PortRef, PortTable};
pub use rate_limits::RateLimits;
pub use rbd::RbdImage;
pub use registry::{Deletion, Record, Registry, cannot_change, unknown_bdev};
pub use report::{
    Baseline, BdevNames, ExportInfo, ExportList, ExportPort, ExportStats, LcoreFacts, LcoreList, LcoreStats,
    ListedExport, PortFacts, PortList, PortStats, Stats,
};
pub use request::{
    Action, Announce, BUSY_SECONDS_MAX, ClearInitiatorState, CreateExport, DeleteExport, EnableHistogram,
    GetCaptures, GetExports, GetHealth, GetHistogram, GetInitiators, GetLcores, GetLogLevel, GetPorts,
    GetStats, HandOver, Method, OneExport, ReplaceBdev, ResetStats, SetConfigString, SetLogLevel,
    SetMaskList, SetQos, SetReservation, StartCapture, StatePart, StopCapture, UpdateExport, Upgrade,
};
pub use served_bdev::{ServedBdev, ServedFile, Use};
pub use state_change::StateChange;
pub use state_manager::{StateEffect, StateEvent, StateManager, StateNote};
pub use value::bytes_of;
