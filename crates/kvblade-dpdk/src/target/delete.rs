//! `aoe_delete_export`: requests in flight are answered before the deletion is.

use aoe_target::{ExportId, Ports};
use control::{DeleteExport, Deletion};
use serde_json::Value;

use super::control_plane::{Target, with};
use super::lcores::Unreached;
use super::operations::Deleting;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_delete_export`.
    pub(super) fn delete(&mut self, request: &DeleteExport, answer: Answer) {
        let deletions = match self.registry.delete(request) {
            Ok(deletions) => deletions,
            Err(error) => return answer.refuse(&error),
        };
        let operation = self.operations.number();
        let waiting = self.lcores.count() * deletions.len();
        for deletion in &deletions {
            let done = move |core, result: Result<(), Unreached>| {
                with(|target| target.deleted(operation, core, result));
            };
            match *deletion {
                Deletion::Remove(id) => {
                    self.lcores.start(move |lcore, report| lcore.remove(id, move || report.give(())), done)
                }
                Deletion::Rebind(id, ports) => self.lcores.run(
                    move |lcore| {
                        lcore.rebind(id, ports);
                    },
                    done,
                ),
            }
        }
        self.operations.deleting.insert(operation, Deleting { deletions, waiting, answer });
    }

    /// An lcore has drained an export, or serves nothing any more.
    fn deleted(&mut self, operation: u64, core: u32, result: Result<(), Unreached>) {
        if let Err(Unreached) = result {
            tracing::error!(lcore = core, "an lcore does not take part in a deletion: {Unreached}");
        }
        let Some(mut deleting) = self.operations.deleting.remove(&operation) else {
            return self.nothing_waits("a deletion", operation, core);
        };
        deleting.waiting = deleting.waiting.saturating_sub(1);
        if deleting.waiting > 0 {
            self.operations.deleting.insert(operation, deleting);
            return;
        }
        let Deleting { deletions, answer, .. } = deleting;
        for deletion in deletions {
            match deletion {
                Deletion::Remove(id) => self.removed(id),
                Deletion::Rebind(id, ports) => self.rebound(id, ports),
            }
        }
        answer.give(&Value::Bool(true));
    }

    fn removed(&mut self, id: ExportId) {
        let Some(record) = self.registry.get(id) else {
            tracing::error!(export = id.0, "an export was deleted that is not in the registry");
            return;
        };
        tracing::info!(export = %record.place(), bdev = %record.bdev_name, "no longer served");
        let (bdev_name, own_name) = (record.bdev_name.clone(), record.bdev.name.clone());
        self.waits_no_more(id, &bdev_name);
        self.bdevs.remove(&id);
        self.state_manager.unregister(id);
        self.registry.removed(id);
        self.follow_read_claim(&own_name);
    }

    fn rebound(&mut self, id: ExportId, ports: Ports) {
        self.registry.rebound(id);
        let Some(record) = self.registry.get(id) else {
            tracing::error!(export = id.0, "an export left ports that is not in the registry");
            return;
        };
        tracing::info!(export = %record.place(), %ports, "served on fewer ports");
        let name = self.file_name(record);
        self.state_manager.rename(id, name);
    }
}
