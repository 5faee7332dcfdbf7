//! The distribution of the started ports' frames over the lcores, as planned.

use aoe_target::{MacAddr, PortId};
use datapath::{DistributeBy, DistributedPort, Distribution, Parts};
use dpdk::{EalStarted, FlowRule, Port};

use super::options::PortOptions;
use super::planned::Planned;
use crate::distribution::{DistributionMode, Way};

/// Makes the NIC of a started port distribute frames over its queues, as far as it can. Returns the MAC address of each
/// queue.
pub(super) fn spread_over(
    port: &Port,
    planned: &Planned<'_>,
    options: &PortOptions,
) -> Result<Vec<MacAddr>, String> {
    let Planned { info, cores, plan, .. } = planned;
    let name = &info.name;
    let mut macs = vec![MacAddr(info.mac); cores.len()];
    let mut why = plan.why.clone();
    match &plan.way {
        Way::AsTheyCome | Way::Software => {}
        Way::Rss(rule) => {
            if let Err(refused) = port.apply(rule) {
                let sentence = format!("port {name} takes the rule '{rule}' and then does not: {refused}");
                if options.spread.mode == DistributionMode::Rss {
                    return Err(sentence);
                }
                tracing::warn!("{sentence}: the NIC puts frames in its queues as it likes");
            }
        }
        Way::Macs(given) => {
            macs.clone_from(given);
            why = steer(port, name, given);
        }
    }
    tracing::info!(port = %name, spread = %plan.way, lcores = cores.len(), "frames are spread over lcores: {why}");
    Ok(macs)
}

/// The lcores' parts in handing each other frames, for each port: however a frame gets into a queue, the lcore that owns
/// the export serves it. `None` with one lcore. `mbufs` has the number of mbufs of each port.
pub(super) fn parts_of(
    eal: EalStarted,
    ports: &[Planned<'_>],
    lcores: &[u32],
    mbufs: &[u32],
) -> Result<Option<Vec<Parts>>, String> {
    if lcores.len() < 2 {
        return Ok(None);
    }
    let number = |core: &u32| lcores.iter().position(|lcore| lcore == core).unwrap_or(usize::MAX);
    let ports = ports.iter().zip(mbufs).map(|(port, mbufs)| DistributedPort {
        port: PortId(port.info.number),
        lcores: port.cores.iter().map(number).collect(),
        by: match &port.plan.way {
            Way::Macs(given) => DistributeBy::Address(given.clone()),
            Way::AsTheyCome | Way::Rss(_) | Way::Software => DistributeBy::Export,
        },
        // A ring has room for every mbuf.
        capacity: *mbufs,
        numa_node: port.cores.first().and_then(|core| spdk::app::numa_node(*core)),
    });
    let ports: Vec<DistributedPort> = ports.collect();
    let parts = Distribution::among(eal, lcores.len(), &ports).map_err(|error| {
        format!("rings between {} lcores for {} ports: {error}", lcores.len(), ports.len())
    })?;
    Ok(Some(parts))
}

/// Steers frames for each MAC address to its queue, as far as the NIC can, and returns a sentence about how far that is.
/// Lcores hand over frames that arrive at another queue.
fn steer(port: &Port, name: &str, macs: &[MacAddr]) -> String {
    let list = macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let further = macs.iter().skip(1);
    let added: dpdk::Result<()> = further.clone().try_for_each(|mac| port.add_address(mac.0));
    if let Err(error) = added
        && let Err(also) = port.receive_all()
    {
        tracing::info!(
            port = %name,
            "the port takes no further MAC addresses ({error}), and is not made promiscuous ({also}): it has to \
             pass on frames for them by itself"
        );
    }
    let steered =
        (0u16..).zip(macs).try_for_each(|(queue, mac)| port.apply(&FlowRule::Steer { to: mac.0, queue }));
    match steered {
        Ok(()) => format!("MAC addresses {list}, each steered to its queue by the NIC"),
        Err(refused) => {
            format!("MAC addresses {list}, sorted out by the lcores, as the NIC does not steer: {refused}")
        }
    }
}
