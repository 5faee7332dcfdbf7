//! `aoe_clear_initiator_state`, and the names of state files.

use aoe_target::VlanId;
use control::ClearInitiatorState;

use super::control_plane::Target;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_clear_initiator_state`.
    pub(super) fn clear_initiator_state(&mut self, request: &ClearInitiatorState, answer: Answer) {
        match self.registry.one(&request.export) {
            Ok(record) => {
                let key = record.key();
                self.state_manager.clear(key, request.part, answer);
            }
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
