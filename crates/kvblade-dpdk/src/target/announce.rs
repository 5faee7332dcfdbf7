//! `aoe_announce`, and the announcements the target makes by itself.

use aoe_target::{PortId, ShelfSlot};
use control::Announce;
use datapath::Remote;
use serde_json::Value;

use super::Target;
use crate::rpc::Answer;

/// Has the exports that `pattern` means announced, on one port or on all.
pub(super) fn send(lcores: &[Remote], port: Option<PortId>, pattern: ShelfSlot) {
    for lcore in lcores {
        // An lcore that can't be told has ended, and its exports with it.
        let _ = lcore.send(move |lcore| lcore.advertise(port, pattern));
    }
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
