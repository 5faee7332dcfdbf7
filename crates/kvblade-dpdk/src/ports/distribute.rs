//! The distribution of a started port's frames over its lcores, as planned.

use aoe_target::{MacAddr, PortId};
use datapath::{DistributeBy, Distribution};
use dpdk::{EalStarted, FlowRule, Port};

use super::{options::PortOptions, pools::shared_mbufs};
use crate::distribution::{DistributionMode, Plan, Way};

/// Sets up the distribution of a started port's frames. Returns, for each queue, its MAC address and its end of the rings
/// between lcores, where there are any.
pub(super) fn spread_over(
    port: &Port,
    info: &dpdk::PortInfo,
    cores: &[u32],
    plan: &Plan,
    options: &PortOptions,
    eal: EalStarted,
) -> Result<Vec<(MacAddr, Option<Distribution>)>, String> {
    let name = &info.name;
    let queues = cores.len();
    let mut macs = vec![MacAddr(info.mac); queues];
    let mut why = plan.why.clone();
    // However a frame gets into a queue, the lcore that owns the export serves it.
    let by_export = (queues > 1).then_some(DistributeBy::Export);
    let by = match &plan.way {
        Way::AsTheyCome => by_export,
        Way::Rss(rule) => {
            if let Err(refused) = port.apply(rule) {
                let sentence = format!("port {name} takes the rule '{rule}' and then does not: {refused}");
                if options.spread.mode == DistributionMode::Rss {
                    return Err(sentence);
                }
                tracing::warn!("{sentence}: the NIC puts frames in its queues as it likes");
            }
            by_export
        }
        Way::Macs(given) => {
            macs.clone_from(given);
            why = steer(port, name, given);
            Some(DistributeBy::Address(given.clone()))
        }
        Way::Software => by_export,
    };
    let parts = match by {
        None => (0..queues).map(|_| None).collect::<Vec<_>>(),
        Some(by) => {
            let mbufs = shared_mbufs(options.mbufs, queues);
            let node = cores.first().and_then(|core| spdk::app::numa_node(*core));
            // A ring has room for every mbuf.
            let parts = Distribution::over(eal, PortId(info.number), queues, &by, mbufs, node)
                .map_err(|error| format!("port {name}: rings between {queues} lcores: {error}"))?;
            parts.into_iter().map(Some).collect()
        }
    };
    tracing::info!(port = %name, spread = %plan.way, lcores = queues, "frames are spread over lcores: {why}");
    Ok(macs.into_iter().zip(parts).collect())
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
