//! The methods that change initiator state, and the names of state files.

use aoe_target::VlanId;
use control::{OneExport, RpcError, StateChange};

use super::control_plane::Target;
use crate::answer::Answer;

impl Target {
    /// Has a change of the initiator state of an export made, or refuses one that can't be.
    pub(super) fn change_state(
        &mut self,
        export: &OneExport,
        change: Result<StateChange, RpcError>,
        answer: Answer,
    ) {
        let wanted = self.registry.one(export).map(control::Record::key).and_then(|key| Ok((key, change?)));
        match wanted {
            Ok((key, change)) => self.state_manager.change(key, change, answer),
            Err(error) => answer.refuse(&error),
        }
    }

    /// The name of the state file of an export.
    pub(super) fn file_name(&self, record: &control::Record) -> String {
        let ports: Vec<&str> = self.registry.ports_of(record).iter().map(|port| port.name.as_str()).collect();
        let listed = (record.ports() != aoe_target::Ports::All).then_some(ports.as_slice());
        let vlan = record.options().vlan.map(VlanId::get);
        state_store::name::of_export(&record.address().to_string(), vlan, listed)
    }
}
