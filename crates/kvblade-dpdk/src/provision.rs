//! Completes EAL's options: interfaces become ports, an lcore is chosen, and PCI devices that nobody asked for are not
//! probed.

use std::path::{Path, PathBuf};

use control::error::Quoted;
use dpdk::Interface;
use nix::net::if_::{if_nameindex, if_nametoindex};

use crate::bdev_requirements;
use crate::command_line::CommandLine;
use crate::export_spec::PciAddress;
use crate::interfaces::packet_port;
use crate::launch_config::LaunchConfig;
use crate::launch_error::LaunchError;
use crate::lcore_choice::{self, Choice, Served};
use crate::preflight::{Host, reserve};

/// The decisions made for the operator.
#[derive(Debug)]
pub(crate) struct Provision {
    /// Estimate of the hugepage memory in use later, in bytes.
    pub(crate) needed: u64,
    /// The chosen lcore, if the operator named none.
    chosen: Option<Choice>,
}

impl Provision {
    /// Logs the choices, and a warning if hugepages may be too few.
    pub(crate) fn log(&self, command: &CommandLine, host: &Host) {
        if let Some(Choice { cpu, why }) = &self.chosen {
            tracing::info!(lcore = cpu, "this CPU polls: {why}; -l chooses others");
        }
        if let Some(free) = reserve::shortage(command, self.needed, host) {
            tracing::warn!(
                "about {} MiB of hugepages are needed and {} MiB are free: --hugepages auto reserves what is missing",
                self.needed >> 20,
                free >> 20
            );
        }
    }
}

/// Completes EAL's options.
///
/// # Errors
/// One sentence that names the interface that does not exist, or whose MTU no port can have.
pub(crate) fn complete(
    command: &mut CommandLine,
    launch: &LaunchConfig,
    host: &Host,
) -> Result<Provision, LaunchError> {
    let mtus = command.interfaces.iter().map(|name| mtu(name)).collect::<Result<Vec<_>, _>>()?;
    let chosen = choose_lcore(command, host)?;
    let lcores = command.eal.lcores.len();
    let mut frames = Vec::new();
    for (name, mtu) in command.interfaces.iter().zip(mtus) {
        let port = packet_port(name, mtu, lcores)?;
        command.eal.add_vdev(&port.vdev);
        frames.push(port.frame);
    }
    leave_pci_alone(command, &bdev_requirements::pci_addresses(&launch.document));
    Ok(Provision { needed: reserve::needed(command, launch, &frames), chosen })
}

/// The line that `--check` prints.
pub(crate) fn summary(command: &CommandLine, needed: u64) -> String {
    format!(
        "the configuration is right: {} exports of its own, interfaces {}, lcores {}, about {} MiB of hugepages",
        command.exports.len(),
        if command.interfaces.is_empty() { "none".into() } else { command.interfaces.join(", ") },
        crate::eal_options::ranges(&command.eal.lcores),
        needed >> 20,
    )
}

/// The MTU of an interface in this process's network namespace.
fn mtu(name: &str) -> Result<u32, LaunchError> {
    let found = if_nametoindex(name).ok().and_then(|index| Interface::by_index(index).ok());
    found.map(|interface| interface.mtu).ok_or_else(|| {
        let mut others = Vec::new();
        if let Ok(interfaces) = if_nameindex() {
            others.extend(interfaces.iter().map(|one| one.name().to_string_lossy().into_owned()));
        }
        others.retain(|name| name != "lo");
        let others = if others.is_empty() { "none but lo".into() } else { others.join(", ") };
        LaunchError::environment(format!(
            "--interface {}: there is no such network interface here: there are {others}",
            Quoted(name)
        ))
    })
}

fn choose_lcore(command: &mut CommandLine, host: &Host) -> Result<Option<Choice>, LaunchError> {
    if !command.eal.lcores.is_empty() {
        return Ok(None);
    }
    if let Some(main) = command.eal.main_lcore {
        command.eal.poll_on(main);
        return Ok(None);
    }
    let paths = command.exports.iter().filter_map(|export| export.bdev.path());
    let files: Vec<PathBuf> = paths.map(Path::to_owned).collect();
    let choice = lcore_choice::choose(host, &Served { interfaces: command.interfaces.clone(), files })?;
    command.eal.poll_on(choice.cpu);
    Ok(Some(choice))
}

/// Restricts PCI probing where interfaces are named. Otherwise EAL takes every NIC that is bound to a user-space driver. Only
/// served drives, and the devices that the operator allows, are probed.
fn leave_pci_alone(command: &mut CommandLine, served: &[PciAddress]) {
    let eal = &mut command.eal;
    if command.interfaces.is_empty() || eal.chooses_pci_devices() {
        return;
    }
    if served.is_empty() {
        eal.no_pci = true;
    }
    for address in served {
        eal.allow(&address.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command_line;

    #[test]
    fn pci_devices_are_probed_only_if_asked_for() {
        let drive: PciAddress = "0000:01:00.0".parse().expect("an address");
        for (line, served, no_pci, allowed) in [
            ("--interface eth1", &[][..], true, &[][..]),
            ("--interface eth1", &[drive], false, &["0000:01:00.0"]),
            ("--interface eth1 -a 03:00.0", &[], false, &["03:00.0"]),
            ("--interface eth1 --allow=03:00.0", &[drive], false, &["03:00.0"]),
            ("--interface eth1 --block 03:00.0", &[drive], false, &[]),
            ("--vdev=net_null0", &[drive], false, &[]),
            ("--no-pci", &[], true, &[]),
        ] {
            let mut command = command_line(line);
            leave_pci_alone(&mut command, served);
            assert_eq!(command.eal.no_pci, no_pci, "{line}");
            assert_eq!(command.eal.allowed().collect::<Vec<_>>(), allowed, "{line}");
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_beside_those_that_are() {
        let error = mtu("nosuch0").expect_err("not there");
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("'nosuch0'") && error.to_string().contains("there are "),
            "{error}"
        );
        assert!(mtu("lo").is_ok_and(|mtu| mtu >= 1500));
    }

    #[test]
    fn lcores_that_were_named_stay() {
        for (line, lcores) in [("-l 0-1", "0-1"), ("--main-lcore 1", "1")] {
            let mut command = command_line(line);
            assert_eq!(choose_lcore(&mut command, &Host::this()), Ok(None));
            assert_eq!(crate::eal_options::ranges(&command.eal.lcores), lcores);
        }
        let mut command = command_line("");
        let choice =
            choose_lcore(&mut command, &Host::this()).expect("there is a CPU").expect("none was named");
        assert_eq!(command.eal.lcores.iter().copied().collect::<Vec<_>>(), [choice.cpu]);
    }
}
