//! `aoe_delete_export`: requests in flight are answered before the deletion is, unless it is forced.

use control::lifecycle::Event;
use control::{DeleteExport, Deletion};

use super::control_plane::Target;
use super::resources::DeletionCall;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_delete_export`.
    pub(super) fn delete(&mut self, request: &DeleteExport, answer: Answer) {
        let deletions = match self.registry.delete(request) {
            Ok(deletions) => deletions,
            Err(error) => return answer.refuse(&error),
        };
        let call = DeletionCall::new(answer, deletions.len());
        for deletion in deletions {
            let (key, event) = match deletion {
                Deletion::Remove(key) => (key, Event::Delete { force: request.force }),
                Deletion::Rebind(key, _) => (key, Event::LeavePorts),
            };
            self.resources.entry(key).or_default().add_deletion(call.clone());
            self.happens(key, event);
        }
    }
}
