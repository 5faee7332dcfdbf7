//! The answers about initiator state: MAC mask list and reservations, as published last.

use aoe_wire::{Directive, KeyedStatus, MaskArgs, MaskError, ReserveArgs};
use zerocopy::IntoBytes;

use crate::initiator_state::{InitiatorState, StateReply};

/// Writes the whole argument: fixed part, `entries` of the list, zero padding. If the list has become shorter since the
/// reply was made, the count states the number written.
#[cold]
#[inline(never)]
pub(super) fn write(
    argument: &mut [u8],
    reply: StateReply,
    entries: usize,
    state: &InitiatorState,
) -> Option<()> {
    argument.fill(0);
    let held = &state.reservation;
    match reply {
        // The count of directives in effect is returned, the directives are not.
        StateReply::Mask(command, error, completed) if error != MaskError::None => {
            let (args, _) = MaskArgs::view_mut(argument).ok()?;
            *args = MaskArgs { reserved: 0, command: command.into(), error: error.into(), count: completed };
        }
        StateReply::Mask(command, error, _) => {
            let (args, rest) = MaskArgs::view_mut(argument).ok()?;
            let list = state.mask.as_slice().iter();
            let count = fill(rest, entries, list.map(|mac| Directive { reserved: 0, command: 0, mac: *mac }));
            let count = u8::try_from(count).ok()?;
            *args = MaskArgs { reserved: 0, command: command.into(), error: error.into(), count };
        }
        StateReply::Reserve(command, _) => {
            let (args, rest) = ReserveArgs::view_mut(argument).ok()?;
            let count = u8::try_from(fill(rest, entries, held.holders())).ok()?;
            *args = ReserveArgs { command: command.into(), count };
        }
        StateReply::Keyed(command, _) => {
            let (status, rest) = KeyedStatus::view_mut(argument).ok()?;
            let keys = u16::try_from(fill(rest, entries, held.shown_keys())).ok()?;
            *status = KeyedStatus {
                command: command.into(),
                reservation_type: held.kind() as u8,
                keys: keys.into(),
                reserved: [0; 4],
                generation: held.generation().into(),
                owner: held.shown_owner(),
            };
        }
        _ => return None,
    }
    Some(())
}

/// Writes up to `most` items one after the other; returns how many there were.
fn fill<T: IntoBytes + zerocopy::Immutable>(
    room: &mut [u8],
    most: usize,
    items: impl Iterator<Item = T>,
) -> usize {
    let mut written = 0;
    for (place, item) in room.chunks_exact_mut(size_of::<T>()).zip(items).take(most) {
        place.copy_from_slice(item.as_bytes());
        written += 1;
    }
    written
}
