//! The mempools of ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpdk::{DataAlignment, EalStarted, Mempool};

use super::data_room::{MbufSpec, SharedBy};

/// The mempools that ports share, for all lcores.
#[derive(Default)]
pub(super) struct Pools(BTreeMap<Kind, LcorePool>);

/// The properties that are equal for all ports that share a mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    core: u32,
    room: u16,
    /// Alignment of the data, in bytes; 0 without one.
    alignment: u16,
}

impl Kind {
    fn of(core: u32, spec: &MbufSpec) -> Self {
        Self { core, room: spec.data_room, alignment: spec.alignment.map_or(0, |alignment| alignment.bytes) }
    }
}

/// An lcore's mempool for all ports of a kind; made for the first of them.
#[derive(Debug, Default)]
struct LcorePool {
    mbufs: u32,
    made: Option<Arc<Mempool>>,
}

impl Pools {
    /// Adds the mbufs of a port on `cores` to the mempools that it shares. Call it for all ports before the first start.
    pub(super) fn expect(&mut self, cores: &[u32], spec: &MbufSpec) {
        if spec.shared_by != SharedBy::Lcore {
            return;
        }
        for core in cores {
            let pool = self.0.entry(Kind::of(*core, spec)).or_default();
            pool.mbufs = pool.mbufs.saturating_add(spec.count).saturating_add(spec.for_others);
        }
    }

    /// The mempool of each queue of a port, one on each of `cores`. [`Pools::expect`] comes first.
    ///
    /// # Errors
    /// A sentence about the memory that is missing, and the remedy.
    pub(super) fn of(
        &mut self,
        eal: EalStarted,
        info: &dpdk::PortInfo,
        cores: &[u32],
        spec: &MbufSpec,
    ) -> Result<Vec<Arc<Mempool>>, String> {
        let (port, room) = (info.number, spec.data_room);
        if let (SharedBy::Port, [first, ..]) = (spec.shared_by, cores) {
            let mbufs = shared_mbufs(spec.count, cores.len()).saturating_add(spec.for_others);
            let shared = make(eal, &format!("aoe_p{port}r{room}"), mbufs, *first, spec)?;
            return Ok(cores.iter().map(|_| Arc::clone(&shared)).collect());
        }
        let pool_of = |(queue, core): (usize, &u32)| {
            if spec.shared_by != SharedBy::Lcore {
                let mbufs = spec.count.saturating_add(spec.for_others);
                return make(eal, &format!("aoe_p{port}q{queue}r{room}"), mbufs, *core, spec);
            }
            let kind = Kind::of(*core, spec);
            let LcorePool { mbufs, made } = self.0.entry(kind).or_default();
            if let Some(made) = made {
                return Ok(Arc::clone(made));
            }
            let name = format!("aoe_c{core}r{room}a{}", kind.alignment);
            Ok(Arc::clone(made.insert(make(eal, &name, *mbufs, *core, spec)?)))
        };
        cores.iter().enumerate().map(pool_of).collect()
    }
}

/// A mempool on the node of `core`.
fn make(eal: EalStarted, name: &str, mbufs: u32, core: u32, spec: &MbufSpec) -> Result<Arc<Mempool>, String> {
    let (room, node, private) = (spec.data_room, spdk::app::numa_node(core), datapath::private_size());
    let made = match spec.alignment {
        Some(alignment) => Mempool::aligned(eal, name, mbufs, private, room, node, alignment),
        None => Mempool::new(eal, name, mbufs, private, room, node),
    };
    made.map_err(|error| {
        let megabytes = (u64::from(mbufs) * u64::from(room)) >> 20;
        let advice = spec.alignment.map_or(String::new(), |DataAlignment { bytes, .. }| {
            format!(", or data aligned to less than {bytes} bytes with --payload-alignment")
        });
        format!(
            "no memory for {mbufs} mbufs of {room} bytes for lcore {core}, {megabytes} MB ({error}): reserve more hugepages, \
             or ask for fewer with --mbufs{advice}"
        )
    })
}

/// Mbufs of the one pool of a port whose frames go from lcore to lcore: as many as its queues would have together, since
/// the rx queue that receives the frames supplies every lcore and every tx ring.
fn shared_mbufs(mbufs: u32, queues: usize) -> u32 {
    mbufs.saturating_mul(u32::try_from(queues).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lcores_ports_have_as_many_mbufs_together_as_they_would_have_alone() {
        let mbufs = |data_room, shared_by| MbufSpec {
            data_room,
            count: 4095,
            for_others: 0,
            alignment: None,
            shared_by,
        };
        let alignment = DataAlignment { offset: datapath::PAYLOAD, bytes: 512 };
        let mut pools = Pools::default();
        pools.expect(&[0, 1], &mbufs(2048, SharedBy::Lcore));
        pools.expect(&[0], &mbufs(2048, SharedBy::Lcore));
        pools.expect(&[0], &MbufSpec { for_others: 1000, ..mbufs(9088, SharedBy::Lcore) });
        pools.expect(&[0], &MbufSpec { alignment: Some(alignment), ..mbufs(2048, SharedBy::Lcore) });
        pools.expect(&[0], &mbufs(2048, SharedBy::Nobody));
        pools.expect(&[0, 1], &mbufs(2048, SharedBy::Port));
        let all = pools
            .0
            .iter()
            .map(|(Kind { core, room, alignment }, pool)| (*core, *room, *alignment, pool.mbufs));
        let expected = [(0, 2048, 0, 8190), (0, 2048, 512, 4095), (0, 9088, 0, 5095), (1, 2048, 0, 4095)];
        assert_eq!(all.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_ports_whose_pmd_copies_share_with_others() {
        let of = |driver| SharedBy::of(driver, false);
        assert_eq!(["net_memif", "net_vhost", "net_af_packet"].map(of), [SharedBy::Lcore; 3]);
        assert_eq!(["net_ixgbe", "net_tap", "net_ring"].map(of), [SharedBy::Nobody; 3]);
        assert_eq!(SharedBy::of("net_memif", true), SharedBy::Port);
    }
}
