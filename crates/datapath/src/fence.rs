//! Fences: a new rule holds when the requests that were admitted under the old one have ended.
//!
//! A fence marks an export's requests in flight, whose contexts it finds by a walk over all of the lcore's. It costs the
//! requests nothing as long as there is none: one bit of the export's load says whether a completion has to look.

use aoe_target::ExportId;
use spdk::CompletionQueue;

use crate::inflight::InFlight;

/// An lcore's fences.
#[derive(Debug, Default)]
pub(crate) struct Fences(Vec<Fence>);

struct Fence {
    export: ExportId,
    /// Marked requests that have not ended.
    left: u32,
    done: Vec<Box<dyn FnOnce()>>,
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Fence")
            .field("export", &self.export)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Fences {
    /// Calls `done` when the requests that bdevs have for this export now have ended; at once if there are none. True if some
    /// are left. A second fence on an export puts the first one off to its own end.
    pub(crate) fn put_up(
        &mut self,
        export: ExportId,
        bdevs: &mut CompletionQueue<InFlight>,
        done: impl FnOnce() + 'static,
    ) -> bool {
        let mut left = 0;
        bdevs.for_each_in_flight(|request| {
            let context = request.context();
            if context.export == export {
                request.set_context(InFlight { fenced: true, ..context });
                left += 1;
            }
        });
        if left == 0 {
            done();
            return false;
        }
        match self.0.iter_mut().find(|fence| fence.export == export) {
            Some(fence) => {
                fence.left = left;
                fence.done.push(Box::new(done));
            }
            None => self.0.push(Fence { export, left, done: vec![Box::new(done)] }),
        }
        true
    }

    /// A marked request of an export has ended. True if the fence has ended with it.
    pub(crate) fn ended(&mut self, export: ExportId) -> bool {
        let Some(place) = self.0.iter().position(|fence| fence.export == export) else {
            debug_assert!(false, "a marked request without a fence");
            return true;
        };
        self.0[place].left -= 1;
        if self.0[place].left > 0 {
            return false;
        }
        let fence = self.0.swap_remove(place);
        fence.done.into_iter().for_each(|done| done());
        true
    }
}
