//! From events to the queue, where lines are records.

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::record::Form;
use super::writer::Queue;

/// Writes records into the queue. Never waits.
pub(super) struct Records {
    form: Form,
    queue: Queue,
}

impl Records {
    /// Of this form, into this queue.
    pub(super) const fn new(form: Form, queue: Queue) -> Self {
        Self { form, queue }
    }
}

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.queue.push(self.form.event(event), None);
    }
}
