//! The initiators of exports: who was seen, and what of each is in flight.

use std::time::Duration;

use aoe_target::{ExportKey, InitiatorActivity, MacAddr, PAYLOAD_OFFSET};
use dpdk::tsc;

use super::Requests;
use crate::{admission, inflight::Next};

/// An initiator of an export, as one lcore has seen it.
#[derive(Debug, Clone, Copy)]
pub struct SeenInitiator {
    /// What is counted. Its times are of the lcore's clock.
    pub activity: InitiatorActivity,
    /// How long ago it was first seen.
    pub first_seen: Duration,
    /// How long ago it was last seen.
    pub last_seen: Duration,
}

impl Requests {
    /// A request other than a read or write was not dropped.
    #[cold]
    pub(super) fn saw_message(&mut self, export: ExportKey, initiator: MacAddr) {
        self.activities.seen(export, initiator, tsc::now()).messages += 1;
    }

    /// Looks at the requests that bdevs have now.
    pub(crate) fn sample_initiators(&mut self) {
        let Self { exports, bdevs, activities, .. } = self;
        let now = tsc::now();
        activities.begin_sample();
        if bdevs.in_flight() == 0 {
            return;
        }
        bdevs.for_each_in_flight(|request| {
            let context = request.context();
            if context.next == Next::BdevFlushed {
                return;
            }
            if let Some(head) = request.head::<12>() {
                let (export, _) = exports.export_of(context.export);
                let frame = u32::try_from(PAYLOAD_OFFSET + context.io.data_len()).unwrap_or(u32::MAX);
                activities.sample(export.key(), admission::source(&head), frame, now);
            }
        });
    }

    /// The initiators that were seen, as of now.
    pub(crate) fn initiators(&mut self) -> Vec<SeenInitiator> {
        self.sample_initiators();
        let now = tsc::now();
        let seen = self.activities.entries().map(|activity| SeenInitiator {
            activity,
            first_seen: self.accounting.between(activity.first_seen, now),
            last_seen: self.accounting.between(activity.last_seen, now),
        });
        seen.collect()
    }
}
