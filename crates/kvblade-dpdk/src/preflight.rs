//! Checks of the machine against the command line, before EAL starts.
//!
//! EAL and SPDK find most of these faults too, but report them in many lines and halfway through their start. Each check
//! here ends in one sentence with the remedy.

mod host;
mod hugepages;
mod memif_socket;
pub(crate) mod reserve;
mod rpc_socket;

use std::fs;
use std::path::Path;

use crate::command_line::CommandLine;
use crate::export_spec::PciAddress;
use crate::launch_config::LaunchConfig;
use crate::launch_error::LaunchError;
pub(crate) use host::Host;
pub(crate) use rpc_socket::{own_socket, spdk_socket};

/// Drivers that hand a PCI device to DPDK and SPDK.
const USER_SPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Refuses to run without root's rights. Comes before any file is read.
///
/// # Errors
/// One sentence.
pub(crate) fn check_user(host: &Host) -> Result<(), LaunchError> {
    if host.is_root {
        return Ok(());
    }
    Err(LaunchError::environment(
        "this needs root, for hugepages and network ports: run it as root, for example with sudo",
    ))
}

/// Checks everything else.
///
/// # Errors
/// One sentence for the first thing that is missing.
pub(crate) fn check(command: &CommandLine, launch: &LaunchConfig, host: &Host) -> Result<(), LaunchError> {
    rpc_socket::check(&command.rpc_socket, command.take_over)?;
    memif_socket::check(command.eal.vdevs())?;
    check_lcores(command, host)?;
    launch.nvme.iter().try_for_each(|address| check_bus(*address, command))?;
    if command.strict {
        check_disks(launch, host)?;
    }
    hugepages::check(command, launch, host)
}

/// Checks the facts that a running target does not change: lcores, files and drives.
///
/// # Errors
/// One sentence for the first thing that is missing.
pub(crate) fn check_devices(
    command: &CommandLine,
    launch: &LaunchConfig,
    host: &Host,
) -> Result<(), LaunchError> {
    check_lcores(command, host)?;
    launch.nvme.iter().try_for_each(|address| check_bus(*address, command))?;
    check_disks(launch, host)
}

fn check_lcores(command: &CommandLine, host: &Host) -> Result<(), LaunchError> {
    let lacks = |lcore: &&u32| !host.at(&format!("/sys/devices/system/cpu/cpu{lcore}")).exists();
    let Some(lcore) = command.eal.lcores.iter().find(lacks) else { return Ok(()) };
    let present = host.read("/sys/devices/system/cpu/present").unwrap_or_else(|| "unknown".into());
    Err(LaunchError::environment(format!(
        "lcore {lcore} is asked for and this machine has no such CPU: its CPUs are {}",
        present.trim()
    )))
}

fn check_bus(address: PciAddress, command: &CommandLine) -> Result<(), LaunchError> {
    if !command.eal.no_pci {
        return Ok(());
    }
    Err(LaunchError::usage(format!(
        "drive nvme:{address} is on the PCI bus, which the EAL option --no-pci keeps closed: leave out one of them"
    )))
}

/// For `--strict` and `--check`: every file and drive of an `--export` must be there.
fn check_disks(launch: &LaunchConfig, host: &Host) -> Result<(), LaunchError> {
    let drives = launch.nvme.iter().filter_map(|address| drive_fault(*address, host));
    let faults: Vec<String> = launch.missing.iter().cloned().chain(drives).collect();
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(LaunchError::environment(one)),
        all => {
            Err(LaunchError::environment(format!("{} disks are missing:\n  {}", all.len(), all.join("\n  "))))
        }
    }
}

/// Why SPDK could not attach a drive now; one sentence.
pub(crate) fn drive_fault(address: PciAddress, host: &Host) -> Option<String> {
    let device = host.at(&format!("/sys/bus/pci/devices/{address}"));
    if !device.exists() {
        return Some(format!(
            "drive nvme:{address} does not exist: nvme: takes the address of a drive as lspci -D shows it"
        ));
    }
    let driver = fs::read_link(device.join("driver"));
    let driver = driver.as_deref().ok().and_then(Path::file_name).map(|name| name.to_string_lossy());
    if driver.as_deref().is_some_and(|name| USER_SPACE_DRIVERS.contains(&name)) {
        return None;
    }
    Some(format!(
        "drive nvme:{address} is bound to {}: bind it to vfio-pci or uio_pci_generic first, for example with \
         dpdk-devbind.py -b vfio-pci {address}",
        driver.map_or("no driver".into(), |name| format!("driver '{name}'"))
    ))
}

#[cfg(test)]
mod tests;
