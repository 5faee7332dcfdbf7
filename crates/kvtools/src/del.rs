//! `kvdel`: takes an export off a port, and its bdev with the last one if it was made for it.

use std::collections::BTreeSet;
use std::time::Duration;

use control::{DeleteExport, ExportInfo, GetExports, Method, PortRef, ShelfSlot, VlanId};
use serde_json::{Value, json};

use crate::add::{AIO, FILE, RBD};
use crate::bdev_list::{self, BdevInfo};
use rpc_client::command::CommandError;
use rpc_client::{Client, ClientError};

/// Time that a bdev of quarantined requests has to go, before the command ends without waiting for it.
const GRACE: Duration = Duration::from_secs(1);

/// Deletes the export at `address` in `vlan`, or outside of any VLAN, from `port`. A bdev that `kvadd` or `--export` created for
/// it, known by its name, is deleted too if no other export and no SPDK module uses it. Other bdevs stay.
///
/// A bdev that still has requests of the export, which was deleted by force, goes when it has answered them. Returns what is to be
/// printed: a line for each such bdev.
///
/// # Errors
/// One sentence; the export is still there then, unless it says otherwise.
pub fn del(
    client: &mut Client,
    address: ShelfSlot,
    vlan: Option<VlanId>,
    port: &PortRef,
    force: bool,
) -> Result<String, CommandError> {
    let before: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let request = DeleteExport { address, vlan, ports: Some(vec![port.clone()]), force };
    let _done: Value = client.call(DeleteExport::NAME, Some(request.to_params()))?;

    let after: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let at_address = |export: &&ExportInfo| (export.shelf, export.slot) == (address.shelf.0, address.slot.0);
    let made: BTreeSet<&str> = before
        .iter()
        .filter(at_address)
        .map(ExportInfo::own_bdev_name)
        .filter(|name| is_made_for_export(name))
        .collect();
    let mut text = String::new();
    for name in made {
        let mut users = after.iter().filter(|export| export.own_bdev_name() == name).peekable();
        if users.peek().is_none() {
            delete_bdev(client, address, name)?;
        } else if users.all(|export| export.state == QUARANTINED && !export.options.read_only) {
            text += &delete_held_bdev(client, address, name)?;
        }
    }
    Ok(text)
}

/// The state of an export that was deleted by force and has requests in flight.
const QUARANTINED: &str = "quarantined";

/// Has SPDK delete a bdev that has quarantined requests, and is claimed for them: it does so when they have ended, whether this
/// program waits for it or not.
fn delete_held_bdev(client: &mut Client, address: ShelfSlot, name: &str) -> Result<String, CommandError> {
    let bdev = bdev_list::find(client, name)?;
    let Some(method) = bdev.as_ref().and_then(BdevInfo::deletion) else {
        return Ok(String::new());
    };
    match client.call_within(GRACE, method, Some(json!({ "name": name }))) {
        Ok::<Value, _>(_) => Ok(String::new()),
        Err(ClientError::Timeout { .. }) => {
            client.reconnect()?;
            Ok(format!(
                "{address} is no longer exported; its bdev '{name}' goes when it has answered the requests in flight\n"
            ))
        }
        Err(error) => Err(not_deleted(address, name, &error)),
    }
}

fn delete_bdev(client: &mut Client, address: ShelfSlot, name: &str) -> Result<(), CommandError> {
    let free = bdev_list::find(client, name)?.filter(|bdev| !bdev.claimed);
    if let Some(method) = free.as_ref().and_then(BdevInfo::deletion) {
        let deleted = client.call::<Value>(method, Some(json!({ "name": name })));
        deleted.map_err(|error| not_deleted(address, name, &error))?;
    }
    Ok(())
}

fn not_deleted(address: ShelfSlot, name: &str, error: &ClientError) -> CommandError {
    CommandError::Refused(format!(
        "{address} is no longer exported, but its bdev '{name}' could not be deleted: {error}"
    ))
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
