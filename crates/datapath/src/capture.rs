//! Copies of frames for a capture: what a port queue receives and sends, as far as a filter matches, goes into a ring, from which
//! another thread takes it.
//!
//! An lcore never waits for that thread: a frame without room in the ring is counted and not copied. A queue without a capture does
//! not look for one: that it has some is a part of a flag that it tests once a burst, or once a turn, anyway.

mod atomic;
mod filter;
mod ring;

use dpdk::{Mbuf, RxMbuf, TxMbuf, tsc};

pub use filter::CaptureFilter;
pub use ring::{CapturedFrame, CapturedFrames, FrameCopies, RING_MIN};

use ring::{Copied, FrameSink};

/// Captures of one port queue at most.
pub const CAPTURES_MAX: usize = 4;

/// A port queue's part in a capture.
#[derive(Debug)]
pub struct CaptureTap {
    capture: u64,
    filter: CaptureFilter,
    sink: FrameSink,
    /// Frames that the queue had sent when it last looked.
    sent: u64,
}

impl CaptureTap {
    /// A part in the capture of this number, and the end at which its frames are taken out. Its ring has `bytes` for frames, rounded up
    /// to a power of two; of each frame at most `snap_length` bytes are copied. Call it where the frames are taken out, for it
    /// writes to the whole ring.
    #[must_use]
    pub fn new(capture: u64, filter: CaptureFilter, bytes: usize, snap_length: usize) -> (Self, FrameCopies) {
        let (sink, copies) = ring::ring(bytes, snap_length);
        (Self { capture, filter, sink, sent: 0 }, copies)
    }
}

/// The captures that a port queue has a part in.
#[derive(Debug, Default)]
pub(crate) struct Taps(Vec<CaptureTap>);

impl Taps {
    /// Adds one, from whose point of view the queue has sent `sent` frames. Gives it back if there are too many.
    pub(crate) fn add(&mut self, mut tap: CaptureTap, sent: u64) -> Option<CaptureTap> {
        if self.0.len() == CAPTURES_MAX {
            return Some(tap);
        }
        tap.sent = sent;
        self.0.push(tap);
        None
    }

    /// Takes out the part in a capture.
    pub(crate) fn remove(&mut self, capture: u64) -> Option<CaptureTap> {
        let index = self.0.iter().position(|tap| tap.capture == capture)?;
        Some(self.0.swap_remove(index))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies what has arrived.
    pub(crate) fn received(&mut self, frames: &[RxMbuf]) {
        if frames.is_empty() {
            return;
        }
        let now = tsc::now();
        for tap in &mut self.0 {
            for frame in frames.iter().filter(|frame| tap.filter.matches(false, frame)) {
                tap.sink.put(&copied(frame, now, false));
            }
        }
    }

    /// Copies what was queued for sending since the last call: the queue has queued `sent` frames so far, and the last of them are
    /// the last of `waiting`.
    pub(crate) fn sent(&mut self, waiting: &[TxMbuf], sent: u64) {
        let now = tsc::now();
        for tap in &mut self.0 {
            let new = usize::try_from(sent - tap.sent).unwrap_or(usize::MAX).min(waiting.len());
            tap.sent = sent;
            for frame in waiting[waiting.len() - new..].iter().filter(|frame| tap.filter.matches(true, frame))
            {
                tap.sink.put(&copied(frame, now, true));
            }
        }
    }
}

/// The first segment of a frame: no port of ours splits one that it receives, unless it is larger than its mbufs.
fn copied(frame: &Mbuf, time: u64, sent: bool) -> Copied<'_> {
    Copied { bytes: frame.data(), length: frame.frame_len(), tag: frame.taken_tag(), sent, time }
}
