//! The answer to `aoe_get_exports`.

use std::collections::BTreeMap;
use std::sync::Arc;

use aoe_target::{ExportKey, InitiatorState};
use serde_json::{Value, json};

use super::{ExportInfo, list_of};
use crate::initiator_state;
use crate::port::PortTable;
use crate::registry::{Record, Registry};
use crate::request::GetExports;

/// One export, copied so that its JSON can be made on another thread.
#[derive(Debug, Clone)]
pub struct ListedExport {
    /// The export.
    pub record: Record,
    /// Its initiator state, and the reason why it answers nobody, if it does not; `None` while it has none.
    pub state: Option<(Arc<InitiatorState>, Option<String>)>,
    /// Whether its requests are timed.
    pub timed: bool,
}

/// All exports, copied over several turns: an export that was created, changed or deleted meanwhile may stand here as it was
/// before or after that.
#[derive(Debug, Clone, Default)]
pub struct ExportList {
    /// The ports of the target.
    pub ports: PortTable,
    /// The exports, in any order, in pieces as they were copied.
    pub exports: Vec<Vec<ListedExport>>,
    /// Requests in flight of exports that drain.
    pub in_flight: BTreeMap<ExportKey, u64>,
}

impl ListedExport {
    /// An [`ExportInfo`] with the initiator state, and whether the export is timed.
    #[must_use]
    pub fn to_value(&self, ports: &PortTable) -> Value {
        let mut info = json!(ExportInfo::of(&self.record, ports));
        let state = self.state.as_ref();
        let state =
            state.map_or(Value::Null, |(state, closed)| initiator_state::report(state, closed.as_deref()));
        // The name of the release before, for programs that still read it.
        info["claims"] = state.clone();
        info["initiator_state"] = state;
        info["timed"] = self.timed.into();
        info
    }
}

impl ExportList {
    /// The exports of a registry without their initiator state, in one piece: for tests.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let listed = |record: &Record| ListedExport { record: record.clone(), state: None, timed: false };
        let exports = registry.among_ids(0, registry.end_of_ids()).map(listed).collect();
        Self { ports: registry.ports().clone(), exports: vec![exports], in_flight: BTreeMap::new() }
    }

    /// The text of a list of [`ExportInfo`] of the exports that are wanted: by address and VLAN, and behind them those that were
    /// deleted by force.
    #[must_use]
    pub fn to_json(&self, wanted: &GetExports) -> String {
        let matching = |export: &&ListedExport| export.record.is_wanted(wanted);
        let mut exports: Vec<&ListedExport> = self.exports.iter().flatten().filter(matching).collect();
        exports.sort_by_key(|export| {
            let record = &export.record;
            (!record.life().holds_address(), record.address(), record.options().vlan, record.key())
        });
        list_of(wanted.page(exports.into_iter()).map(|export| self.shown(export)))
    }

    fn shown(&self, export: &ListedExport) -> Value {
        let mut info = export.to_value(&self.ports);
        let record = &export.record;
        if !record.life().holds_address() {
            info["in_flight"] = self.in_flight.get(&record.key()).copied().unwrap_or_default().into();
        }
        info
    }
}
