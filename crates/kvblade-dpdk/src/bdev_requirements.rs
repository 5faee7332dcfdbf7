//! The requirements of the configuration's bdevs on mempools and lcores. Ports start before the bdevs are created, so the
//! requirements are read from the configuration.

use std::collections::BTreeMap;
use std::path::Path;

use control::{Action, PortInfo, PortRef, PortTable, file_bdev};
use control::{CreateExport, Method};
use serde_json::Value;
use spdk::block_device::{DeviceNumber, Kernel};

use crate::export_spec::PciAddress;
use crate::payload_alignment::ALIGNMENTS;

/// The requirements of a configuration that SPDK will load.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BdevRequirements {
    /// For each export its ports, `None` for all, and its bdev's alignment, one of [`ALIGNMENTS`].
    exports: Vec<(Option<Vec<PortRef>>, u16)>,
    /// Local drives that are attached.
    pub(crate) drives: Vec<PciAddress>,
}

/// Alignments of bdevs, by name.
#[derive(Default)]
struct Bdevs {
    known: BTreeMap<String, u32>,
    /// Names of NVMe controllers. The name of a namespace's bdev is the controller's, an `n` and a number.
    controllers: Vec<String>,
    /// The largest alignment of a file.
    most: u32,
}

impl BdevRequirements {
    /// Reads a configuration of SPDK's form, in which exports are in subsystem `aoe`. Invalid entries are ignored here: SPDK
    /// reports them.
    pub(crate) fn of(document: &Value) -> Self {
        let mut needs = Self::default();
        let mut bdevs = Bdevs::default();
        for (method, params) in calls(document, "bdev") {
            bdevs.learn(method, params);
            if method == "bdev_nvme_attach_controller" {
                let address = text(params, "traddr").and_then(|address| address.parse::<PciAddress>().ok());
                needs.drives.extend(address);
            }
        }
        needs.drives.sort_unstable();
        needs.drives.dedup();
        for (method, params) in calls(document, "aoe").filter(|(method, _)| *method == CreateExport::NAME) {
            if let Ok(Action::CreateExport(export)) = Action::decode(method, Some(params)) {
                needs.exports.push((export.ports, bdevs.alignment_of(&export.bdev_name)));
            }
        }
        needs
    }

    /// The alignment, one of [`ALIGNMENTS`], that satisfies every export on this port.
    pub(crate) fn alignment_on(&self, port: &PortInfo) -> u16 {
        let table = PortTable::new(vec![port.clone()]);
        let serves = |ports: &Option<Vec<PortRef>>| match ports {
            Some(ports) => ports.iter().any(|named| table.resolve(named).is_ok()),
            None => true,
        };
        let wanted = self.exports.iter().filter(|(ports, _)| serves(ports)).map(|(_, alignment)| *alignment);
        wanted.max().unwrap_or(ALIGNMENTS[0])
    }
}

/// The addresses of every PCI device that a configuration of SPDK's form attaches.
pub(crate) fn pci_addresses(document: &Value) -> Vec<PciAddress> {
    let address = |(_, params)| text(params, "traddr")?.parse::<PciAddress>().ok();
    let mut addresses: Vec<PciAddress> = calls(document, "bdev").filter_map(address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

impl Bdevs {
    fn learn(&mut self, method: &str, params: &Value) {
        let Some(name) = text(params, "name").map(str::to_owned) else { return };
        let alignment = match method {
            file_bdev::CREATE => {
                let flag = |name: &str| params.get(name).and_then(Value::as_bool);
                let path = Path::new(text(params, "filename").unwrap_or_default());
                let device = logical_block_size(path);
                // Without a word, files that are only read go through the page cache, which takes any address.
                let is_read = flag("readonly") == Some(true) && device.is_none();
                let alignment = if flag("buffered").unwrap_or(is_read) { 0 } else { device.unwrap_or(512) };
                self.most = self.most.max(alignment);
                alignment
            }
            "bdev_aio_create" | "bdev_uring_create" | "bdev_xnvme_create" => {
                let given = params.get("block_size").and_then(Value::as_u64);
                let given = given.and_then(|bytes| u32::try_from(bytes).ok());
                let device = text(params, "filename").and_then(|path| logical_block_size(Path::new(path)));
                // A file requires its block size. A device requires its own block size or, with uring, the given one
                // (bdev_aio.c, bdev_uring.c: required_alignment).
                let alignment = match method {
                    "bdev_aio_create" => device.or(given),
                    _ => given.or(device),
                }
                .unwrap_or(512);
                self.most = self.most.max(alignment);
                alignment
            }
            "bdev_nvme_attach_controller" => {
                self.controllers.push(name);
                return;
            }
            "bdev_malloc_create" | "bdev_null_create" => 0,
            // A stacked bdev may have the requirements of those beneath it.
            _ => return,
        };
        self.known.insert(name, alignment);
    }

    fn alignment_of(&self, name: &str) -> u16 {
        let is_namespace = |controller: &String| {
            name.strip_prefix(controller.as_str()).is_some_and(|rest| rest.starts_with('n'))
        };
        let wanted = match self.known.get(name) {
            Some(alignment) => *alignment,
            None if self.controllers.iter().any(is_namespace) => 0,
            None => self.most,
        };
        let enough = ALIGNMENTS.into_iter().find(|alignment| u32::from(*alignment) >= wanted);
        enough.unwrap_or(ALIGNMENTS[ALIGNMENTS.len() - 1])
    }
}

/// Calls of one subsystem; SPDK 26.05 takes a list of calls in the place of one.
pub(crate) fn calls<'a>(
    document: &'a Value,
    subsystem: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let subsystems = document.get("subsystems").and_then(Value::as_array).into_iter().flatten();
    subsystems
        .filter(move |one| one.get("subsystem").and_then(Value::as_str) == Some(subsystem))
        .filter_map(|one| one.get("config")?.as_array())
        .flatten()
        .flat_map(|entry| entry.as_array().map_or(std::slice::from_ref(entry), Vec::as_slice))
        .filter_map(|entry| Some((entry.get("method")?.as_str()?, entry.get("params")?)))
}

fn text<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    params.get(name).and_then(Value::as_str)
}

/// The logical block size of a block device; `None` for a file, or where Linux does not say.
fn logical_block_size(path: &Path) -> Option<u32> {
    Some(Kernel::this().queue(DeviceNumber::of(path)?)?.logical_block_size)
}

/// The NUMA node of a PCI device, where it has one.
fn numa_node(address: PciAddress) -> Option<u32> {
    let node = std::fs::read_to_string(format!("/sys/bus/pci/devices/{address}/numa_node")).ok()?;
    // -1 is for none.
    node.trim().parse().ok()
}

/// Those of the lcores, each given with its node, that are on another node than the device's. Lcores and devices of an
/// unknown node do not count.
pub(crate) fn across_nodes(
    node: Option<u32>,
    lcores: impl IntoIterator<Item = (u32, Option<u32>)>,
) -> Vec<u32> {
    let Some(node) = node else { return Vec::new() };
    let elsewhere = |lcores: &(u32, Option<u32>)| lcores.1.is_some_and(|other| other != node);
    lcores.into_iter().filter(elsewhere).map(|(lcore, _)| lcore).collect()
}

/// Warns of lcores on another NUMA node than an NVMe drive's. Any lcore may do I/O on any drive.
pub(crate) fn warn_of_drives_across_nodes(drives: &[PciAddress], cores: &[u32]) {
    for drive in drives {
        let node = numa_node(*drive);
        let lcores = across_nodes(node, cores.iter().map(|core| (*core, spdk::app::numa_node(*core))));
        if !lcores.is_empty() {
            tracing::warn!(%drive, node, ?lcores, "these lcores are on another NUMA node than the drive");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(number: u16, name: &str, netif: Option<&str>) -> PortInfo {
        PortInfo { number, name: name.into(), netif: netif.map(str::to_owned), mtu: 9000, mac: [2; 6] }
    }

    fn document(bdevs: Value, exports: Value) -> Value {
        json!({ "subsystems": [
            { "subsystem": "bdev", "config": bdevs },
            { "subsystem": "accel", "config": null },
            { "subsystem": "aoe", "config": exports },
        ]})
    }

    fn export(slot: u8, bdev: &str, ports: Value) -> Value {
        let mut params = json!({ "shelf": 1, "slot": slot, "bdev_name": bdev });
        if !ports.is_null() {
            params["ports"] = ports;
        }
        json!({ "method": "aoe_create_export", "params": params })
    }

    fn bdevs() -> Value {
        json!([
            { "method": "bdev_malloc_create", "params": { "name": "m", "num_blocks": 8, "block_size": 4096 } },
            [{ "method": "bdev_aio_create", "params": { "name": "f", "filename": "/x", "block_size": 512 } }],
            { "method": "bdev_uring_create", "params": { "name": "u", "filename": "/y", "block_size": 4096 } },
            { "method": "bdev_nvme_attach_controller", "params": { "name": "c", "trtype": "PCIe", "traddr": "01:00.0" } },
            { "method": "bdev_split_create", "params": { "base_bdev": "u", "split_count": 2 } },
            { "method": "bdev_wait_for_examine" },
        ])
    }

    #[test]
    fn a_port_has_the_alignment_that_its_most_demanding_export_wants() {
        let all = document(
            bdevs(),
            json!([
                export(1, "m", json!(null)),
                export(2, "f", json!(["0000:01:00.1", 2])),
                export(3, "u", json!(["eth3"])),
                export(4, "cn1", json!([4])),
                export(5, "us0", json!([5])),
            ]),
        );
        let needs = BdevRequirements::of(&all);
        for (info, alignment) in [
            (port(0, "net_ring0", None), 4),
            (port(1, "0000:01:00.1", None), 512),
            (port(2, "net_memif0", None), 512),
            (port(3, "net_af_packet0", Some("eth3")), 4096),
            (port(4, "net_ring4", None), 4),
            (port(5, "net_ring5", None), 4096),
        ] {
            assert_eq!(needs.alignment_on(&info), alignment, "{info:?}");
        }
        assert_eq!(needs.drives, ["0000:01:00.0".parse().expect("an address")]);
    }

    #[test]
    fn a_file_wants_aligned_data_unless_it_goes_through_the_page_cache() {
        let wants = |params: Value| {
            let mut params = params;
            params["name"] = "f".into();
            params["filename"] = "/x".into();
            let bdevs = json!([{ "method": "bdev_file_create", "params": params }]);
            let needs = BdevRequirements::of(&document(bdevs, json!([export(1, "f", json!(null))])));
            needs.alignment_on(&port(0, "net_ring0", None))
        };
        for (params, alignment) in [
            (json!({}), 512),
            (json!({ "readonly": true }), 4),
            (json!({ "readonly": true, "buffered": false }), 512),
            (json!({ "buffered": true }), 4),
        ] {
            assert_eq!(wants(params.clone()), alignment, "{params}");
        }
    }

    #[test]
    fn an_export_on_all_ports_counts_for_each() {
        let needs = BdevRequirements::of(&document(bdevs(), json!([export(1, "f", json!(null))])));
        assert_eq!(needs.alignment_on(&port(7, "net_ring7", None)), 512);
    }

    #[test]
    fn what_makes_no_sense_needs_nothing() {
        for nonsense in
            [json!(null), json!({}), json!({ "subsystems": [{ "subsystem": "aoe", "config": [{}, 1] }] })]
        {
            let needs = BdevRequirements::of(&nonsense);
            assert_eq!((needs.alignment_on(&port(0, "a", None)), needs.drives.len()), (4, 0));
        }
    }

    #[test]
    fn lcores_of_other_nodes_are_named_where_nodes_are_known() {
        let lcores = [(0, Some(0)), (1, Some(1)), (2, None), (3, Some(1))];
        assert_eq!(across_nodes(Some(0), lcores), [1, 3]);
        assert_eq!(across_nodes(Some(1), lcores), [0]);
        assert!(across_nodes(None, lcores).is_empty());
        assert!(across_nodes(Some(0), []).is_empty());
    }
}
