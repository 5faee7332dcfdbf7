//! The owner of an export: the one lcore that carries out its ATA commands, whatever port, queue or MAC address they come by.
//! Requests for the same sectors meet in the owner's order table, and nowhere else.
//!
//! The owner is chosen when the export is prepared, by a hash of its shelf and slot, among the lcores that poll a port of
//! it. So the export of one port stays on the lcores of that port, and one that several ports reach has one owner all the same. The
//! lcores of each port are the same from the start of the program to its end, so all lcores agree on the owner. It stays as
//! long as the export exists, on whatever ports it is served later: at no time are there two.

use std::sync::Arc;

use aoe_target::{PortSet, Ports, ShelfSlot};

/// The lcores among which owners are chosen, as one of them sees it.
#[derive(Debug, Clone)]
pub(crate) struct Owners {
    /// The number of this lcore.
    own: usize,
    /// By lcore: the ports that it polls.
    polled: Arc<[PortSet]>,
}

impl Owners {
    /// `polled` has the ports of each lcore, by its number; `own` is one of them.
    pub(crate) fn new(own: usize, polled: Arc<[PortSet]>) -> Self {
        Self { own, polled }
    }

    /// The number of the lcore that owns an export of this address on these ports. `None` if it is this lcore.
    pub(crate) fn elsewhere(&self, address: ShelfSlot, ports: Ports) -> Option<u16> {
        let serves = |lcore: &usize| !ports.intersection(Ports::Set(self.polled[*lcore])).is_empty();
        let lcores = 0..self.polled.len();
        let nth = owner_of(address, lcores.clone().filter(serves).count());
        // On a port that there is not it gets no requests: any lcore is as good.
        let owner = lcores.clone().filter(serves).nth(nth).unwrap_or(self.own);
        (owner != self.own).then(|| u16::try_from(owner).unwrap_or(u16::MAX))
    }
}

/// Which of `lcores` lcores owns the export of this shelf and slot: 0 to `lcores` - 1, or 0.
///
/// The product with an odd constant near 2^64 divided by the golden ratio distributes consecutive numbers evenly
/// (Knuth, The Art of Computer Programming 6.4, "Fibonacci hashing"); its upper half is scaled to the lcores.
#[must_use]
pub fn owner_of(address: ShelfSlot, lcores: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let number = u64::from(address.shelf.0) << 8 | u64::from(address.slot.0);
    // Slot 0 of shelf 0 is as good as any.
    let mixed = (number + 1).wrapping_mul(GOLDEN);
    let scaled = (mixed >> 32) * lcores as u64;
    usize::try_from(scaled >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use aoe_target::PortId;

    use super::*;

    fn address(shelf: u32, slot: u32) -> ShelfSlot {
        format!("{shelf}.{slot}").parse().expect("an address")
    }

    fn set(ports: &[u16]) -> PortSet {
        let mut set = PortSet::EMPTY;
        for port in ports {
            set.insert(PortId(*port)).expect("below 64");
        }
        set
    }

    /// The owner as each lcore sees it; they must agree.
    fn owner(polled: &Arc<[PortSet]>, address: ShelfSlot, ports: Ports) -> usize {
        let seen = (0..polled.len()).map(|own| {
            let owners = Owners::new(own, Arc::clone(polled));
            owners.elsewhere(address, ports).map_or(own, usize::from)
        });
        let seen: Vec<usize> = seen.collect();
        assert!(seen.iter().all(|owner| owner == &seen[0]), "{address:?} on {ports}: {seen:?}");
        seen[0]
    }

    #[test]
    fn exports_of_a_shelf_or_of_many_shelves_are_shared_evenly() {
        let shelf = |nth: u32| address(1, nth % 255);
        let shelves = |nth: u32| address(nth + 1, 0);
        let addresses: [fn(u32) -> ShelfSlot; 2] = [shelf, shelves];
        for address in addresses {
            for lcores in [2usize, 3, 4, 8, 16] {
                for exports in [2 * lcores, 4 * lcores, 250] {
                    let exports = u32::try_from(exports.min(250)).expect("few");
                    let mut load = vec![0u32; lcores];
                    for nth in 0..exports {
                        load[owner_of(address(nth), lcores)] += 1;
                    }
                    let most = *load.iter().max().expect("an lcore");
                    let even = f64::from(exports) / lcores as f64;
                    assert!(
                        f64::from(most) <= 1.5 * even + 1.0,
                        "{lcores} lcores, {exports} exports: {load:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn all_lcores_agree_and_an_export_of_one_port_stays_on_its_lcores() {
        // Ports 0 and 1 with an lcore each, port 2 with two lcores, one of them of port 1, too.
        let polled: Arc<[PortSet]> = [set(&[0]), set(&[1, 2]), set(&[2])].into();
        for nth in 0..200 {
            let address = address(nth, nth % 255);
            let on = |ports: &[u16]| owner(&polled, address, Ports::Set(set(ports)));
            assert_eq!((on(&[0]), on(&[1])), (0, 1));
            assert!([1, 2].contains(&on(&[2])));
            assert_eq!(on(&[1, 2]), on(&[2]), "the same lcores");
            assert!([0, 1].contains(&on(&[0, 1])));
            assert_eq!(on(&[0, 1, 2]), owner(&polled, address, Ports::All));
            // A port that there is not.
            assert!(Owners::new(1, Arc::clone(&polled)).elsewhere(address, Ports::Set(set(&[9]))).is_none());
        }
    }

    #[test]
    fn exports_of_several_ports_are_shared_by_all_their_lcores() {
        let polled: Arc<[PortSet]> = [set(&[0]), set(&[1])].into();
        let owners: Vec<usize> = (1..=100).map(|slot| owner(&polled, address(1, slot), Ports::All)).collect();
        let first = owners.iter().filter(|owner| **owner == 0).count();
        assert!((40..=60).contains(&first), "{first} of 100");
    }
}
