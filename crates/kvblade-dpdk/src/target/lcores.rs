//! Messages from the control plane to the lcores, and their reports back to the app's thread.
//!
//! Every report arrives. A message that an lcore does not run, because it could not be sent or because the lcore has
//! exited, reports [`Unreached`]. A report that SPDK has no message for is taken from a queue by a poller.

use std::fmt;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aoe_target::{PortId, ShelfSlot, StateReply};
use datapath::{Deferred, Lcore, Remote};
use spdk::{Poller, Thread};

/// How often the queue of reports that SPDK had no message for is looked into.
const PERIOD: Duration = Duration::from_millis(10);

/// Work for the app's thread.
type Work = Box<dyn FnOnce() + Send>;

/// The way to the app's thread, from any thread.
#[derive(Clone)]
pub(super) struct ToApp {
    thread: Thread,
    undelivered: Sender<Work>,
}

/// Takes what SPDK had no message for. Lives as long as the target.
pub(super) struct Undelivered {
    _poller: Poller,
}

/// Work on its way. Dropped before it is done, it goes into the queue.
struct Parcel {
    work: Option<Work>,
    undelivered: Sender<Work>,
}

impl ToApp {
    /// The way to this thread.
    ///
    /// # Errors
    /// SPDK's, if it has no memory for a poller.
    pub(super) fn new(thread: Thread) -> spdk::Result<(Self, Undelivered)> {
        let (undelivered, queue) = channel::<Work>();
        let poller = Poller::register(PERIOD, move || deliver(&queue))?;
        Ok((Self { thread, undelivered }, Undelivered { _poller: poller }))
    }

    /// Runs `work` on the app's thread, soon.
    pub(super) fn send(&self, work: impl FnOnce() + Send + 'static) {
        let parcel = Parcel { work: Some(Box::new(work)), undelivered: self.undelivered.clone() };
        if let Err(error) = self.thread.send(move || parcel.open()) {
            tracing::warn!(%error, "a message to the app's thread is delivered by a poller");
        }
    }
}

impl ToApp {
    /// Runs `work` on the app's thread at the next look into the queue.
    pub(super) fn later(&self, work: impl FnOnce() + Send + 'static) {
        if self.undelivered.send(Box::new(work)).is_err() {
            tracing::debug!("work came after the end of the target");
        }
    }
}

/// Does what is in the queue. True if there was anything.
fn deliver(queue: &Receiver<Work>) -> bool {
    let mut any = false;
    for work in queue.try_iter() {
        work();
        any = true;
    }
    any
}

impl Parcel {
    fn open(mut self) {
        if let Some(work) = self.work.take() {
            work();
        }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && self.undelivered.send(work).is_err()
        {
            // The target has ended, and with it everything that waits for reports.
            tracing::debug!("a report came after the end of the target");
        }
    }
}

/// An lcore did not run a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreached;

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has exited, or SPDK has no memory for a message to it")
    }
}

type Done<R> = Box<dyn FnOnce(Result<R, Unreached>) + Send>;

/// The duty of an lcore to report on a message. Dropped without a result, it reports [`Unreached`].
pub(super) struct Report<R: Send + 'static> {
    app: ToApp,
    done: Option<Done<R>>,
}

impl<R: Send + 'static> Report<R> {
    fn new(app: &ToApp, done: impl FnOnce(Result<R, Unreached>) + Send + 'static) -> Self {
        Self { app: app.clone(), done: Some(Box::new(done)) }
    }

    /// Reports.
    pub(super) fn give(mut self, result: R) {
        self.send(Ok(result));
    }

    fn send(&mut self, result: Result<R, Unreached>) {
        if let Some(done) = self.done.take() {
            self.app.send(move || done(result));
        }
    }
}

impl<R: Send + 'static> Drop for Report<R> {
    fn drop(&mut self) {
        self.send(Err(Unreached));
    }
}

/// The lcores, in the order of their start.
#[derive(Clone)]
pub(super) struct Lcores {
    app: ToApp,
    all: Rc<[Remote]>,
}

impl Lcores {
    pub(super) fn new(app: ToApp, all: Vec<Remote>) -> Self {
        Self { app, all: all.into() }
    }

    pub(super) fn app(&self) -> &ToApp {
        &self.app
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// All of them, or the one on that core.
    pub(super) fn only(&self, core: Option<u32>) -> Self {
        match core {
            None => self.clone(),
            Some(core) => {
                let all = self.iter().filter(|lcore| lcore.core() == core).cloned().collect();
                Self { app: self.app.clone(), all }
            }
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Remote> {
        self.all.iter()
    }

    /// Runs `work` on each lcore. `done` is called on the app's thread, once for each, with the number of its core.
    pub(super) fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Lcore) -> R + Clone + Send + 'static,
        done: impl FnOnce(u32, Result<R, Unreached>) + Clone + Send + 'static,
    ) {
        self.start(move |lcore, report| report.give(work(lcore)), done);
    }

    /// As [`Self::run`], for work that reports when it is finished.
    pub(super) fn start<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Lcore, Report<R>) + Clone + Send + 'static,
        done: impl FnOnce(u32, Result<R, Unreached>) + Clone + Send + 'static,
    ) {
        for lcore in self.iter() {
            let (core, work, done) = (lcore.core(), work.clone(), done.clone());
            let report = Report::new(&self.app, move |result| done(core, result));
            // The report is a part of the message, and reports if that is dropped.
            if let Err(error) = lcore.send(move |lcore| work(lcore, report)) {
                tracing::error!(lcore = core, %error, "an lcore can't be reached");
            }
        }
    }

    /// Runs `work` on each lcore, without a report. `what` is named where that fails.
    pub(super) fn post(&self, what: &'static str, work: impl FnOnce(&mut Lcore) + Clone + Send + 'static) {
        for lcore in self.iter() {
            post(lcore, what, work.clone());
        }
    }

    /// Gives a deferred request back to the lcore of this index. It counts as in flight there until it arrives, so it is sent
    /// again if SPDK has no memory for the message.
    pub(super) fn give_back(&self, index: usize, request: Deferred, reply: StateReply) {
        match self.all.get(index) {
            Some(lcore) => give_back(&self.app, lcore, request, reply),
            None => tracing::error!(index, "a deferred request comes from an lcore that there is not"),
        }
    }

    /// Has the exports that match `pattern` advertised, on one port or on all.
    pub(super) fn advertise(&self, port: Option<PortId>, pattern: ShelfSlot) {
        self.post("to advertise", move |lcore| lcore.advertise(port, pattern));
    }

    /// Stops every lcore. `stopped` is called on the app's thread, once for each, with the number of requests that bdevs
    /// have not answered.
    pub(super) fn stop(&self, stopped: impl FnOnce(u32, Result<u32, Unreached>) + Clone + Send + 'static) {
        for lcore in self.iter() {
            let (core, stopped) = (lcore.core(), stopped.clone());
            let report = Report::new(&self.app, move |result| stopped(core, result));
            if let Err(error) = lcore.clone().stop(move |unanswered| report.give(unanswered)) {
                tracing::error!(lcore = core, %error, "an lcore does not take the message to stop");
            }
        }
    }
}

fn give_back(app: &ToApp, lcore: &Remote, request: Deferred, reply: StateReply) {
    type Slot = Mutex<Option<(Deferred, StateReply)>>;
    let take = |slot: &Slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let slot: Arc<Slot> = Arc::new(Mutex::new(Some((request, reply))));
    let sent = Arc::clone(&slot);
    let result = lcore.send(move |lcore| {
        if let Some((request, reply)) = take(&sent) {
            lcore.complete_deferred(request, reply);
        }
    });
    if let Err(error) = result
        && let Some((request, reply)) = take(&slot)
    {
        tracing::warn!(lcore = lcore.core(), %error, "a deferred request is given back again");
        let (app, lcore) = (app.clone(), lcore.clone());
        app.clone().later(move || give_back(&app, &lcore, request, reply));
    }
}

/// Runs `work` on one lcore, without a report.
pub(super) fn post(lcore: &Remote, what: &'static str, work: impl FnOnce(&mut Lcore) + Send + 'static) {
    if let Err(error) = lcore.send(work) {
        tracing::error!(lcore = lcore.core(), what, %error, "an lcore can't be reached");
    }
}
