//! Messages from the control plane to the lcores, and their reports back to the app's thread.
//!
//! Every message to an lcore arrives, in order: one that SPDK has no memory for waits ([`Backlog`]). Every report arrives,
//! too: if an lcore does not run a message because it has exited, it reports [`Unreached`], and a report that SPDK has no memory
//! for is taken from a queue by a poller.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aoe_target::{PortId, ShelfSlot, StateReply};
use datapath::{Deferred, Lcore, Remote};
use nix::errno::Errno;
use spdk::{Poller, Thread};

use super::backlog::{Backlog, Sent};

/// How often messages and reports that SPDK had no memory for are looked at.
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
        f.write_str("it has exited")
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

/// A message to an lcore.
type Message = Box<dyn FnOnce(&mut Lcore) + Send>;

/// The lcores, in the order of their start.
#[derive(Clone)]
pub(super) struct Lcores {
    app: ToApp,
    all: Rc<[Way]>,
    /// The number of the one that is meant, if it is not all of them.
    only: Option<usize>,
    _resender: Rc<Poller>,
}

/// The way to an lcore.
struct Way {
    lcore: Remote,
    backlog: RefCell<Backlog<Message>>,
}

impl Way {
    /// Sends a message behind those that wait. It is dropped if the lcore has exited.
    fn send(&self, message: Message) {
        if self.backlog.borrow_mut().send(message, |message| self.try_send(message)) {
            tracing::warn!(
                lcore = self.lcore.core(),
                "SPDK has no memory for a message to this lcore: it waits, and with it those behind it"
            );
        }
    }

    fn send_waiting(&self) {
        if self.backlog.borrow_mut().send_waiting(|message| self.try_send(message)) {
            tracing::warn!(lcore = self.lcore.core(), "the messages that waited have been sent");
        }
    }

    fn try_send(&self, message: Message) -> Sent<Message> {
        let take = |slot: &Mutex<Option<Message>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let slot = Arc::new(Mutex::new(Some(message)));
        let sent = Arc::clone(&slot);
        let result = self.lcore.send(move |lcore| {
            if let Some(message) = take(&sent) {
                message(lcore);
            }
        });
        match result {
            Ok(()) => Sent::Done,
            // It has exited.
            Err(error) if error.errno == Errno::ESRCH as i32 => {
                tracing::error!(lcore = self.lcore.core(), %error, "an lcore can't be reached");
                Sent::Done
            }
            Err(_) => take(&slot).map_or(Sent::Done, Sent::Again),
        }
    }
}

impl Lcores {
    /// # Errors
    /// SPDK's, if it has no memory for a poller.
    pub(super) fn new(app: ToApp, all: Vec<Remote>) -> spdk::Result<Self> {
        let way = |lcore| Way { lcore, backlog: RefCell::default() };
        let all: Rc<[Way]> = all.into_iter().map(way).collect();
        let ways = Rc::clone(&all);
        let resender = Poller::register(PERIOD, move || {
            ways.iter().for_each(Way::send_waiting);
            false
        })?;
        Ok(Self { app, all, only: None, _resender: Rc::new(resender) })
    }

    pub(super) fn app(&self) -> &ToApp {
        &self.app
    }

    pub(super) fn count(&self) -> usize {
        self.ways().len()
    }

    /// The one on that core alone.
    pub(super) fn only(&self, core: u32) -> Self {
        let only = self.all.iter().position(|way| way.lcore.core() == core);
        // Without such a core there is none.
        Self { only: Some(only.unwrap_or(usize::MAX)), ..self.clone() }
    }

    fn ways(&self) -> &[Way] {
        match self.only {
            None => &self.all,
            Some(index) => self.all.get(index..=index).unwrap_or_default(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Remote> {
        self.ways().iter().map(|way| &way.lcore)
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
        for way in self.ways() {
            let (core, work, done) = (way.lcore.core(), work.clone(), done.clone());
            let report = Report::new(&self.app, move |result| done(core, result));
            // The report is a part of the message, and reports if that is dropped.
            way.send(Box::new(move |lcore| work(lcore, report)));
        }
    }

    /// Runs `work` on each lcore, without a report.
    pub(super) fn post(&self, work: impl FnOnce(&mut Lcore) + Clone + Send + 'static) {
        self.ways().iter().for_each(|way| way.send(Box::new(work.clone())));
    }

    /// Gives a deferred request back to the lcore of this index. It counts as in flight there until it arrives.
    pub(super) fn give_back(&self, index: usize, request: Deferred, reply: StateReply) {
        match self.all.get(index) {
            Some(way) => way.send(Box::new(move |lcore| lcore.complete_deferred(request, reply))),
            None => tracing::error!(index, "a deferred request comes from an lcore that there is not"),
        }
    }

    /// Has the exports that match `pattern` advertised, on one port or on all.
    pub(super) fn advertise(&self, port: Option<PortId>, pattern: ShelfSlot) {
        self.post(move |lcore| lcore.advertise(port, pattern));
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
