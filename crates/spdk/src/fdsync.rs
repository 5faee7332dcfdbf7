//! The kernel's asynchronous fdatasync, so that no lcore waits for a disk, and one of them for many requests.
//!
//! A file has one fdatasync in flight. It covers the requests that waited when it was submitted, whose writes had completed by
//! then; all of them get its result. Requests that come meanwhile wait for the next one.
//!
//! At most [`DEPTH`] fdatasyncs of one lcore are in flight, each of another file. Further files wait here and cost the kernel
//! nothing.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    ptr::NonNull,
    rc::{Rc, Weak},
    sync::Arc,
};

use crate::{
    error::{EAGAIN, EIO, Error, Result},
    synced_file::SyncedFile,
};

/// fdatasyncs that one lcore can have in flight.
const DEPTH: u32 = 64;

/// An lcore's requests for one file, in lists of type `L`.
pub(crate) struct Group<L> {
    file: Arc<SyncedFile>,
    /// Those that no fdatasync covers yet. Who adds one calls [`FdSync::want`].
    pub(crate) waiting: L,
    state: Cell<State>,
    /// Another lcore waits for the file: this one leaves it a turn.
    gives_way: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing waits.
    Idle,
    /// In [`FdSync::ready`].
    Ready,
    /// An fdatasync of this lcore is in flight.
    InFlight,
}

/// An fdatasync in flight.
struct Covered<L> {
    group: Rc<Group<L>>,
    requests: L,
}

/// The end of an attempt to submit an fdatasync.
pub(crate) enum Refused {
    /// The kernel takes it later.
    Later,
    /// The kernel does not take it.
    Never,
}

/// An lcore's fdatasyncs so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileSyncs {
    /// fdatasyncs that have been submitted.
    pub syncs: u64,
    /// Requests that they have ended: flushes, and writes that are durable when they are answered.
    pub requests: u64,
}

/// One lcore's fdatasyncs.
pub(crate) struct FdSync<L> {
    raw: NonNull<spdk_sys::spdk_shim_fdsync>,
    /// By the number that the kernel gives back.
    in_flight: Box<[Option<Covered<L>>]>,
    in_flight_count: usize,
    /// Groups with requests that wait, without an fdatasync in flight here. Has room for all of them.
    ready: VecDeque<Rc<Group<L>>>,
    /// Those of open channels, by the file's address.
    groups: BTreeMap<*const SyncedFile, Weak<Group<L>>>,
    pub(crate) counts: FileSyncs,
}

impl<L: Default> FdSync<L> {
    /// # Errors
    /// io_setup(2)'s: `EAGAIN` when the machine's fs.aio-max-nr is used up.
    pub(crate) fn open() -> Result<Self> {
        let mut code = 0;
        // SAFETY: fills `code`.
        let raw = unsafe { spdk_sys::spdk_shim_fdsync_open(DEPTH, &mut code) };
        let raw = NonNull::new(raw).ok_or(Error { call: "io_setup", errno: code.saturating_neg() })?;
        Ok(Self {
            raw,
            in_flight: (0..DEPTH).map(|_| None).collect(),
            in_flight_count: 0,
            ready: VecDeque::new(),
            groups: BTreeMap::new(),
            counts: FileSyncs::default(),
        })
    }

    /// The group for `file`, for a channel that is being opened. Allocates.
    pub(crate) fn join(&mut self, file: &Arc<SyncedFile>) -> Rc<Group<L>> {
        if let Some(group) = self.groups.get(&Arc::as_ptr(file)).and_then(Weak::upgrade) {
            return group;
        }
        // Now and then, so that many files cost no more than one each.
        if self.groups.len().is_power_of_two() {
            self.groups.retain(|_, group| group.strong_count() > 0);
        }
        let group = Rc::new(Group {
            file: Arc::clone(file),
            waiting: L::default(),
            state: Cell::new(State::Idle),
            gives_way: Cell::new(false),
        });
        self.groups.insert(Arc::as_ptr(file), Rc::downgrade(&group));
        self.ready.reserve(self.groups.len().saturating_sub(self.ready.len()));
        group
    }

    /// Has the requests that wait in `group` covered by the next fdatasync of its file.
    pub(crate) fn want(&mut self, group: &Rc<Group<L>>) {
        if group.state.get() == State::Idle {
            group.state.set(State::Ready);
            self.ready.push_back(Rc::clone(group));
        }
    }

    /// Submits an fdatasync for each file for which requests wait, as far as none is in flight.
    ///
    /// `select` takes all requests out of the list that waits, and returns those to cover, if there are any; its second argument
    /// is whether an fdatasync of this file has failed. `refuse` gets the covered ones back that the kernel did not take, with
    /// the list that waits.
    #[inline]
    pub(crate) fn submit(&mut self, select: impl Fn(&L, bool) -> Option<L>, refuse: impl Fn(&L, L, Refused)) {
        if !self.ready.is_empty() {
            self.submit_ready(select, refuse);
        }
    }

    #[cold]
    fn submit_ready(&mut self, select: impl Fn(&L, bool) -> Option<L>, refuse: impl Fn(&L, L, Refused)) {
        for _ in 0..self.ready.len() {
            let free = self.in_flight.iter().position(Option::is_none);
            let (Some(number), Some(group)) = (free, self.ready.pop_front()) else { return };
            if group.gives_way.take() || !group.file.begin() {
                self.ready.push_back(group);
                continue;
            }
            let Some(covered) = select(&group.waiting, group.file.has_failed()) else {
                group.file.end(Ok(()));
                group.state.set(State::Idle);
                continue;
            };
            let descriptor = group.file.descriptor();
            // SAFETY: a live context; the kernel takes its own reference to the file, which is open.
            let code =
                unsafe { spdk_sys::spdk_shim_fdsync_submit(self.raw.as_ptr(), descriptor, number as u64) };
            if code == 0 {
                group.state.set(State::InFlight);
                self.in_flight[number] = Some(Covered { group, requests: covered });
                self.in_flight_count += 1;
                self.counts.syncs += 1;
            } else {
                group.file.end(Ok(()));
                group.state.set(State::Idle);
                if code == -EAGAIN {
                    refuse(&group.waiting, covered, Refused::Later);
                    self.want(&group);
                    return;
                }
                refuse(&group.waiting, covered, Refused::Never);
            }
        }
    }

    /// Whether an fdatasync is in flight.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight_count > 0
    }

    /// An fdatasync that has ended: the requests that it covered, and whether it failed. A failure stays: every later
    /// [`FdSync::submit`] of that file passes it to `select`. `has_more`: whether requests wait in a list.
    pub(crate) fn next_ended(&mut self, has_more: impl Fn(&L) -> bool) -> Option<(L, bool)> {
        if !self.is_in_flight() {
            return None;
        }
        let (mut number, mut result) = (0, 0);
        // SAFETY: a live context, and room for one number and one result.
        let count =
            unsafe { spdk_sys::spdk_shim_fdsync_poll(self.raw.as_ptr(), &mut number, &mut result, 1) };
        if count != 1 {
            return None;
        }
        let place = usize::try_from(number).ok().and_then(|number| self.in_flight.get_mut(number));
        let Covered { group, requests } = place.and_then(Option::take)?;
        self.in_flight_count -= 1;
        // A negative errno.
        let errno = i32::try_from(result.saturating_neg()).unwrap_or(EIO);
        group.gives_way.set(group.file.end(if result == 0 { Ok(()) } else { Err(errno) }));
        group.state.set(State::Idle);
        if has_more(&group.waiting) {
            self.want(&group);
        }
        Some((requests, result != 0))
    }
}

impl<L> Drop for FdSync<L> {
    fn drop(&mut self) {
        // SAFETY: io_destroy(2) waits for what is in flight; nothing uses the context afterwards.
        unsafe { spdk_sys::spdk_shim_fdsync_close(self.raw.as_ptr()) };
        // A queue that is dropped has no requests, so there are none. If there were, nobody would know the result.
        for covered in self.in_flight.iter().flatten() {
            covered.group.file.end(Err(EIO));
        }
    }
}
