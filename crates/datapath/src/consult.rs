//! Beside submit: a request that may change what initiators keep on an export goes to the control plane, which
//! decides for all lcores, and comes back with the answer.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use aoe_target::{DropReason, ExportId, Reply};
use dpdk::Mbuf;

use crate::{Lcore, reply};

/// Requests that one lcore has given away and not got back, at most.
pub const MAX_CONSULTS: usize = 64;

/// A request on its way to the control plane and back. It counts as under way on its export, so it must come back
/// by [`Lcore::answer`] or [`Lcore::leave_unanswered`] on the lcore it came from.
#[derive(Debug)]
pub struct Consult {
    lane: usize,
    export: ExportId,
    frame: Mbuf,
}

/// Where an lcore puts its consults. All of its memory is there from the start: a send neither allocates nor waits.
#[derive(Debug)]
pub struct Mailbox(SyncSender<Consult>);

/// A mailbox, and the end where the control plane takes consults out.
#[must_use]
pub fn mailbox() -> (Mailbox, Receiver<Consult>) {
    let (sender, receiver) = sync_channel(MAX_CONSULTS);
    (Mailbox(sender), receiver)
}

impl Consult {
    /// The export that the request is for.
    #[must_use]
    pub fn export(&self) -> ExportId {
        self.export
    }

    /// The request, as long as it is in one piece: all that `Request::contiguous_len` asks for.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        self.frame.data()
    }
}

impl Lcore {
    /// Has consults go to this mailbox. Until then they are dropped as [`DropReason::ConsultFull`].
    pub fn consult_by(&mut self, mailbox: Mailbox) {
        self.mailbox = Some(mailbox);
    }

    /// Gives a request to the control plane.
    #[cold]
    pub(crate) fn consult(&mut self, lane: usize, export: ExportId, frame: Mbuf) {
        let Some(Some(backing)) = self.backings.get_mut(export.0 as usize) else {
            return self.lanes[lane].drop(frame, DropReason::UnknownShelfSlot);
        };
        let refused = match &self.mailbox {
            Some(Mailbox(sender)) if self.consulting < MAX_CONSULTS => {
                sender.try_send(Consult { lane, export, frame }).err().map(|error| match error {
                    std::sync::mpsc::TrySendError::Full(consult)
                    | std::sync::mpsc::TrySendError::Disconnected(consult) => consult.frame,
                })
            }
            _ => Some(frame),
        };
        match refused {
            None => {
                backing.under_way += 1;
                self.consulting += 1;
            }
            Some(frame) => self.lanes[lane].drop(frame, DropReason::ConsultFull),
        }
    }

    /// Takes a consult back and answers it.
    pub fn answer(&mut self, consult: Consult, answer: &Reply) {
        let Consult { lane, export: id, frame } = consult;
        let Some(Some(backing)) = self.backings.get_mut(id.0 as usize) else {
            // A backing goes when nothing is under way on it.
            return self.lanes[lane].drop(frame, DropReason::UnknownShelfSlot);
        };
        backing.ended();
        self.consulting -= 1;
        backing.counters.answered(answer);
        let export = match &backing.leaving {
            Some(leaving) => Some(&*leaving.export),
            None => self.table.get(id),
        };
        match export {
            Some(export) => reply::send(&mut self.lanes[lane], export, answer, frame),
            None => self.lanes[lane].drop(frame, DropReason::UnknownShelfSlot),
        }
    }

    /// Takes a consult back without an answer, for this reason.
    pub fn leave_unanswered(&mut self, consult: Consult, reason: DropReason) {
        if let Some(Some(backing)) = self.backings.get_mut(consult.export.0 as usize) {
            backing.ended();
        }
        self.consulting -= 1;
        self.lanes[consult.lane].drop(consult.frame, reason);
    }
}
