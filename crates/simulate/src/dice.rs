//! Decisions that follow from the seed and from what they are about, and not from the decisions before them: so that a
//! plan from which requests were taken out still does the same with the others.

/// Decisions of one kind, for one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

/// SplitMix64's output function (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Dice {
    pub(crate) fn new(seed: u64, kind: &str) -> Self {
        Self(kind.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte))))
    }

    /// A number for this subject.
    pub(crate) fn roll(self, subject: &[u64]) -> u64 {
        subject.iter().fold(self.0, |state, part| mix(state ^ *part))
    }

    /// A number below `below`, which is not 0.
    pub(crate) fn below(self, below: u64, subject: &[u64]) -> u64 {
        self.roll(subject) % below
    }

    /// A number of `range`, its end included.
    pub(crate) fn within(self, range: (u64, u64), subject: &[u64]) -> u64 {
        range.0 + self.below(range.1 - range.0 + 1, subject)
    }

    /// True in so many of 1,000 cases.
    pub(crate) fn permille(self, chance: u64, subject: &[u64]) -> bool {
        chance > 0 && self.below(1000, subject) < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_depends_on_seed_kind_and_subject_only() {
        let dice = Dice::new(7, "loss");
        assert_eq!(dice.roll(&[1, 2]), Dice::new(7, "loss").roll(&[1, 2]));
        assert_ne!(dice.roll(&[1, 2]), dice.roll(&[2, 1]));
        assert_ne!(dice.roll(&[1]), Dice::new(8, "loss").roll(&[1]));
        assert_ne!(dice.roll(&[1]), Dice::new(7, "delay").roll(&[1]));
    }

    #[test]
    fn chances_are_about_as_asked() {
        let dice = Dice::new(1, "chance");
        let hits = (0..10_000).filter(|number| dice.permille(100, &[*number])).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert!((0..1000).all(|number| !dice.permille(0, &[number])));
    }
}
