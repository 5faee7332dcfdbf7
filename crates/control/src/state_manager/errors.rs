//! The errors of changes that are not made.

use aoe_target::ShelfSlot;

use crate::error::{ErrorCode, RpcError};
use crate::request::{ClearInitiatorState, Method};

pub(super) fn not_served() -> RpcError {
    let why = "the export is being created or deleted: wait until that request is answered";
    RpcError::new(ErrorCode::Busy, why)
}

pub(super) fn not_fenced() -> RpcError {
    let why = "requests from before a change of the mask or reservation are still in flight at the bdev: repeat the call \
               when the bdev has completed them";
    RpcError::new(ErrorCode::Busy, why)
}

pub(super) fn unknown_as_a_whole(address: ShelfSlot) -> RpcError {
    RpcError::new(
        ErrorCode::Unsuitable,
        format!(
            "the initiator state of {address} is unknown as a whole, so no part can be set or cleared alone: {} comes first, \
             and its part must be all",
            ClearInitiatorState::NAME
        ),
    )
}
