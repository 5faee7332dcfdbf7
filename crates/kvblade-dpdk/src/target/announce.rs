//! `aoe_announce`.

use aoe_target::ShelfSlot;
use control::Announce;
use serde_json::Value;

use super::control_plane::Target;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_announce`.
    pub(super) fn announce(&mut self, request: Announce, answer: Answer) {
        match self.registry.announced(&request) {
            Ok(_) if request.shelf.is_none() && request.slot.is_none() => {
                self.lcores.advertise(None, ShelfSlot::WILDCARD);
            }
            Ok(exports) => {
                // Exports of one address on different ports are one pattern.
                let mut addresses: Vec<ShelfSlot> = exports.iter().map(|record| record.address()).collect();
                addresses.dedup();
                for address in addresses {
                    self.lcores.advertise(None, address);
                }
            }
            Err(error) => return answer.refuse(&error),
        }
        answer.give(&Value::Bool(true));
    }
}
