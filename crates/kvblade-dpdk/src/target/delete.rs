//! `aoe_delete_export`: requests under way are answered before the answer says that it is gone.

use aoe_target::ExportId;
use control::{DeleteExport, Deletion};
use serde_json::Value;

use super::{Target, with};
use crate::rpc::Answer;

/// A delete that lcores are carrying out.
pub(super) struct Deleting {
    deletions: Vec<Deletion>,
    waiting: usize,
    answer: Answer,
}

impl Target {
    /// Carries out `aoe_delete_export`.
    pub(super) fn delete(&mut self, request: &DeleteExport, answer: Answer) {
        let deletions = match self.registry.delete(request) {
            Ok(deletions) => deletions,
            Err(error) => return answer.refuse(&error),
        };
        let operation = self.operations.number();
        let waiting = self.lcores.len() * deletions.len();
        for deletion in &deletions {
            match *deletion {
                Deletion::Remove(id) => self.remove_everywhere(operation, id),
                Deletion::Rebind(id, ports) => {
                    for lcore in &self.lcores {
                        let app = self.app.clone();
                        let sent = lcore.send(move |lcore| {
                            lcore.rebind(id, ports);
                            let _ = app.send(move || deleted(operation));
                        });
                        self.or_deleted(operation, sent);
                    }
                }
            }
        }
        self.operations.deleting.insert(operation, Deleting { deletions, waiting, answer });
    }

    fn remove_everywhere(&self, operation: u64, id: ExportId) {
        for lcore in &self.lcores {
            let app = self.app.clone();
            let sent = lcore.send(move |lcore| {
                lcore.remove(id, move || {
                    let _ = app.send(move || deleted(operation));
                });
            });
            self.or_deleted(operation, sent);
        }
    }

    /// An lcore that can't be told serves nothing.
    fn or_deleted(&self, operation: u64, sent: spdk::Result<()>) {
        if sent.is_err() {
            let _ = self.app.send(move || deleted(operation));
        }
    }

    fn deleted(&mut self, operation: u64) {
        let Some(deleting) = self.operations.deleting.get_mut(&operation) else { return };
        deleting.waiting -= 1;
        if deleting.waiting > 0 {
            return;
        }
        let Some(Deleting { deletions, answer, .. }) = self.operations.deleting.remove(&operation) else {
            return;
        };
        for deletion in deletions {
            match deletion {
                Deletion::Remove(id) => {
                    if let Some(record) = self.registry.get(id) {
                        tracing::info!(export = %record.place(), bdev = %record.bdev_name, "no longer served");
                    }
                    let own_name = self.registry.get(id).map(|record| record.bdev.name.clone());
                    self.bdevs.remove(&id);
                    self.keeper.release(id);
                    self.registry.removed(id);
                    if let Some(own_name) = own_name {
                        self.follow_read_claim(&own_name);
                    }
                }
                Deletion::Rebind(id, ports) => {
                    if let Some(record) = self.registry.get(id) {
                        tracing::info!(export = %record.place(), %ports, "served on fewer ports");
                    }
                    self.registry.rebound(id);
                    let name = self.file_name(id);
                    self.keeper.rename(id, name);
                }
            }
        }
        answer.give(&Value::Bool(true));
    }
}

fn deleted(operation: u64) {
    with(|target| target.deleted(operation));
}
