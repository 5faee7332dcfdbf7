//! One SPDK thread's ring with the channels that use it: a poll, and the way of a completion to its request.

use std::{io, rc::Rc};

use io_uring::cqueue;

use super::{
    channel::Channel,
    group_commit::Syncs,
    listed::Listed,
    request::Request,
    ring::{BATCH, Ring, Room},
};

/// How often completions are looked for in one poll, [`BATCH`] at a time: other pollers of the thread wait meanwhile.
const BATCHES: usize = 8;

/// One SPDK thread's ring with the channels that use it.
pub(super) struct ThreadRing {
    ring: Rc<Ring>,
    /// Channels that have something to do in each poll.
    listed: Rc<Listed<Channel>>,
}

impl ThreadRing {
    /// A ring for the current thread.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { ring: Rc::new(Ring::open()?), listed: Rc::new(Listed::new()) })
    }

    pub(super) fn ring(&self) -> Rc<Ring> {
        Rc::clone(&self.ring)
    }

    pub(super) fn listed(&self) -> Rc<Listed<Channel>> {
        Rc::clone(&self.listed)
    }

    /// Looks after the channels, hands entries to the kernel, and ends what the kernel has ended. True if there was something
    /// of it. One system call at most.
    pub(super) fn poll(&self) -> bool {
        if !self.ring.is_busy() && self.listed.is_empty() {
            return false;
        }
        // SAFETY: a channel takes itself off the list before it closes, and SPDK closes channels in messages, so not from
        // within this call.
        self.listed.each(|channel| unsafe { channel.as_ref() }.advance());
        if !self.ring.has_room() {
            // Those that found no room come first the next time.
            self.listed.rotate();
        }
        let entered = self.ring.enter();
        let found = self.reap();
        self.ring.tell_kernel_io();
        found || entered
    }

    /// Ends what the kernel has ended.
    #[inline]
    fn reap(&self) -> bool {
        let mut found = false;
        for _ in 0..BATCHES {
            let mut room = Room::new();
            let batch = self.ring.completions(&mut room);
            if batch.is_empty() {
                break;
            }
            found = true;
            Syncs::order_completions();
            batch.iter().for_each(dispatch);
            if batch.len() < BATCH {
                break;
            }
        }
        found
    }
}

#[inline]
fn dispatch(completion: &cqueue::Entry) {
    let (number, result) = (completion.user_data(), completion.result());
    // SAFETY: the number of a completion on this thread's ring.
    if let Some(channel) = unsafe { Channel::of_sync(number) } {
        return channel.synced(result);
    }
    // SAFETY: no channel's, so that of a request, which the kernel gives back once.
    let Some(request) = (unsafe { Request::from_user_data(number) }) else { return };
    // SAFETY: a request that `submit` took for its channel, and did not answer.
    unsafe { Channel::of(&request) }.ended(request, result);
}
