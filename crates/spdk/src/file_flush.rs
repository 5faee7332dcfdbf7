//! FLUSH for bdevs that stand on files: the fdatasyncs of their files, one after the other, each shared by the requests of a
//! moment.
//!
//! After a failed fdatasync every flush of that file fails: the kernel reports a failed write-back once and drops the data
//! (fsync(2)), so a later fdatasync would succeed without them.

use crate::{
    fdsync::Refused,
    in_flight::{List, QueueHead, Submitted},
    io::Outcome,
};

/// Has a flush wait for the fdatasync of the first of its bdev's files that it has not synced yet; it ends without one.
pub(crate) fn start(request: Submitted) {
    let (queue, synced) = (request.queue(), request.header().synced);
    match request.channel().groups.get(synced) {
        Some(group) => {
            group.waiting.push(request);
            queue.fdsync.borrow_mut().want(group);
        }
        None => request.finish(if synced > 0 { Outcome::Done } else { Outcome::Aborted }),
    }
}

/// Submits fdatasyncs for the flushes that wait. Once a turn, when its completions have been looked at: the flushes that follow
/// from these share one.
#[inline]
pub(crate) fn submit(queue: &QueueHead) {
    queue.fdsync.borrow_mut().submit(select, refuse);
}

/// The flushes that an fdatasync submitted now covers.
fn select(waiting: &List, has_failed: bool) -> Option<List> {
    let covered = List::new();
    while let Some(request) = waiting.pop() {
        if has_failed {
            request.finish(Outcome::DeviceFault);
        } else if request.header().cancelled {
            request.finish(Outcome::Aborted);
        } else {
            covered.push(request);
        }
    }
    (!covered.is_empty()).then_some(covered)
}

fn refuse(waiting: &List, covered: List, refused: Refused) {
    while let Some(request) = covered.pop() {
        match refused {
            Refused::Later => waiting.push(request),
            Refused::Never => request.finish(Outcome::Aborted),
        }
    }
}

/// Ends the flushes whose last fdatasync has ended, and has the others wait for the next file's. Costs one comparison while
/// none is in flight.
#[inline]
pub(crate) fn advance(queue: &QueueHead) {
    if queue.fdsync.borrow().is_in_flight() {
        end(queue);
    }
}

#[cold]
fn end(queue: &QueueHead) {
    let next = || queue.fdsync.borrow_mut().next_ended(|waiting| !waiting.is_empty());
    while let Some((covered, failed)) = next() {
        let mut count = 0;
        while let Some(mut request) = covered.pop() {
            count += 1;
            if failed {
                request.finish(Outcome::DeviceFault);
            } else {
                request.header_mut().synced += 1;
                start(request);
            }
        }
        queue.fdsync.borrow_mut().counts.requests += count;
    }
}
