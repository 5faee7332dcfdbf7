//! Changes of who may use an export: they hold, and are answered, when the requests admitted before have ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aoe_target::{DropReason, ExportKey, StateReply};
use control::{ErrorCode, RpcError};

use super::{Changing, End, Fence, Job, StateManager, changing};
use crate::target::lcores::Unreached;

/// Time for the requests in flight to end when an ACL changes. Initiators have retransmitted several times by then.
const LIMIT: Duration = Duration::from_secs(10);

impl StateManager {
    /// Publishes the new ACL of an export with its old state, and waits for the requests admitted before.
    pub(super) fn fence(&mut self, key: ExportKey, number: u64) {
        let (count, reach) = (self.lcores.count(), self.reach);
        let Some(Changing { change, state, acl, .. }) = changing(self.managed.get_mut(&key), number) else {
            return tracing::error!(
                export = key.id.0,
                number,
                "there is no change to wait for requests in flight"
            );
        };
        change.waiting = count;
        let (state, acl) = (Arc::clone(state), acl.clone());
        self.fences.push_back(Fence { limit: Instant::now() + LIMIT, key, number });
        self.lcores.start(
            // The state before is freed on the app's thread.
            move |lcore, report| {
                let old = lcore.publish(key, &state, acl.as_ref());
                lcore.fence(key.id, move || report.give(old));
            },
            move |core, old| {
                let is_unreached = old.is_err();
                drop(old);
                reach(Box::new(move |manager| {
                    if is_unreached {
                        tracing::error!(
                            export = key.id.0,
                            lcore = core,
                            "a new ACL is not published: {Unreached}"
                        );
                        manager.give_up(key, number);
                    }
                    manager.fenced(key, number);
                    true
                }));
            },
        );
    }

    /// The requests that an lcore admitted before have ended.
    fn fenced(&mut self, key: ExportKey, number: u64) {
        let Some(Changing { change, address, .. }) = changing(self.managed.get_mut(&key), number) else {
            return tracing::debug!(
                export = key.id.0,
                number,
                "requests have ended that no change waits for"
            );
        };
        change.waiting = change.waiting.saturating_sub(1);
        if change.waiting > 0 {
            return;
        }
        if std::mem::take(&mut change.overdue) {
            tracing::info!(export = %address, "the requests from before the change have ended: it holds now");
        }
        self.fences.retain(|fence| fence.number != number);
        self.publish(key, number);
    }

    /// Keeps nobody waiting whose change does not hold in time.
    pub(super) fn expire_fences(&mut self, now: Instant) {
        while let Some(Fence { limit, key, number }) = self.fences.front().copied()
            && limit <= now
        {
            self.fences.pop_front();
            if let Some(Changing { address, .. }) = changing(self.managed.get_mut(&key), number) {
                tracing::error!(
                    export = %address,
                    "a change of its mask or reservation is not answered: its bdev has not completed requests from before \
                     the change within {} s",
                    LIMIT.as_secs()
                );
                self.give_up(key, number);
            }
        }
    }

    /// The requester of a change gets no answer, nor do those behind it, until the requests admitted before have ended.
    fn give_up(&mut self, key: ExportKey, number: u64) {
        let Some(Changing { change, .. }) = changing(self.managed.get_mut(&key), number) else {
            return tracing::debug!(export = key.id.0, number, "a change to give up is over");
        };
        change.overdue = true;
        let end = std::mem::replace(&mut change.end, End::Nobody);
        self.refuse(end);
        self.refuse_queued(key);
    }

    /// Refuses what waits behind a change that is overdue.
    pub(super) fn refuse_queued(&mut self, key: ExportKey) {
        let queue = self.managed.get_mut(&key).map(|managed| &mut managed.queue);
        let (renames, refused): (VecDeque<Job>, VecDeque<Job>) = queue
            .map(std::mem::take)
            .unwrap_or_default()
            .into_iter()
            .partition(|job| matches!(job, Job::Rename(_)));
        if let Some(managed) = self.managed.get_mut(&key) {
            managed.queue = renames;
        }
        for job in refused {
            self.refuse(match job {
                Job::Deferred(request) => End::Deferred(request, StateReply::Drop(DropReason::NotFenced)),
                Job::Set(change, answer) => End::Set(change.method(), answer),
                Job::Rename(_) => End::Nobody,
                Job::Access(_, holds) => End::Access(holds),
            });
        }
    }

    fn refuse(&self, end: End) {
        match end {
            End::Deferred(request, _) => self.answer(request, StateReply::Drop(DropReason::NotFenced)),
            End::Set(_, answer) => answer.refuse(&not_fenced()),
            End::Access(holds) => holds(Err(not_fenced())),
            End::Nobody => {}
        }
    }
}

fn not_fenced() -> RpcError {
    let why = "requests from before a change of the mask or reservation are still in flight at the bdev: repeat the call \
               when the bdev has completed them";
    RpcError::new(ErrorCode::Busy, why)
}
