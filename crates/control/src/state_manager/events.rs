//! Events of the initiator state of exports, and their effects.

use std::sync::Arc;

use aoe_target::{Acl, ExportKey, InitiatorState, MacAddr, ShelfSlot, StateReply};

use crate::error::RpcError;
use crate::state_change::StateChange;

/// The operator's lists of the only initiators to answer, and of those never to answer.
pub type Lists = (Arc<[MacAddr]>, Arc<[MacAddr]>);

/// Something that happens to the initiator state of an export.
#[derive(Debug)]
pub enum StateEvent<R, A> {
    /// An lcore has deferred a request, which may change it.
    Deferred(R),
    /// An operator wants a change.
    Set(StateChange, A),
    /// An operator wants other lists. They hold, and are answered, when requests that were admitted by the lists before have ended.
    Access(Lists, A),
    /// The export has left ports: its state goes to the file of this name.
    Rename(String),
    /// The [`StateEffect::Save`] of this change has ended: its state would survive a power failure, or the reason why not.
    Saved(u64, Result<(), String>),
    /// An lcore has the [`StateEffect::Fence`] of this change, and the requests that it admitted before have ended; or it serves
    /// nothing any more.
    Fenced {
        /// The change.
        change: u64,
        /// False if the lcore could not be reached.
        reached: bool,
    },
    /// An lcore has the [`StateEffect::Publish`] of this change, or serves nothing any more.
    Published(u64),
    /// No lcore serves the export any more, or it was deleted by force. Its file stays. Requests that still wait are answered.
    Unregister,
}

/// An order to the glue.
#[derive(Debug)]
pub enum StateEffect<R, A> {
    /// Save, behind the saves before, and report [`StateEvent::Saved`].
    Save {
        /// The export.
        key: ExportKey,
        /// The change, for the report.
        change: u64,
        /// Name of the file.
        name: String,
        /// The new contents of the file.
        payload: String,
    },
    /// Publish to every lcore, and report [`StateEvent::Fenced`] for each.
    Fence(Publication),
    /// Publish to every lcore, and report [`StateEvent::Published`] for each.
    Publish(Publication),
    /// Give a request back to its lcore with the reply on it.
    Reply(R, StateReply),
    /// Answer a caller.
    Answer(A, Result<(), RpcError>),
    /// Advertise the export: initiators ask for the config string when they see the advertisement.
    Advertise(ShelfSlot),
    /// Log.
    Note(StateNote),
}

/// New state and its ACL for every lcore.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The export.
    pub key: ExportKey,
    /// The change that this is a part of, for the report.
    pub change: u64,
    /// The state by which lcores answer questions.
    pub state: Arc<InitiatorState>,
    /// The ACL by which lcores admit requests; `None` when nobody is kept off.
    pub acl: Option<Arc<Acl>>,
}

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateNote {
    /// The state of an export was changed by a call of this method.
    Changed(ShelfSlot, &'static str),
    /// A change is not made, because it could not be saved for this reason.
    NotSaved(String),
    /// A change of who may use the export is not answered: requests from before have not ended within
    /// [`FENCE_LIMIT`](crate::state_manager::FENCE_LIMIT).
    Overdue(ShelfSlot),
    /// The change that was overdue holds now.
    NoLongerOverdue(ShelfSlot),
    /// A step has ended for an export that is gone.
    Gone(ExportKey, &'static str),
    /// A step has ended of a change with this number, for which nothing waits.
    Stray(ExportKey, &'static str, u64),
}
