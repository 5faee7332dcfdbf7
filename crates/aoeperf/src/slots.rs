//! Requests that are outstanding, each in the slot that its tag names.
//!
//! A tag is a slot's index in its low bits, as many as the number of slots needs, and above it how often the slot was
//! used; bit 31 is clear, as Linux keeps it. A reply is matched without a search, and one to an earlier use of its
//! slot is told by its tag.

/// Most slots: 2048 uses of each have tags of their own.
pub const MOST: usize = 1 << 20;

const TAG_MASK: u32 = 0x7fff_ffff;

/// The request of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Idle,
    /// A read is outstanding.
    Read,
    /// A write is.
    Write,
}

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Slot {
    /// When the first copy was sent, in ticks.
    pub first_sent: u64,
    /// When the last copy was sent.
    pub sent: u64,
    /// First sector.
    pub lba: u64,
    /// Of a verified write.
    pub generation: u64,
    /// The tag of the present or last request.
    pub tag: u32,
    /// Index of its target, which is always the same.
    pub target: u32,
    /// Index of its path.
    pub path: u32,
    /// Copies sent.
    pub copies: u32,
    /// The address it was sent from.
    pub source: [u8; 6],
    /// Sectors.
    pub count: u8,
    /// What it is.
    pub state: State,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// All slots.
#[derive(Debug)]
pub struct Slots {
    slots: Box<[Slot]>,
    index_mask: u32,
}

impl Slots {
    /// `depth` slots for each of `targets` targets, interleaved so that neighbours are of different targets. `None` if
    /// they are none, or more than [`MOST`].
    pub fn new(targets: usize, depth: usize) -> Option<Self> {
        let count = targets.checked_mul(depth).filter(|count| (1..=MOST).contains(count))?;
        let index_mask = u32::try_from(count.next_power_of_two() - 1).ok()?;
        let idle = Slot {
            first_sent: 0,
            sent: 0,
            lba: 0,
            generation: 0,
            tag: 0,
            target: 0,
            path: 0,
            copies: 0,
            source: [0; 6],
            count: 0,
            state: State::Idle,
        };
        let slots = (0..u32::try_from(count).ok()?)
            .map(|index| Slot { tag: index, target: index % u32::try_from(targets).unwrap_or(1), ..idle })
            .collect();
        Some(Self { slots, index_mask })
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// False: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot whose outstanding request has this tag, and its index.
    #[inline]
    pub fn outstanding(&mut self, tag: u32) -> Option<(u32, &mut Slot)> {
        let index = tag & self.index_mask;
        let slot = self.slots.get_mut(index as usize)?;
        (slot.tag == tag && slot.state != State::Idle).then_some((index, slot))
    }

    /// Slot `index`.
    ///
    /// # Panics
    /// If there is no such slot.
    #[inline]
    pub fn at(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// Gives slot `index` the tag of its next use. Never 0, the tag of advertisements.
    #[inline]
    pub fn renew(&mut self, index: u32) -> &mut Slot {
        let step = self.index_mask + 1;
        let slot = &mut self.slots[index as usize];
        slot.tag = slot.tag.wrapping_add(step) & TAG_MASK;
        if slot.tag == 0 {
            slot.tag = step;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_its_slot_and_only_its_present_use() {
        let mut slots = Slots::new(3, 5).expect("15 slots");
        assert_eq!((slots.len(), slots.at(4).target, slots.at(5).target), (15, 1, 2));
        slots.renew(7).state = State::Read;
        let first = slots.at(7).tag;
        assert_eq!(slots.outstanding(first).map(|(index, slot)| (index, slot.target)), Some((7, 1)));
        slots.at(7).state = State::Idle;
        assert!(slots.outstanding(first).is_none());
        slots.renew(7).state = State::Write;
        let second = slots.at(7).tag;
        assert!(first != second && slots.outstanding(first).is_none());
        assert!(slots.outstanding(second).is_some());
        assert!(slots.outstanding(second | 1 << 31).is_none());
        assert!(slots.outstanding(15).is_none(), "no such slot");
    }

    #[test]
    fn tags_come_round_without_ever_being_an_advertisement_s() {
        for (targets, depth) in [(1, 1), (1, 512), (1 << 11, 512)] {
            let mut slots = Slots::new(targets, depth).expect("at most 2^20");
            slots.at(0).tag = TAG_MASK & !(slots.index_mask);
            for _ in 0..3 {
                let tag = slots.renew(0).tag;
                assert!(tag != 0 && tag & !TAG_MASK == 0, "{tag:#x}");
                slots.at(0).state = State::Read;
                assert_eq!(slots.outstanding(tag).map(|(index, _)| index), Some(0));
            }
        }
    }

    #[test]
    fn there_is_a_bound() {
        assert!(Slots::new(0, 1).is_none() && Slots::new(usize::MAX, 2).is_none());
        assert!(Slots::new(MOST / 512, 512).is_some() && Slots::new(MOST / 512 + 1, 512).is_none());
    }
}
