//! The links between initiators and the target: they lose, duplicate, delay, reorder and cut frames.

use std::collections::BTreeMap;

use crate::{dice::Dice, plan::LinkPlan};

/// Ticks that a frame takes at least.
const SHORTEST: u64 = 1;

/// A frame on a link.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) initiator: usize,
    pub(crate) to_target: bool,
    /// The request that it belongs to, and its tag.
    pub(crate) op: u32,
    pub(crate) tag: u32,
    pub(crate) bytes: Vec<u8>,
    /// The link cut it short.
    pub(crate) is_cut: bool,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Link {
    plan: LinkPlan,
    dice: Dice,
    /// By the tick of its arrival, and the order of sending.
    carried: BTreeMap<(u64, u64), Carried>,
    /// When the last frame arrives, by initiator and direction.
    last: BTreeMap<(usize, bool), u64>,
    sent: u64,
}

impl Link {
    pub(crate) fn new(plan: LinkPlan, dice: Dice) -> Self {
        Self { plan, dice, carried: BTreeMap::new(), last: BTreeMap::new(), sent: 0 }
    }

    /// Carries a frame. Returns how many copies arrive.
    pub(crate) fn send(&mut self, now: u64, mut frame: Carried) -> u32 {
        let roll = [u64::from(frame.tag), u64::from(frame.to_target)];
        let subject = |what: u64| [roll[0], roll[1], what];
        if self.dice.permille(self.plan.loss, &subject(0)) {
            return 0;
        }
        if frame.to_target && self.dice.permille(self.plan.truncate, &subject(1)) {
            let length = self.dice.below(frame.bytes.len() as u64, &subject(2));
            frame.bytes.truncate(usize::try_from(length).unwrap_or(0).max(1));
            frame.is_cut = true;
        }
        let copies = 1 + u64::from(self.dice.permille(self.plan.duplicate, &subject(3)));
        for copy in 0..copies {
            let late = self.dice.within((0, self.plan.jitter), &[roll[0], roll[1], 4, copy]);
            let last = self.last.entry((frame.initiator, frame.to_target)).or_default();
            let due = now + SHORTEST + late;
            let due = if self.plan.reorders { due } else { due.max(*last) };
            *last = due.max(*last);
            self.sent += 1;
            self.carried.insert((due, self.sent), frame.clone());
        }
        u32::try_from(copies).unwrap_or(1)
    }

    /// The frames that arrive by now.
    pub(crate) fn arrived(&mut self, now: u64) -> Vec<Carried> {
        let later = self.carried.split_off(&(now + 1, 0));
        std::mem::replace(&mut self.carried, later).into_values().collect()
    }

    /// No copy of a request outlives it: the protocol has nothing by which a target could tell one from a new request.
    /// Returns how many frames there were.
    pub(crate) fn withdraw(&mut self, op: u32) -> usize {
        let before = self.carried.len();
        self.carried.retain(|_, frame| !(frame.to_target && frame.op == op));
        before - self.carried.len()
    }

    /// When the next frame arrives.
    pub(crate) fn next(&self) -> Option<u64> {
        self.carried.keys().next().map(|(due, _)| *due)
    }

    /// No more faults.
    pub(crate) fn calm(&mut self) {
        (self.plan.loss, self.plan.duplicate, self.plan.truncate) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: LinkPlan = LinkPlan { loss: 0, duplicate: 0, truncate: 0, jitter: 9, reorders: false };

    fn frame(tag: u32) -> Carried {
        Carried { initiator: 0, to_target: true, op: tag, tag, bytes: vec![0; 100], is_cut: false }
    }

    fn tags(link: &mut Link) -> Vec<u32> {
        link.arrived(1000).iter().map(|frame| frame.tag).collect()
    }

    #[test]
    fn frames_keep_their_order_unless_the_link_reorders() {
        let mut link = Link::new(QUIET, Dice::new(1, "link"));
        (0..50).for_each(|tag| assert_eq!(link.send(0, frame(tag)), 1));
        assert_eq!(tags(&mut link), (0..50).collect::<Vec<u32>>());
        let mut link = Link::new(LinkPlan { reorders: true, ..QUIET }, Dice::new(1, "link"));
        (0..50).for_each(|tag| assert_eq!(link.send(0, frame(tag)), 1));
        let reordered = tags(&mut link);
        assert_ne!(reordered, (0..50).collect::<Vec<u32>>());
        assert_eq!(reordered.len(), 50);
    }

    #[test]
    fn frames_are_lost_duplicated_and_cut() {
        let mut link = Link::new(LinkPlan { loss: 1000, ..QUIET }, Dice::new(1, "link"));
        assert_eq!(link.send(0, frame(1)), 0);
        let mut link = Link::new(LinkPlan { duplicate: 1000, truncate: 1000, ..QUIET }, Dice::new(1, "link"));
        assert_eq!(link.send(0, frame(1)), 2);
        let arrived = link.arrived(1000);
        assert_eq!(arrived.len(), 2);
        assert!(arrived.iter().all(|frame| frame.is_cut && (1..100).contains(&frame.bytes.len())));
    }

    #[test]
    fn a_request_that_is_over_is_withdrawn() {
        let mut link = Link::new(QUIET, Dice::new(1, "link"));
        (0..3).for_each(|tag| assert_eq!(link.send(0, frame(tag)), 1));
        assert_eq!(link.withdraw(1), 1);
        assert_eq!(tags(&mut link), [0, 2]);
    }
}
