//! `kvdel`: takes an export off a port, and its bdev with the last one if it was made for it.

use control::{DeleteExport, ExportInfo, GetExports, Method, PortRef, ShelfSlot, VlanId};
use serde_json::{Value, json};

use crate::add::{AIO, FILE, RBD};
use crate::bdev_list::{self, BdevInfo};
use crate::command::CommandError;
use crate::rpc_client::Client;

/// Deletes the export at `address` in `vlan`, or outside of any VLAN, from `port`. A bdev that `kvadd` or `--export` created for
/// it, known by its name, is deleted too if no other export and no SPDK module uses it. Other bdevs stay.
///
/// # Errors
/// One sentence; the export is still there then, unless it says otherwise.
pub fn del(
    client: &mut Client,
    address: ShelfSlot,
    vlan: Option<VlanId>,
    port: &PortRef,
    force: bool,
) -> Result<(), CommandError> {
    let before: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let request = DeleteExport { address, vlan, ports: Some(vec![port.clone()]), force };
    let _done: Value = client.call(DeleteExport::NAME, Some(request.to_params()))?;

    let after: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let at_address = |export: &&ExportInfo| (export.shelf, export.slot) == (address.shelf.0, address.slot.0);
    let unused = before
        .iter()
        .filter(at_address)
        .map(ExportInfo::own_bdev_name)
        .filter(|name| is_made_for_export(name))
        .filter(|name| !after.iter().any(|export| export.own_bdev_name() == *name));
    for name in unused {
        delete_bdev(client, address, name)?;
    }
    Ok(())
}

fn delete_bdev(client: &mut Client, address: ShelfSlot, name: &str) -> Result<(), CommandError> {
    let bdevs = bdev_list::fetch(client)?;
    let free = bdevs.iter().find(|bdev| bdev.name == name && !bdev.claimed);
    if let Some(method) = free.and_then(BdevInfo::deletion) {
        client.call::<Value>(method, Some(json!({ "name": name }))).map_err(|error| {
            CommandError::Refused(format!(
                "{address} is no longer exported, but its bdev '{name}' could not be deleted: {error}"
            ))
        })?;
    }
    Ok(())
}

/// A kind and an address, maybe with a VLAN and a port: the names that `kvadd` and `--export` give.
fn is_made_for_export(name: &str) -> bool {
    let Some((kind, place)) =
        [FILE, AIO, RBD].into_iter().find_map(|kind| Some((kind, name.strip_prefix(kind)?)))
    else {
        return false;
    };
    let address = place.split_once('@').map_or(place, |(address, _)| address);
    let address = address.split_once(".v").map_or(address, |(address, _)| address);
    address.parse().is_ok_and(|address: ShelfSlot| name.starts_with(&format!("{kind}{address}")))
}
