//! The placement of mbufs in a mempool's memory, so that the byte at one offset of every frame lies on a boundary.
//!
//! An object of such a pool. All objects start at the same distance from a boundary:
//!
//! ```text
//! | mempool's header | rte_mbuf | private area | shift | head room | frame: headers | data ...   | rest |
//! |        64        |   128    |              |       |    128    |     offset     ^ boundary   |
//! | <-------------------------- stride: an odd number of boundaries -----------------------------------> |
//! ```
//!
//! The shift is needed because a mempool aligns objects to cache lines only. The private area directly follows the header,
//! where rte_mbuf_to_priv (rte_mbuf.h) expects it.

use crate::HEADROOM;

/// A byte of each frame, and the boundary on which it lies in every frame that starts behind the head room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataAlignment {
    /// Bytes into the frame.
    pub offset: u16,
    /// The alignment of that byte's address: a power of two from 64 to 4096.
    pub bytes: u16,
}

/// A cache line, to which mempools align their objects (RTE_MEMPOOL_ALIGN).
const LINE: usize = 64;

/// A mempool's header of each object (struct rte_mempool_objhdr), aligned to [`LINE`].
const OBJECT_HEADER: usize = LINE;

/// The placement of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    alignment: usize,
    /// Distance of an object's start from the boundary before it.
    residue: usize,
    /// Distance from one object to the next in the same page.
    pub(crate) stride: usize,
    /// Bytes between the private area and the buffer, 0 to 63.
    pub(crate) shift: u16,
}

impl Layout {
    /// The layout for frames of `room` bytes, with strides of more than `least` bytes. `None` for an invalid alignment.
    pub(crate) fn new(private: u16, room: u16, align: DataAlignment, least: usize) -> Option<Self> {
        let alignment = usize::from(align.bytes);
        if !alignment.is_power_of_two() || !(LINE..=4096).contains(&alignment) {
            return None;
        }
        let before_shift = OBJECT_HEADER + dpdk_sys::DPDK_SHIM_MBUF_SIZE as usize + usize::from(private);
        let head = usize::from(HEADROOM) + usize::from(align.offset);
        let shift = (before_shift + head).wrapping_neg() % LINE;
        let residue = (before_shift + shift + head).wrapping_neg() % alignment;
        let object = (before_shift + shift + usize::from(HEADROOM) + usize::from(room)).max(least + 1);
        // An odd number of boundaries: with an even one the headers of all mbufs would share few sets of the CPU's caches and
        // few memory channels. (With 4096 they share a 64th of a first-level cache in any case.)
        let stride = object.div_ceil(alignment) * alignment;
        let stride = if (stride / alignment).is_multiple_of(2) { stride + alignment } else { stride };
        Some(Self { alignment, residue, stride, shift: u16::try_from(shift).ok()? })
    }

    /// Size of an element, as mempools call an object without its header.
    pub(crate) fn element(&self) -> usize {
        self.stride - OBJECT_HEADER
    }

    /// Memory that is sufficient for `objects`, with pages of `page` bytes.
    pub(crate) fn memory(&self, objects: usize, page: usize) -> usize {
        let all = objects * self.stride;
        // Upper bound of the loss at the start, and at each end of a page.
        let lost = self.stride + self.alignment;
        let pages = if self.stride > page { 0 } else { all.div_ceil(page - lost.min(page / 2)) };
        all + lost * (2 + pages)
    }

    /// The pieces of an address range that hold objects: address and length, in whole strides, for at most `objects` in
    /// all. No object crosses a page's end, unless objects are larger than pages.
    pub(crate) fn pieces(
        &self,
        start: usize,
        length: usize,
        page: usize,
        objects: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { alignment, residue, stride, .. } = *self;
        let end = start.saturating_add(length);
        let page = if stride > page { usize::MAX } else { page };
        let (mut at, mut left) = (start, objects);
        std::iter::from_fn(move || {
            while left > 0 && at < end {
                let page_end = (at / page + 1).checked_mul(page).map_or(end, |page_end| page_end.min(end));
                // The next address of this residue.
                let first = at + (residue + alignment - at % alignment) % alignment;
                at = page_end;
                let count = (page_end.saturating_sub(first) / stride).min(left);
                if count > 0 {
                    left -= count;
                    return Some((first, count * stride));
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 2 << 20;

    #[test]
    fn data_falls_on_its_boundary_and_objects_hold_their_frames() {
        for private in (0..=1024).step_by(8) {
            for (bytes, room) in
                [(64, 100), (512, 2048), (512, 9152), (4096, 2048), (4096, 16384), (512, 65407)]
            {
                for offset in [0, 14, 36, 40] {
                    let layout =
                        Layout::new(private, room, DataAlignment { offset, bytes }, 0).expect("allowed");
                    let before = 64 + 128 + usize::from(private) + usize::from(layout.shift) + 128;
                    assert!((layout.residue + before + usize::from(offset)).is_multiple_of(bytes.into()));
                    assert!(layout.shift < 64 && layout.residue.is_multiple_of(64), "{layout:?}");
                    assert!(layout.stride >= before + usize::from(room), "{layout:?}");
                    assert_eq!(layout.stride / usize::from(bytes) % 2, 1, "{layout:?}");
                    assert!(layout.stride.is_multiple_of(bytes.into()));
                }
            }
        }
    }

    #[test]
    fn alignments_that_are_none_are_refused() {
        for bytes in [0, 1, 4, 32, 48, 513, 8192, u16::MAX] {
            assert_eq!(Layout::new(0, 2048, DataAlignment { offset: 36, bytes }, 0), None, "{bytes}");
        }
    }

    #[test]
    fn pieces_keep_the_residue_stay_within_pages_and_find_room_for_all() {
        for (private, room, bytes) in [(0, 2048, 512), (296, 9152, 512), (296, 9152, 4096), (8, 65407, 4096)]
        {
            let layout = Layout::new(private, room, DataAlignment { offset: 36, bytes }, 0).expect("allowed");
            for start in [0, 64, PAGE - 64, PAGE / 2 + 128, 3 * PAGE - 4096] {
                let length = layout.memory(1000, PAGE);
                let mut objects = 0;
                let mut before = start;
                for (address, bytes) in layout.pieces(start, length, PAGE, 1000) {
                    assert!(address >= before && bytes > 0);
                    before = address + bytes;
                    assert_eq!(address % layout.alignment, layout.residue);
                    assert_eq!(address / PAGE, (address + bytes - 1) / PAGE, "one page");
                    assert_eq!(bytes % layout.stride, 0);
                    objects += bytes / layout.stride;
                }
                assert!(before <= start + length);
                assert_eq!(objects, 1000, "{layout:?} from {start}");
            }
        }
    }

    #[test]
    fn without_room_for_all_there_are_fewer_and_for_none_no_piece() {
        let layout = Layout::new(0, 2048, DataAlignment { offset: 36, bytes: 512 }, 0).expect("allowed");
        assert_eq!(layout.pieces(0, layout.stride - 1, PAGE, 10).count(), 0);
        let pieces: Vec<_> = layout.pieces(0, 5 * layout.stride, PAGE, 10).collect();
        assert_eq!(pieces, [(layout.residue, 4 * layout.stride)]);
        assert_eq!(layout.pieces(0, PAGE, PAGE, 0).count(), 0);
    }

    #[test]
    fn objects_larger_than_a_page_lie_in_one_piece() {
        let layout = Layout::new(0, 512, DataAlignment { offset: 36, bytes: 512 }, 4096).expect("allowed");
        assert!(layout.stride > 4096);
        let pieces: Vec<_> = layout.pieces(64, layout.memory(100, 4096), 4096, 100).collect();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].1, 100 * layout.stride);
    }
}
