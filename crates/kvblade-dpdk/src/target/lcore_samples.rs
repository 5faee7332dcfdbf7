//! Samples of the lcores' load, and what is known of lcores beside their counters.

use std::collections::BTreeMap;
use std::time::Instant;

use control::LcoreFacts;
use spdk::CurrentThread;

use super::control_plane::{Target, with};

impl Target {
    /// Takes a sample of each lcore, for `aoe_get_lcores` and `aoe_get_initiators`. An lcore without requests in flight has no
    /// initiators to look at.
    pub(super) fn sample_lcores(&self) {
        self.lcores.run(
            |lcore| {
                lcore.sample_initiators();
                CurrentThread::with(|thread| thread.time())
            },
            |core, time| {
                // An lcore that has exited has no load. Its thread is one of SPDK's as long as it runs messages.
                if let Ok(Ok(time)) = time {
                    with(|target| target.lcore_load.note(core, Instant::now(), time));
                }
            },
        );
    }

    /// What is known of the lcores beside their counters, with the busy share over so many seconds.
    pub(super) fn lcore_facts(&self, seconds: u64) -> BTreeMap<u32, LcoreFacts> {
        let facts = |core| LcoreFacts {
            cpus: self.lcore_load.cpus(core),
            numa_node: spdk::app::numa_node(core),
            busy: self.lcore_load.busy(core, seconds),
        };
        self.lcores.iter().map(|lcore| (lcore.core(), facts(lcore.core()))).collect()
    }
}
