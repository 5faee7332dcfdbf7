//! The specification of a load: requests, range, depth and times.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::window::Retransmit;
use crate::wire::SECTOR;

/// The kind of requests and the order of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Reads, one after the other, from the start again at the end.
    Read,
    /// Writes, in the same order.
    Write,
    /// Reads at random.
    RandomRead,
    /// Writes at random.
    RandomWrite,
    /// Reads and writes at random, this many percent reads.
    RandomMixed(u8),
}

/// The way to wait for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Ask the socket again and again: lowest latency, takes a whole core.
    Spin,
    /// Sleep until something arrives: for tests that share their cores.
    Sleep,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct LoadSpec {
    /// Kind and order of requests.
    pub workload: Workload,
    /// Sectors a request moves, 1 to what the export advertises.
    pub sectors_per_io: u8,
    /// Requests outstanding, 1 to 256.
    pub depth: usize,
    /// For how long requests are measured.
    pub duration: Duration,
    /// For how long requests are made before, unmeasured.
    pub warmup: Duration,
    /// First sector used.
    pub first_lba: u64,
    /// Sectors used; all up to the end of the export if `None`.
    pub sectors: Option<u64>,
    /// Seed of random addresses and data.
    pub seed: u64,
    /// When to send again.
    pub timing: Retransmit,
    /// The way to wait.
    pub waiting: Waiting,
}

impl Default for LoadSpec {
    fn default() -> Self {
        Self {
            workload: Workload::RandomRead,
            sectors_per_io: 8,
            depth: 1,
            duration: Duration::from_secs(5),
            warmup: Duration::ZERO,
            first_lba: 0,
            sectors: None,
            seed: 1,
            timing: Retransmit::default(),
            waiting: Waiting::Spin,
        }
    }
}

impl LoadSpec {
    /// The sectors used on an export of `capacity` sectors, whole requests only.
    ///
    /// # Errors
    /// [`Error::Load`] if the range is outside the export or holds no request.
    pub(super) fn range(&self, capacity: u64) -> Result<std::ops::Range<u64>> {
        let (first, io) = (self.first_lba, u64::from(self.sectors_per_io));
        let sectors = self.sectors.unwrap_or(capacity.saturating_sub(first));
        let end = first.checked_add(sectors).filter(|end| *end <= capacity).ok_or_else(|| {
            Error::Load(format!(
                "{sectors} sectors from {first} on do not fit in an export of {capacity} sectors"
            ))
        })?;
        if sectors < io || io == 0 {
            return Err(Error::Load(format!("{sectors} sectors from {first} on hold no request of {io}")));
        }
        Ok(first..end - sectors % io)
    }
}

/// Bytes of a request of `sectors` sectors.
pub(crate) const fn bytes_of(sectors: u8) -> usize {
    sectors as usize * SECTOR
}
