//! Beside submit: a request that may change what initiators keep on an export goes to the control plane, which
//! decides for all lcores, and comes back with the verdict.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use aoe_target::{Claims, DropReason, Export, ExportId, Guard, Reply, Verdict};
use dpdk::Mbuf;

use crate::{Lcore, reply};

/// Requests that one lcore has given away and not got back, at most.
pub const MAX_CONSULTS: usize = 64;

/// A request on its way to the control plane and back. It counts as under way on its export, so it must come back
/// by [`Lcore::answer`] on the lcore it came from.
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

    /// The request from its Ethernet header on; all that `Request::contiguous_len` asks for.
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
        let sent = match &self.mailbox {
            Some(Mailbox(sender)) if self.consulting < MAX_CONSULTS => {
                sender.try_send(Consult { lane, export, frame }).map_err(|refused| {
                    let (TrySendError::Full(consult) | TrySendError::Disconnected(consult)) = refused;
                    consult.frame
                })
            }
            _ => Err(frame),
        };
        match sent {
            Ok(()) => {
                backing.under_way += 1;
                self.consulting += 1;
            }
            Err(frame) => self.lanes[lane].drop(frame, DropReason::ConsultFull),
        }
    }

    /// Takes a consult back and does what the verdict says, with the claims that were published last.
    pub fn answer(&mut self, consult: Consult, verdict: Verdict) {
        let Consult { lane, export: id, frame } = consult;
        let lane = &mut self.lanes[lane];
        self.consulting -= 1;
        let Some(Some(backing)) = self.backings.get_mut(id.0 as usize) else {
            // A backing goes when nothing is under way on it.
            unreachable!("export {} went with requests under way", id.0);
        };
        backing.ended();
        let export = match &backing.leaving {
            Some(leaving) => &leaving.export,
            None => self.table.get(id).expect("an export that is not leaving is in the table"),
        };
        match Reply::verdict(export, verdict, lane.limits) {
            Ok(answer) => {
                backing.counters.answered(&answer);
                reply::send(lane, export, &answer, frame);
            }
            Err(reason) => lane.drop(frame, reason),
        }
    }

    /// Puts an export's new claims in place, with the guard that goes with them. The old ones are handed back: their
    /// memory is freed where it was made. An export that is leaving has them too, for the answers under way.
    pub fn publish(
        &mut self,
        id: ExportId,
        claims: Arc<Claims>,
        guard: Option<Arc<Guard>>,
    ) -> Option<(Arc<Claims>, Option<Arc<Guard>>)> {
        let backing = self.backings.get_mut(id.0 as usize)?.as_mut()?;
        let export: &mut Export = match backing.leaving.as_mut() {
            Some(leaving) => &mut leaving.export,
            None => self.table.get_mut(id)?,
        };
        let old = export.publish(claims, guard);
        let settles_writes = export.settles_writes();
        backing.settle(settles_writes);
        Some(old)
    }
}
