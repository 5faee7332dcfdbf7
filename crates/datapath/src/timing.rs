//! How long the requests of an export take, where somebody wants to know.
//!
//! A request to a timed export takes the way of those that may have to wait, where its arrival is written over the first bytes of
//! its frame: the destination, which its reply does not need. Other exports have no part in it: that an export is timed is a
//! flag of its load, which is looked at together with others ([`crate::budget::Load`]).

use aoe_target::{ExportId, ExportKey, Histograms};
use dpdk::{Mbuf, tsc};

/// Bytes of a frame with the stamp, and the bits of a time that they hold.
const STAMP: usize = 6;
const MASK: u64 = (1 << 48) - 1;

/// Where an ATA command's opcode lies in a frame.
const OPCODE: usize = 27;

/// The bytes of a frame that its end is counted by.
pub(crate) type Head = [u8; OPCODE + 1];

/// An lcore's histograms.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// By [`ExportId`].
    exports: Vec<Option<(ExportKey, Box<Histograms>)>>,
}

impl Timings {
    /// Times an export from now on, into these histograms, or no longer. Returns those before: their memory is freed where it was
    /// made.
    pub(crate) fn set(
        &mut self,
        key: ExportKey,
        histograms: Option<Box<Histograms>>,
    ) -> Option<Box<Histograms>> {
        let index = key.id.0 as usize;
        if self.exports.len() <= index {
            self.exports.resize_with(index + 1, || None);
        }
        let before = std::mem::replace(&mut self.exports[index], histograms.map(|made| (key, made)));
        before.map(|(_, histograms)| histograms)
    }

    /// The histograms of an export that is timed.
    pub(crate) fn of(&self, key: ExportKey) -> Option<&Histograms> {
        let (timed, histograms) = self.exports.get(key.id.0 as usize)?.as_ref()?;
        (*timed == key).then_some(&**histograms)
    }

    /// Counts the end of a request by the first bytes of its frame. A frame without a stamp still has its destination: `own`
    /// address, or that of a group.
    #[cold]
    pub(crate) fn ended(&mut self, export: ExportId, head: &Head, own: [u8; STAMP]) {
        let Some((stamp, _)) = head.split_first_chunk::<STAMP>() else { return };
        let Some(Some((_, histograms))) = self.exports.get_mut(export.0 as usize) else { return };
        if *stamp == own || *stamp == [0xff; STAMP] {
            return;
        }
        if let Some(histogram) = histograms.of_opcode(head[OPCODE]) {
            histogram.record(tsc::now().wrapping_sub(time_of(*stamp)) & MASK);
        }
    }
}

/// Writes the time of a request's arrival over its frame's destination.
#[cold]
pub(crate) fn stamp(frame: &mut Mbuf) {
    let [_, _, bytes @ ..] = (tsc::now() & MASK).to_be_bytes();
    if let Some(destination) = frame.data_mut().first_chunk_mut::<STAMP>() {
        *destination = bytes;
    }
}

fn time_of([a, b, c, d, e, f]: [u8; STAMP]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(stamp: u64, opcode: u8) -> Head {
        let mut head = [0; OPCODE + 1];
        head[..STAMP].copy_from_slice(&(stamp & MASK).to_be_bytes()[2..]);
        head[OPCODE] = opcode;
        head
    }

    #[test]
    fn only_stamped_requests_of_timed_exports_are_counted() {
        let key = ExportKey { id: ExportId(2), generation: 3 };
        let mut timings = Timings::default();
        let own = [2, 0, 0, 0, 0, 1];
        timings.ended(key.id, &head(1, 0x24), own);
        assert!(timings.set(key, Some(Box::default())).is_none());
        timings.ended(key.id, &head(tsc::now(), 0x24), own);
        timings.ended(key.id, &head(tsc::now(), 0x34), own);
        timings.ended(key.id, &head(tsc::now(), 0xec), own);
        let mut unstamped = head(0, 0x24);
        unstamped[..STAMP].copy_from_slice(&own);
        timings.ended(key.id, &unstamped, own);
        timings.ended(ExportId(1), &head(tsc::now(), 0x24), own);
        let counted = timings.of(key).map(|of| (of.reads.count(), of.writes.count(), of.flushes.count()));
        assert_eq!(counted, Some((1, 1, 0)));
        assert_eq!(timings.of(key.id.into()), None, "of an earlier export");
        assert!(timings.set(key, None).is_some());
        assert_eq!(timings.of(key), None);
    }
}
