//! Deferred requests: those that may change an export's persistent state. The control plane decides them for all lcores
//! and gives them back with a verdict.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use aoe_target::{ExportId, ExportKey};
use dpdk::Mbuf;

/// Requests that one lcore has deferred and not got back, at most.
pub const MAX_DEFERRED: usize = 64;

/// A request on its way to the control plane and back. It is in flight on its export, so it must come back by
/// [`Lcore::complete_deferred`](crate::Lcore::complete_deferred) on the lcore it came from.
#[derive(Debug)]
pub struct Deferred {
    queue: usize,
    export: ExportKey,
    frame: Mbuf,
}

/// Where an lcore puts deferred requests. Its memory is there from the start: a send neither allocates nor waits.
#[derive(Debug)]
pub struct DeferredSender(SyncSender<Deferred>);

/// A channel for deferred requests: the lcore's end, and the control plane's.
#[must_use]
pub fn deferred_channel() -> (DeferredSender, Receiver<Deferred>) {
    let (sender, receiver) = sync_channel(MAX_DEFERRED);
    (DeferredSender(sender), receiver)
}

impl Deferred {
    pub(crate) fn new(queue: usize, export: ExportKey, frame: Mbuf) -> Self {
        Self { queue, export, frame }
    }

    /// The export that the request is for.
    #[must_use]
    pub fn export(&self) -> ExportKey {
        self.export
    }

    /// The request from its Ethernet header on; all that `Request::contiguous_len` asks for.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        self.frame.data()
    }

    /// Index of the queue that the reply leaves by, the export and the frame.
    pub(crate) fn into_parts(self) -> (usize, ExportId, Mbuf) {
        (self.queue, self.export.id, self.frame)
    }
}

/// An lcore's deferred requests.
#[derive(Debug, Default)]
pub(crate) struct DeferredRequests {
    sender: Option<DeferredSender>,
    /// Requests that have not come back.
    pending: usize,
}

impl DeferredRequests {
    /// Has them go to this sender. Until then there is room for none.
    pub(crate) fn set_sender(&mut self, sender: DeferredSender) {
        self.sender = Some(sender);
    }

    /// Whether one has not come back.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Gives a request to the control plane.
    ///
    /// # Errors
    /// Its frame, if there is no room for it.
    pub(crate) fn send(&mut self, request: Deferred) -> Result<(), Mbuf> {
        let Some(DeferredSender(sender)) = self.sender.as_ref().filter(|_| self.pending < MAX_DEFERRED)
        else {
            return Err(request.frame);
        };
        match sender.try_send(request) {
            Ok(()) => {
                self.pending += 1;
                Ok(())
            }
            Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => Err(request.frame),
        }
    }

    /// Takes note that one has come back.
    pub(crate) fn returned(&mut self) {
        self.pending -= 1;
    }
}
