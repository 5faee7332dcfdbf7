//! How evenly requests fall on lcores.

/// Requests that each initiator has in flight: Linux's `aoe_maxout`.
pub(crate) const IN_FLIGHT: u64 = 64;

/// What decides on a request's lcore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A hash of source and destination address.
    Addresses,
    /// The destination address, of which each lcore has one, and the initiator takes them in turn.
    MacPerQueue,
    /// A hash of source address and tag.
    SourceAndTag,
}

/// Spreads every bit of `value` over all 64 (Steele, Lea and Flood's SplitMix64): stands for a good hash.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// The lcore of an initiator's request number `tag`. The destination is the same for all, but where it is the rule.
fn lcore(rule: Rule, source: u64, tag: u64, lcores: u64) -> u64 {
    match rule {
        Rule::Addresses => mix(source) % lcores,
        Rule::MacPerQueue => (mix(source) + tag) % lcores,
        Rule::SourceAndTag => mix(source ^ mix(tag)) % lcores,
    }
}

/// Requests by lcore.
fn loads(rule: Rule, sources: impl Iterator<Item = u64>, lcores: u64) -> Vec<u64> {
    // Counted by comparing: there are few lcores.
    let placed: Vec<u64> =
        sources.flat_map(|source| (0..IN_FLIGHT).map(move |tag| lcore(rule, source, tag, lcores))).collect();
    (0..lcores).map(|lcore| placed.iter().map(|at| u64::from(*at == lcore)).sum()).collect()
}

/// The load of the fullest lcore over the mean, averaged over `draws` draws of the initiators' addresses.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn imbalance(rule: Rule, initiators: u64, lcores: u64, draws: u64) -> f64 {
    let mean = (initiators * IN_FLIGHT) as f64 / lcores as f64;
    let fullest = (0..draws).map(|draw| {
        // Each draw has addresses of its own: `mix` gives no two numbers the same.
        let sources = (0..initiators).map(|initiator| mix(draw << 20 | initiator));
        loads(rule, sources, lcores).into_iter().max().unwrap_or(0)
    });
    fullest.sum::<u64>() as f64 / draws as f64 / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_about(got: f64, expected: f64, off: f64) {
        assert!((got - expected).abs() <= off, "{got}, expected {expected}");
    }

    #[test]
    fn every_request_falls_on_one_lcore() {
        for rule in [Rule::Addresses, Rule::MacPerQueue, Rule::SourceAndTag] {
            let loads = loads(rule, 0..10, 8);
            assert_eq!((loads.len(), loads.iter().sum::<u64>()), (8, 640));
        }
    }

    #[test]
    fn one_initiator_has_one_lcore_by_addresses() {
        assert_about(imbalance(Rule::Addresses, 1, 24, 10), 24.0, 1e-9);
    }

    #[test]
    fn in_turn_is_even_where_it_divides_and_one_more_where_not() {
        assert_about(imbalance(Rule::MacPerQueue, 1, 8, 10), 1.0, 1e-9);
        // 64 over 24: three on the fullest, 2.67 in the mean.
        assert_about(imbalance(Rule::MacPerQueue, 1, 24, 10), 3.0 * 24.0 / 64.0, 1e-9);
    }

    #[test]
    fn two_initiators_on_two_lcores_meet_half_the_time() {
        // One lcore has both, 2 over a mean of 1, or each has one: 1.5 in the mean.
        assert_about(imbalance(Rule::Addresses, 2, 2, 4000), 1.5, 0.03);
    }

    #[test]
    fn by_tag_one_initiator_is_64_balls_in_two_bins() {
        // E|X - 32| of a binomial of 64 halves: 32 C(64, 32) / 2^64 = 3.179; 35.179 over a mean of 32.
        assert_about(imbalance(Rule::SourceAndTag, 1, 2, 4000), 1.0993, 0.005);
    }
}
