//! A hash of an initiator and an export, for tables whose keys a hostile initiator chooses.

use aoe_wire::MacAddr;

/// Multiplies by a secret, so that nobody chooses addresses that collide.
#[derive(Clone, Copy, Debug)]
pub struct InitiatorHash {
    /// Odd.
    multiplier: u64,
}

impl InitiatorHash {
    /// `seed` is random.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { multiplier: seed | 1 }
    }

    /// The hash of an initiator and a number of an export: the half of the product that all bits take part in.
    #[must_use]
    pub fn of(&self, MacAddr([a, b, c, d, e, f]): MacAddr, export: u32) -> u32 {
        let address = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let mixed = (address ^ u64::from(export).rotate_left(40)).wrapping_mul(self.multiplier);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(self.multiplier);
        (mixed >> 32) as u32
    }
}
