//! Group commit for a simulation's file: the module's own counters, and no fdatasync.

use super::group_commit::{Lead, Stamp, Syncs};

/// The fdatasyncs of a simulated file.
#[derive(Debug)]
pub struct FileSyncs {
    syncs: Syncs,
    under_way: Option<Lead>,
}

/// A write that has completed, and that an fdatasync is to cover.
#[derive(Debug, Clone, Copy)]
pub struct CompletedWrite(Stamp);

impl FileSyncs {
    /// Of a new file.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a file without writes is no default of anything")]
    pub fn new() -> Self {
        Self { syncs: Syncs::new(), under_way: None }
    }

    /// A write completes.
    pub fn complete(&self) -> CompletedWrite {
        Syncs::order_completions();
        CompletedWrite(self.syncs.stamp())
    }

    /// The result for a write, once there is one. `Err` is an errno.
    #[must_use]
    pub fn outcome(&self, write: CompletedWrite) -> Option<Result<(), i32>> {
        self.syncs.outcome(write.0)
    }

    /// Starts an fdatasync. False while one is in flight, and after one has failed.
    pub fn start(&mut self) -> bool {
        let lead = self.syncs.lead();
        let started = lead.is_some();
        self.under_way = lead.or(self.under_way.take());
        started
    }

    /// The fdatasync in flight ends. `Err` is an errno.
    pub fn end(&mut self, result: Result<(), i32>) {
        if let Some(lead) = self.under_way.take() {
            self.syncs.end(lead, result);
        }
    }
}
