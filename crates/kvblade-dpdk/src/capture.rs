//! The thread that writes a capture to its file, off the lcores' CPUs where there are others.

mod file;
mod order;
mod pcapng;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use datapath::{CaptureTap, CapturedFrames, FrameCopies, RING_MIN};
use nix::sys::signal::SigSet;

use crate::cpus;
use file::Output;
pub(crate) use order::{CapturedPort, Order, Reason};

/// Time between two looks at empty rings.
const PERIOD: Duration = Duration::from_millis(2);

/// Bytes of the rings of a capture together, and of the largest one.
const RINGS: usize = 64 << 20;
const RING_MAX: usize = 4 << 20;

/// Where captures are written, and the CPUs of the threads that write.
#[derive(Debug, Clone)]
pub(crate) struct CapturePlace {
    pub(crate) directory: PathBuf,
    pub(crate) cpus: BTreeSet<u32>,
}

/// What the thread has written so far, and whether it is to end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Frames and bytes in the file, and frames that are missing.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.frames, &self.bytes, &self.dropped].map(|count| count.load(Ordering::Relaxed))
    }

    /// Has the thread end once its rings are empty.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Threads that write, each until this has nothing to receive any more.
static WRITERS: Mutex<Vec<Receiver<()>>> = Mutex::new(Vec::new());

/// Starts the thread of a capture. `opened` is called there once the file is open, with a part in the capture for each ring; then
/// `ended`, if it was opened.
///
/// # Errors
/// The system's, if it has no thread to give.
pub(crate) fn start(
    place: &CapturePlace,
    order: Order,
    progress: Arc<Progress>,
    opened: impl FnOnce(Result<Vec<CaptureTap>, String>) + Send + 'static,
    ended: impl FnOnce(Reason) + Send + 'static,
) -> io::Result<()> {
    let place = place.clone();
    let (running, writer) = sync_channel::<()>(1);
    let run = move || {
        // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
        SigSet::all().thread_block().unwrap_or_default();
        if let Err(error) = cpus::stay_on(&place.cpus) {
            tracing::warn!("the thread of a capture may run on an lcore's CPU: {error}");
        }
        match Output::create(&place.directory, &order) {
            Ok(output) => {
                let (taps, copies) = rings(&order);
                opened(Ok(taps));
                ended(write(output, copies, &order, &progress));
            }
            Err(sentence) => opened(Err(sentence)),
        }
        drop(running);
    };
    thread::Builder::new().name("capture".into()).spawn(run)?;
    let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
    writers.retain(|writer| writer.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty));
    writers.push(writer);
    Ok(())
}

/// After all captures were stopped: waits until their files are complete, `limit` at most.
pub(crate) fn finish(limit: Duration) {
    let deadline = Instant::now() + limit;
    let writers = std::mem::take(&mut *WRITERS.lock().unwrap_or_else(PoisonError::into_inner));
    for writer in writers {
        let left = deadline.saturating_duration_since(Instant::now());
        if writer.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the file of a capture is not complete: the disk has not taken it");
        }
    }
}

/// The ends of each ring.
fn rings(order: &Order) -> (Vec<CaptureTap>, Vec<(usize, FrameCopies)>) {
    let bytes = (RINGS / order.rings.len().max(1)).clamp(RING_MIN, RING_MAX);
    let snap_length = usize::try_from(order.snap_length).unwrap_or(usize::MAX);
    let both = |port: &usize| {
        let (tap, copies) = CaptureTap::new(order.number, order.filter, bytes, snap_length);
        (tap, (*port, copies))
    };
    order.rings.iter().map(both).unzip()
}

/// Writes until the capture ends, and returns why.
fn write(
    mut output: Output<std::fs::File>,
    mut copies: Vec<(usize, FrameCopies)>,
    order: &Order,
    progress: &Progress,
) -> Reason {
    let deadline = Instant::now() + order.time;
    let mut frames = CapturedFrames::default();
    let reason = loop {
        // Before the last look into the rings: what was copied before the stop is written.
        let stopping = progress.stop.load(Ordering::Acquire);
        let is_over = Instant::now() >= deadline;
        frames.clear();
        copies.iter_mut().for_each(|(port, copies)| copies.take(&mut frames, *port));
        let written =
            output.write(&mut frames).and_then(|()| if frames.is_empty() { output.flush() } else { Ok(()) });
        note(progress, &output, &copies);
        match written {
            Err(reason) => break reason,
            Ok(()) if stopping => break Reason::Stopped,
            Ok(()) if is_over => break Reason::Seconds,
            Ok(()) if frames.is_empty() => thread::sleep(PERIOD),
            Ok(()) => {}
        }
    };
    let dropped =
        |port: usize| copies.iter().filter(|(of, _)| *of == port).map(|(_, copies)| copies.dropped()).sum();
    let finished = output.finish(&dropped);
    note(progress, &output, &copies);
    match (reason, finished) {
        (Reason::Failed(sentence), _) | (_, Err(Reason::Failed(sentence))) => Reason::Failed(sentence),
        (reason, _) => reason,
    }
}

fn note<W: io::Write>(progress: &Progress, output: &Output<W>, copies: &[(usize, FrameCopies)]) {
    progress.frames.store(output.frames(), Ordering::Relaxed);
    progress.bytes.store(output.bytes(), Ordering::Relaxed);
    progress.dropped.store(copies.iter().map(|(_, copies)| copies.dropped()).sum(), Ordering::Relaxed);
}
