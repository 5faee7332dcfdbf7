//! The initiators of exports: who was seen, and what of each is in flight.

use std::time::Duration;

use aoe_target::{ExportKey, InitiatorActivity, MacAddr, PAYLOAD_OFFSET};
use dpdk::tsc;

use super::Requests;
use crate::{admission, inflight::Next};

/// Requests in flight that a sample looks at.
const SAMPLE: u32 = 256;

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

    /// Looks at requests that bdevs have now: at [`SAMPLE`] of them, from another one on each time, so that the turn stays short.
    pub(crate) fn sample_initiators(&mut self) {
        let in_flight = self.bdevs.in_flight();
        if in_flight == 0 {
            return;
        }
        // Less than `in_flight`.
        let first = u32::try_from(tsc::now() % u64::from(in_flight)).unwrap_or(0);
        self.look_at((0..in_flight.min(SAMPLE)).map(|index| (first + index) % in_flight));
    }

    /// Looks at the requests in flight at these indices.
    fn look_at(&mut self, indices: impl Iterator<Item = u32>) {
        let Self { exports, bdevs, activities, .. } = self;
        let now = tsc::now();
        for index in indices {
            bdevs.look_at(index, |request| {
                let context = request.context();
                if let Some(head) = request.head::<12>().filter(|_| context.next != Next::BdevFlushed) {
                    let (export, _) = exports.export_of(context.export);
                    let frame = u32::try_from(PAYLOAD_OFFSET + context.io.data_len()).unwrap_or(u32::MAX);
                    activities.sample(export.key(), admission::source(&head), frame, now);
                }
            });
        }
    }

    /// The initiators that were seen, as of now: looks at all requests in flight.
    pub(crate) fn initiators(&mut self) -> Vec<SeenInitiator> {
        self.activities.begin_sample();
        self.look_at(0..self.bdevs.in_flight());
        let now = tsc::now();
        let seen = self.activities.entries().map(|activity| SeenInitiator {
            activity,
            first_seen: self.accounting.between(activity.first_seen, now),
            last_seen: self.accounting.between(activity.last_seen, now),
        });
        seen.collect()
    }
}
