//! A ring of frames' copies between one lcore and one other thread.
//!
//! It is made of words that both ends read and write as atomics, so a mistake in it could mix up bytes, but not memory. The sink
//! writes the words of a frame, then publishes its position (`Release`); the other end reads that (`Acquire`), copies the words
//! out, and then publishes its own position, by which the sink sees how far it may write again. `crates/interleavings` tries every order
//! of the two threads.

use std::sync::Arc;

use super::atomic::{AtomicU64, AtomicUsize, Ordering};

const WORD: usize = size_of::<u64>();

/// Words before the bytes of a frame: lengths, time, tag and direction.
const HEAD: usize = 3;

/// Bytes of the smallest ring: it has room for a frame of any length.
pub const RING_MIN: usize = 1 << 17;

/// Marks in the third word of a frame.
const SENT: u64 = 1 << 16;
const TAGGED: u64 = 1 << 17;

/// In a cache line of its own.
#[repr(align(128))]
#[derive(Debug)]
struct Position(AtomicUsize);

#[derive(Debug)]
struct Ring {
    /// A power of two of them.
    words: Box<[AtomicU64]>,
    /// Words written since the start.
    written: Position,
    /// Words read since the start.
    read: Position,
    /// Frames that found no room. Written by the sink.
    dropped: AtomicU64,
}

impl Ring {
    fn word(&self, position: usize) -> &AtomicU64 {
        &self.words[position & (self.words.len() - 1)]
    }
}

/// A frame that is copied.
#[derive(Debug)]
pub(super) struct Copied<'a> {
    pub(super) bytes: &'a [u8],
    /// Its whole length.
    pub(super) length: usize,
    /// The tag that was taken out of the bytes.
    pub(super) tag: Option<u16>,
    pub(super) sent: bool,
    /// In ticks of the time stamp counter.
    pub(super) time: u64,
}

/// The lcore's end.
#[derive(Debug)]
pub(super) struct FrameSink {
    ring: Arc<Ring>,
    snap_length: usize,
    written: usize,
    /// The other end's position when it was last looked at.
    read: usize,
    dropped: u64,
}

/// The end at which frames are taken out.
#[derive(Debug)]
pub struct FrameCopies {
    ring: Arc<Ring>,
    read: usize,
}

/// Frames that were taken out, of one ring or several.
#[derive(Debug, Default)]
pub struct CapturedFrames {
    frames: Vec<CapturedFrame>,
    bytes: Vec<u8>,
}

/// A frame of [`CapturedFrames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was received, or handed to the port, in ticks of the time stamp counter.
    pub time: u64,
    /// Whether it was sent.
    pub sent: bool,
    /// Its whole length, without a tag that was taken out.
    pub length: usize,
    /// The tag that was taken out of it.
    pub tag: Option<u16>,
    /// What the caller of [`FrameCopies::take`] said of it.
    pub from: usize,
    start: usize,
    end: usize,
}

/// A ring for `bytes`, and its two ends.
pub(super) fn ring(bytes: usize, snap_length: usize) -> (FrameSink, FrameCopies) {
    with_words(bytes.max(RING_MIN).next_power_of_two() / WORD, snap_length)
}

/// A ring of so many words, a power of two.
pub(super) fn with_words(words: usize, snap_length: usize) -> (FrameSink, FrameCopies) {
    // Another value than 0, so that the kernel has given each page before the lcore writes to it.
    let words = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
    let [written, read] = [(); 2].map(|()| Position(AtomicUsize::new(0)));
    let ring = Arc::new(Ring { words, written, read, dropped: AtomicU64::new(0) });
    let sink = FrameSink { ring: Arc::clone(&ring), snap_length, written: 0, read: 0, dropped: 0 };
    (sink, FrameCopies { ring, read: 0 })
}

impl FrameSink {
    /// Copies a frame, or counts it if there is no room.
    pub(super) fn put(&mut self, frame: &Copied<'_>) {
        // Lengths have 16 bits each in the first word; no frame is longer.
        let limit = self.snap_length.min(usize::from(u16::MAX));
        let bytes = &frame.bytes[..frame.bytes.len().min(limit)];
        let words = HEAD + bytes.len().div_ceil(WORD);
        if self.room() < words {
            self.read = self.ring.read.0.load(Ordering::Acquire);
            if self.room() < words {
                self.dropped += 1;
                self.ring.dropped.store(self.dropped, Ordering::Relaxed);
                return;
            }
        }
        let lengths = bytes.len() as u64 | (frame.length as u64) << 32;
        let tag = frame.tag.map_or(0, |tag| u64::from(tag) | TAGGED);
        let head = [lengths, frame.time, tag | if frame.sent { SENT } else { 0 }];
        let (whole, rest) = bytes.as_chunks::<WORD>();
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        let data = whole.iter().chain((!rest.is_empty()).then_some(&last));
        let all = head.into_iter().chain(data.map(|word| u64::from_le_bytes(*word)));
        for (offset, word) in all.enumerate() {
            self.ring.word(self.written.wrapping_add(offset)).store(word, Ordering::Relaxed);
        }
        self.written = self.written.wrapping_add(words);
        self.ring.written.0.store(self.written, Ordering::Release);
    }

    /// Words that may be written.
    fn room(&self) -> usize {
        self.ring.words.len() - self.written.wrapping_sub(self.read)
    }
}

impl FrameCopies {
    /// Takes the frames that are there now out and adds them to `frames`, as from `from`.
    pub fn take(&mut self, frames: &mut CapturedFrames, from: usize) {
        let end = self.ring.written.0.load(Ordering::Acquire);
        while self.read != end {
            let word = |offset: usize| self.ring.word(self.read.wrapping_add(offset)).load(Ordering::Relaxed);
            let (lengths, time, mark) = (word(0), word(1), word(2));
            let copied = low_half(lengths);
            let words = copied.div_ceil(WORD);
            if HEAD + words > end.wrapping_sub(self.read) {
                // Never so. If it were, what is there could not be understood, and the next frames could.
                debug_assert!(false, "a frame that ends behind what was written");
                self.read = end;
                break;
            }
            let start = frames.bytes.len();
            frames.bytes.extend((HEAD..HEAD + words).flat_map(|offset| word(offset).to_le_bytes()));
            frames.bytes.truncate(start + copied);
            let tag = u16::try_from(mark & u64::from(u16::MAX)).unwrap_or_default();
            frames.frames.push(CapturedFrame {
                time,
                sent: mark & SENT != 0,
                length: low_half(lengths >> 32),
                tag: (mark & TAGGED != 0).then_some(tag),
                from,
                start,
                end: start + copied,
            });
            self.read = self.read.wrapping_add(HEAD + words);
            self.ring.read.0.store(self.read, Ordering::Release);
        }
    }

    /// Frames so far that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.ring.dropped.load(Ordering::Relaxed)
    }
}

fn low_half(word: u64) -> usize {
    usize::try_from(word & u64::from(u32::MAX)).unwrap_or_default()
}

impl CapturedFrames {
    /// The frames with their bytes, in the order of their times.
    pub fn in_order(&mut self) -> impl Iterator<Item = (CapturedFrame, &[u8])> {
        self.frames.sort_by_key(|frame| frame.time);
        self.frames.iter().map(|frame| (*frame, &self.bytes[frame.start..frame.end]))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8], time: u64) -> Copied<'_> {
        Copied { bytes, length: bytes.len(), tag: None, sent: false, time }
    }

    fn taken(copies: &mut FrameCopies) -> Vec<(CapturedFrame, Vec<u8>)> {
        let mut frames = CapturedFrames::default();
        copies.take(&mut frames, 7);
        frames.in_order().map(|(frame, bytes)| (frame, bytes.to_vec())).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_cut_to_the_snap_length() {
        let (mut sink, mut copies) = ring(1, 61);
        assert!(taken(&mut copies).is_empty());
        let long: Vec<u8> = (0..100).collect();
        sink.put(&Copied { bytes: &long, length: 9000, tag: Some(0x2005), sent: true, time: 9 });
        sink.put(&frame(&[], 3));
        let frames = taken(&mut copies);
        assert_eq!(frames.len(), 2);
        let (empty, bytes) = &frames[0];
        assert_eq!((empty.time, empty.length, empty.sent, empty.tag, empty.from), (3, 0, false, None, 7));
        assert!(bytes.is_empty());
        let (cut, bytes) = &frames[1];
        assert_eq!((cut.time, cut.length, cut.sent, cut.tag), (9, 9000, true, Some(0x2005)));
        assert_eq!(bytes, &long[..61]);
        assert!(taken(&mut copies).is_empty(), "once");
    }

    #[test]
    fn a_full_ring_drops_and_counts_and_has_room_again_when_it_is_read() {
        let (mut sink, mut copies) = ring(RING_MIN, 1 << 16);
        let large = vec![0xa5; 9018];
        let mut put = 0;
        while copies.dropped() == 0 {
            sink.put(&frame(&large, put));
            put += 1;
        }
        assert_eq!(put, 1 + RING_MIN as u64 / (9018 + 6 + 24), "all but the last one");
        sink.put(&frame(&large, put));
        assert_eq!(copies.dropped(), 2);
        sink.put(&frame(&large[..8], put));
        let frames = taken(&mut copies);
        assert_eq!(frames.len() as u64, put, "a small one fits behind them");
        sink.put(&frame(&large, 0));
        assert_eq!((taken(&mut copies).len(), copies.dropped()), (1, 2));
    }

    #[test]
    fn two_threads_see_every_frame_whole_or_count_it() {
        const FRAMES: u64 = 50_000;
        let (mut sink, mut copies) = ring(RING_MIN, 1 << 16);
        let writer = std::thread::spawn(move || {
            for number in 0..FRAMES {
                let length = usize::try_from(number % 1500).unwrap_or_default();
                sink.put(&frame(&vec![number.to_le_bytes()[0]; length], number));
            }
        });
        let (mut next, mut seen) = (0, 0);
        loop {
            let ended = writer.is_finished();
            let frames = taken(&mut copies);
            let none = frames.is_empty();
            for (frame, bytes) in frames {
                assert!(frame.time >= next, "in order");
                assert_eq!(bytes.len() as u64, frame.time % 1500);
                assert!(
                    bytes.iter().all(|byte| *byte == frame.time.to_le_bytes()[0]),
                    "frame {}",
                    frame.time
                );
                (next, seen) = (frame.time + 1, seen + 1);
            }
            if ended && none {
                break;
            }
        }
        writer.join().unwrap();
        assert_eq!(seen + copies.dropped(), FRAMES);
    }
}
