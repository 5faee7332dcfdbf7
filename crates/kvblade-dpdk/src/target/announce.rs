//! `aoe_announce`, and the advertisements that the target sends by itself.

use aoe_target::{PortId, ShelfSlot};
use control::Announce;
use serde_json::Value;

use super::Target;
use super::lcores::Lcores;
use crate::rpc::Answer;

/// Has the exports that match `pattern` advertised, on one port or on all.
pub(super) fn send(lcores: &Lcores, port: Option<PortId>, pattern: ShelfSlot) {
    lcores.tell("to advertise", move |lcore| lcore.advertise(port, pattern));
}

impl Target {
    /// Carries out `aoe_announce`.
    pub(super) fn announce(&mut self, request: Announce, answer: Answer) {
        match self.registry.announced(&request) {
            Ok(_) if request.shelf.is_none() && request.slot.is_none() => {
                send(&self.lcores, None, ShelfSlot::WILDCARD);
            }
            Ok(exports) => {
                // Exports of one address on different ports are one pattern.
                let mut addresses: Vec<ShelfSlot> = exports.iter().map(|record| record.address).collect();
                addresses.dedup();
                for address in addresses {
                    send(&self.lcores, None, address);
                }
            }
            Err(error) => return answer.refuse(&error),
        }
        answer.give(&Value::Bool(true));
    }
}
