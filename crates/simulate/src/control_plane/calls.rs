//! Calls of operators, as events of the state manager.

use aoe_target::{ConfigString, MacAddr};
use control::{StateChange, StateEvent};

use super::states::{Caller, Request};
use crate::{
    frame::{EVERYBODY, mac, mark, members},
    history::content,
    plan::{Call, Wanted},
};

/// The event of a call to the export of this slot.
pub(super) fn event(call: &Call, slot: u8) -> StateEvent<Request, Caller> {
    let marked = |holders: u32| members(holders).map(mac).chain([mark(call.id)]).map(MacAddr);
    match call.wanted {
        Wanted::Lists => {
            let lists = (marked(EVERYBODY).collect(), [MacAddr(mark(0))].into());
            StateEvent::Access(lists, call.id)
        }
        Wanted::Config => {
            let string = ConfigString::new(&content(call.id, usize::from(slot), 0)).expect("512 bytes");
            StateEvent::Set(StateChange::Config(Box::new(string)), call.id)
        }
        Wanted::Reserve { holders } => {
            let macs = if holders == 0 { Vec::new() } else { marked(holders).collect() };
            StateEvent::Set(StateChange::Reservation(macs), call.id)
        }
    }
}
