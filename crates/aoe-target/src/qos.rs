//! Quality of service: limits on the rates of an export and of each of its initiators, and the requests that wait for them.
//!
//! A request that finds its [`bucket`]s without tokens waits ([`throttle`]) rather than being dropped: an initiator takes a loss
//! for congestion, halves its window and repeats the request after a timeout. Time is a number of ticks that the caller
//! passes in.

pub mod bucket;
mod flows;
pub mod throttle;

#[cfg(test)]
mod tests;

pub use bucket::{Bucket, Rate};
pub use throttle::{Held, Throttle};

use aoe_wire::SECTOR_BYTES;

/// Bytes of the largest request: 16 sectors.
pub const LARGEST_REQUEST: u64 = 16 * SECTOR_BYTES as u64;

/// The limits of an export. None of them by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Those of all of its initiators together.
    pub export: Limit,
    /// Those of each initiator.
    pub initiator: Limit,
}

/// Limits on requests that the bdev carries out; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Requests a second.
    pub iops: Option<u64>,
    /// Bytes of data a second.
    pub bandwidth: Option<u64>,
}

impl Limits {
    /// Whether anything is limited.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.export.is_some() || self.initiator.is_some()
    }
}

impl Limit {
    const fn is_some(&self) -> bool {
        self.iops.is_some() || self.bandwidth.is_some()
    }
}

/// A [`Limit`] by a clock.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    requests: Option<Rate>,
    bytes: Option<Rate>,
}

impl Pace {
    fn new(limit: Limit, hz: u64) -> Self {
        Self {
            requests: limit.iops.map(|iops| Rate::new(iops, 1, hz)),
            bytes: limit.bandwidth.map(|bandwidth| Rate::new(bandwidth, LARGEST_REQUEST, hz)),
        }
    }

    fn is_some(&self) -> bool {
        self.requests.is_some() || self.bytes.is_some()
    }

    /// Ticks for which a request uses the limit up.
    fn ticks_for(&self, bytes: u64) -> u64 {
        let requests = self.requests.map_or(0, |rate| rate.ticks_for(1));
        requests.max(self.bytes.map_or(0, |rate| rate.ticks_for(bytes)))
    }
}

/// The buckets of a [`Pace`].
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    requests: Bucket,
    bytes: Bucket,
}

impl Buckets {
    fn full(pace: &Pace, now: u64) -> Self {
        let full =
            |rate: &Option<Rate>| rate.as_ref().map_or(Bucket::default(), |rate| Bucket::full(rate, now));
        Self { requests: full(&pace.requests), bytes: full(&pace.bytes) }
    }

    /// Whether a request of so many bytes may start, after what has come in until `now`.
    fn allow(&mut self, pace: &Pace, bytes: u64, now: u64) -> bool {
        let allows = |bucket: &mut Bucket, rate: &Option<Rate>, tokens| {
            rate.as_ref().is_none_or(|rate| {
                bucket.refill(rate, now);
                bucket.holds(rate, tokens)
            })
        };
        // Both are refilled.
        allows(&mut self.requests, &pace.requests, 1) & allows(&mut self.bytes, &pace.bytes, bytes)
    }

    /// Counts a request that was allowed.
    fn take(&mut self, pace: &Pace, bytes: u64) {
        if let Some(rate) = &pace.requests {
            self.requests.take(rate, 1);
        }
        if let Some(rate) = &pace.bytes {
            self.bytes.take(rate, bytes);
        }
    }
}
