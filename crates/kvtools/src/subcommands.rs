//! The program `kv` with its subcommands, and the commands that had names of their own before it.
//!
//! The word by which the program is called decides: `kvadd`, `kvdel`, `kvstat` and `kvannounce` are links to it in packages, and
//! behave as the programs of these names did.

mod add;
mod announce;
mod change;
mod completion;
mod config;
mod del;
mod health;
mod initiators;
mod latency;
mod lcores;
mod ports;
mod stat;
mod support_bundle;
mod upgrade;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::top::TopArgs;
use rpc_client::command::{self, CommandError, Connection, Outcome, run_words};

/// Manage and watch a running kvblade-dpdk
#[derive(Debug, Parser)]
#[command(name = "kv", version, disable_help_subcommand = true, arg_required_else_help = false)]
struct Kv {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    subcommand: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    Add(add::AddArgs),
    Del(del::DelArgs),
    Stat(stat::StatArgs),
    Announce(announce::AnnounceArgs),
    Set(change::SetArgs),
    Replace(change::ReplaceArgs),
    Qos(change::QosArgs),
    Initiators(initiators::InitiatorsArgs),
    Ports(ports::PortsArgs),
    Lcores(lcores::LcoresArgs),
    Health(health::HealthArgs),
    Latency(latency::LatencyArgs),
    Top(TopArgs),
    Config(config::ConfigArgs),
    SupportBundle(support_bundle::SupportBundleArgs),
    Upgrade(upgrade::UpgradeArgs),
    Completion(completion::CompletionArgs),
}

impl Kv {
    fn carry_out(self) -> Result<Outcome, CommandError> {
        let connection = &self.connection;
        match self.subcommand {
            Kind::Add(args) => args.carry_out(connection),
            Kind::Del(args) => args.carry_out(connection),
            Kind::Stat(args) => args.carry_out(connection),
            Kind::Announce(args) => args.carry_out(connection),
            Kind::Set(args) => args.carry_out(connection),
            Kind::Replace(args) => args.carry_out(connection),
            Kind::Qos(args) => args.carry_out(connection),
            Kind::Initiators(args) => args.carry_out(connection),
            Kind::Ports(args) => args.carry_out(connection),
            Kind::Lcores(args) => args.carry_out(connection),
            Kind::Health(args) => args.carry_out(connection),
            Kind::Latency(args) => args.carry_out(connection),
            Kind::Top(args) => args.carry_out(connection),
            Kind::Config(args) => args.carry_out(connection),
            Kind::SupportBundle(args) => args.carry_out(connection),
            Kind::Upgrade(args) => args.carry_out(connection),
            Kind::Completion(args) => args.carry_out(Kv::command),
        }
    }
}

/// The program under the name by which it is called.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    match called {
        Some("kvadd") => kvadd(),
        Some("kvdel") => kvdel(),
        Some("kvstat") => kvstat(),
        Some("kvannounce") => kvannounce(),
        _ => kv(&words),
    }
}

fn kv(words: &[OsString]) -> ExitCode {
    let subcommand = subcommand_of(words);
    let help = subcommand.as_ref().map_or("kv".to_owned(), |name| format!("kv {name}"));
    // Programs for monitoring must not take an error for a verdict.
    let failure = (subcommand.as_deref() == Some("health")).then_some(health::UNKNOWN);
    run_words(words, &help, failure, Kv::carry_out)
}

/// The first word that names a subcommand.
fn subcommand_of(words: &[OsString]) -> Option<String> {
    let command = Kv::command();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    words.find(|word| command.find_subcommand(word).is_some()).map(str::to_owned)
}

/// Serve a file, block device or bdev as an AoE device
///
/// Example: kvadd 1 3 eth0 /dev/sdb
#[derive(Debug, Parser)]
#[command(name = "kvadd", version)]
struct Kvadd {
    #[command(flatten)]
    args: add::AddArgs,
    #[command(flatten)]
    connection: Connection,
}

/// Stop serving an AoE device on an interface; what is in flight is answered first
///
/// Example: kvdel 1 3 eth0
#[derive(Debug, Parser)]
#[command(name = "kvdel", version)]
struct Kvdel {
    #[command(flatten)]
    args: del::DelArgs,
    #[command(flatten)]
    connection: Connection,
}

/// List what is served: device, interface, size in GB (10^9 bytes), file or bdev, and what is not usual
#[derive(Debug, Parser)]
#[command(name = "kvstat", version)]
struct Kvstat {
    #[command(flatten)]
    connection: Connection,
}

/// Broadcast the advertisement of AoE devices, so that initiators find them
///
/// Without a shelf all devices are advertised, without a slot those of the shelf.
#[derive(Debug, Parser)]
#[command(name = "kvannounce", version)]
struct Kvannounce {
    #[command(flatten)]
    args: announce::AnnounceArgs,
    #[command(flatten)]
    connection: Connection,
}

/// The command `kvadd`.
fn kvadd() -> ExitCode {
    command::run(|kvadd: Kvadd| kvadd.args.carry_out(&kvadd.connection))
}

/// The command `kvdel`.
fn kvdel() -> ExitCode {
    command::run(|kvdel: Kvdel| kvdel.args.carry_out(&kvdel.connection))
}

/// The command `kvstat`.
fn kvstat() -> ExitCode {
    command::run(|kvstat: Kvstat| crate::stat::stat(&mut kvstat.connection.open()?))
}

/// The command `kvannounce`.
fn kvannounce() -> ExitCode {
    command::run(|kvannounce: Kvannounce| kvannounce.args.carry_out(&kvannounce.connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_has_no_contradictions() {
        Kv::command().debug_assert();
        Kvadd::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_does() {
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some_and(|about| about.to_string().len() > 20), "{command}");
            command.get_subcommands().for_each(look);
        }
        look(&Kv::command());
    }

    #[test]
    fn the_subcommand_is_found_behind_options() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            subcommand_of(&words)
        };
        assert_eq!(of("kv -s /run/rpc.sock health --json").as_deref(), Some("health"));
        assert_eq!((of("kv"), of("kv --version")), (None, None));
    }
}
