//! Whether a request costs more where there is more of everything: exports, initiators, ports.
//!
//! All over memif, 512 bytes a read, so that the cost of a request and not that of its data shows, and always with the
//! same number of requests outstanding, the same 4 MiB read, and the same number of slots in all rings together: what is
//! in use at a time is the same, and what there is of it is more. The target's core is the narrow place, so the rate
//! is the inverse of what a request costs it.

use crate::cell::{Cell, Operation, Size};
use crate::lab::{End, Lab, LoadSpec, memif};
use crate::process::Server;
use crate::record::portable;
use crate::sample::{Comparison, Sample, bests};
use crate::weather::Watch;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests outstanding, over all targets and ports: a full burst for each of [`PORTS`].
const OUTSTANDING: u16 = 512;
/// Shelves of the many exports, which are as many on each.
pub const SHELVES: u32 = 40;
/// Fewest exports: the few that are asked are among them.
pub const EXPORTS_MIN: u32 = 16 * SHELVES;
/// Most of them: 250 slots a shelf.
pub const EXPORTS_MAX: u32 = 250 * SHELVES;
/// Where several are asked, one request at a time each: these, 32 shelves of 16 slots.
const ASKED: &str = "0-31.0-15";
const ASKED_SLOTS: u32 = 16;
/// Sectors of each: 8 KiB.
const SLICE: u32 = 16;
/// Where one is asked, it has as many sectors as those.
const WHOLE: u32 = SLICE * OUTSTANDING as u32;
/// Initiators that take turns.
const INITIATORS: u16 = 1000;
/// Ports, each with a memif connection of its own to the initiator.
const PORTS: u32 = 16;
/// The exports for those, after one that is on all ports.
const ON_PORTS: &str = "1.0-15";
/// Requests outstanding with each of them.
const EACH_ON_PORTS: u16 = 32;
const _: () = assert!(EACH_ON_PORTS as u32 * PORTS == OUTSTANDING as u32);
/// MTU of these ports: requests and replies of 512 bytes need no more.
const MTU: u16 = 1500;
/// Slots of each ring of the one port, as a power of two; of [`PORTS`] as many in all.
const RING: u32 = 10;
/// MiB of hugepages for the five servers, and the initiator: mbufs, rings, SPDK's pools.
pub const HUGEPAGES_MIB: u32 = 5 * 640 + 640;

/// What there is more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum More {
    /// Nothing: one export, one initiator, one port.
    Nothing,
    /// Many exports, 10,000 unless fewer were asked for; one is asked.
    Exports,
    /// 512 exports, all of them asked.
    ExportsAsked,
    /// Many exports, 512 of them asked.
    ExportsSomeAsked,
    /// 1,000 initiators.
    Initiators,
    /// 16 exports on one port, all of them asked.
    ExportsOnOnePort,
    /// 16 exports, each on a port of its own.
    Ports,
    /// One export on all 16 ports, over which the initiator sends its requests in turn.
    PortsOfOneExport,
}

impl More {
    const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Exports,
        Self::ExportsAsked,
        Self::ExportsSomeAsked,
        Self::Initiators,
        Self::ExportsOnOnePort,
        Self::Ports,
        Self::PortsOfOneExport,
    ];

    /// What is compared: the second with the first, and whether that is a target.
    pub const COMPARED: [(Self, Self, bool); 6] = [
        (Self::Nothing, Self::Exports, true),
        (Self::ExportsAsked, Self::ExportsSomeAsked, true),
        (Self::Nothing, Self::Initiators, true),
        (Self::ExportsOnOnePort, Self::Ports, true),
        (Self::Nothing, Self::PortsOfOneExport, true),
        // Not more exports, but more of them at work at once: more memory, and how much of it is in the caches.
        (Self::Nothing, Self::ExportsAsked, false),
    ];

    /// For a line of a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Nothing => "one of each",
            Self::Exports => "many exports, one asked",
            Self::ExportsAsked => "512 exports, all asked",
            Self::ExportsSomeAsked => "many exports, 512 asked",
            Self::Initiators => "1,000 initiators",
            Self::ExportsOnOnePort => "16 exports on one port",
            Self::Ports => "16 exports, a port each",
            Self::PortsOfOneExport => "one export on 16 ports",
        }
    }
}

/// A row: the rounds of one of these.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingSeries {
    /// What there is more of.
    pub more: More,
    /// The commands of server and load.
    pub commands: Vec<String>,
    /// A sample for each round.
    pub rounds: Vec<Sample>,
}

/// What a request costs with more of something, relative to less of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// How many times as much.
    pub figure: Comparison,
    /// The best with less, and with more.
    pub best: [Sample; 2],
}

/// What a request costs with more of something than with less; `None` if one of them was not measured.
pub fn cost(series: &[ScalingSeries], less: More, more: More) -> Option<Cost> {
    let rounds = |more| series.iter().find(|series| series.more == more).map(|series| &series.rounds[..]);
    let both = [rounds(less)?, rounds(more)?];
    let figure = Comparison::of(both, |[less, more]| less.undisturbed_iops() / more.undisturbed_iops())?;
    Some(Cost { figure, best: bests(both)? })
}

/// Runs all of them in turns, `rounds` times, many exports being `exports` in all; each sample in weather as fair as
/// `watch` has patience for.
///
/// # Errors
/// If a program fails, or a request does; if `stop` is set.
pub fn measure(
    lab: &Lab,
    exports: u32,
    rounds: u32,
    watch: &mut Watch,
    stop: &AtomicBool,
) -> Result<Vec<ScalingSeries>> {
    watch.begin(stop)?;
    eprintln!("scaling: starting 5 servers");
    let mut one = Rig::start(lab, "one", 1, &one_export(), stop)?;
    let mut few = Rig::start(lab, "few", 1, &asked_exports(), stop)?;
    let mut many = Rig::start(lab, "many", 1, &many_exports(exports), stop)?;
    let mut one_port = Rig::start(lab, "one-port", 1, &exports_on_ports(false), stop)?;
    let mut ports = Rig::start(lab, "ports", PORTS, &exports_on_ports(true), stop)?;
    let last = format!("{}.{}", SHELVES - 1, exports / SHELVES - 1);
    let mut series = More::ALL.map(|more| ScalingSeries { more, commands: Vec::new(), rounds: Vec::new() });
    for round in 1..=rounds {
        eprintln!("scaling: round {round} of {rounds}");
        for series in &mut series {
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            let (rig, target, depth, initiators) = match series.more {
                More::Nothing => (&mut one, "0.0", OUTSTANDING, 1),
                More::Exports => (&mut many, last.as_str(), OUTSTANDING, 1),
                More::ExportsAsked => (&mut few, ASKED, 1, 1),
                More::ExportsSomeAsked => (&mut many, ASKED, 1, 1),
                More::Initiators => (&mut one, "0.0", OUTSTANDING, INITIATORS),
                More::ExportsOnOnePort => (&mut one_port, ON_PORTS, EACH_ON_PORTS, 1),
                More::Ports => (&mut ports, ON_PORTS, EACH_ON_PORTS, 1),
                More::PortsOfOneExport => (&mut ports, "0.0", OUTSTANDING, 1),
            };
            let targets = [target.to_owned()];
            let load = LoadSpec { targets: &targets, initiators, mtu: MTU };
            let cell = Cell::new(Size::SECTOR, Operation::Read, depth);
            let before = watch.wait_until_fair(stop)?;
            let (command, mut sample) = rig
                .server
                .during(stop, || lab.aoeperf(rig.initiator.clone(), cell, &load, stop))
                .with_context(|| format!("scaling, {}", series.more.title()))?;
            if series.commands.is_empty() {
                series.commands = vec![portable(rig.server.command()), portable(&command)];
            }
            sample.weather_before = Some(before);
            sample.weather_after = Some(watch.probe()?);
            series.rounds.push(sample);
        }
    }
    drop((one, few, many, one_port, ports));
    lab.remove_leftovers()?;
    Ok(series.into())
}

/// A server, and the initiator's end of its ports.
struct Rig {
    server: Server,
    initiator: Vec<String>,
}

impl Rig {
    fn start(lab: &Lab, label: &str, ports: u32, config: &Value, stop: &AtomicBool) -> Result<Self> {
        let path = lab.path(&format!("{label}.json"));
        fs::write(&path, config.to_string()).with_context(|| format!("writing {}", path.display()))?;
        let ring = RING - ports.ilog2();
        let socket = |number: u32| lab.path(&format!("{label}{number}.memif"));
        let port = |number: u32, end| memif(number, &socket(number), end, SMALL_ROOM, ring);
        let eal = |end| lab.eal_with(label, end, (0..ports).map(|number| port(number, end)));
        let mut command = lab.kvblade(label, eal(End::Server));
        command.args(["--mtu", &MTU.to_string()]).arg("--config").arg(path);
        let initiator = eal(End::Initiator);
        let server = Server::start(command, "ready", stop)?.ending_with_its_peer((0..ports).map(socket));
        Ok(Self { server, initiator })
    }
}

/// Bytes of a memif slot: a frame of [`MTU`] fits.
const SMALL_ROOM: u32 = 2048;

fn one_export() -> Value {
    config(WHOLE, [export(0, 0, 0, WHOLE)])
}

/// One that all ports serve, as large as all others together, and [`PORTS`] others, on a port of their own each or all on
/// the one.
fn exports_on_ports(one_each: bool) -> Value {
    let part = WHOLE / PORTS;
    let others = (0..PORTS).map(|number| {
        let mut other = export(1, number, WHOLE + number * part, part);
        if one_each {
            other["params"]["ports"] = json!([format!("net_memif{number}")]);
        }
        other
    });
    config(2 * WHOLE, [export(0, 0, 0, WHOLE)].into_iter().chain(others))
}

/// Those that are asked and no others, each with a slice of one bdev.
fn asked_exports() -> Value {
    let slices = (0..u32::from(OUTSTANDING))
        .map(|number| export(number / ASKED_SLOTS, number % ASKED_SLOTS, number * SLICE, SLICE));
    config(WHOLE, slices)
}

/// Each has a slice of one bdev, and the last one as much as all that are asked.
fn many_exports(exports: u32) -> Value {
    let slots = exports / SHELVES;
    let last = slots * SHELVES - 1;
    let slices = (0..=last).map(|number| {
        let length = if number == last { WHOLE } else { SLICE };
        export(number / slots, number % slots, number * SLICE, length)
    });
    config(last * SLICE + WHOLE, slices)
}

fn export(shelf: u32, slot: u32, offset: u32, length: u32) -> Value {
    json!({ "method": "aoe_create_export", "params": {
        "shelf": shelf, "slot": slot, "bdev_name": "Malloc0", "offset": offset, "length": length,
    } })
}

fn config(sectors: u32, exports: impl IntoIterator<Item = Value>) -> Value {
    json!({ "subsystems": [
        { "subsystem": "bdev", "config": [{
            "method": "bdev_malloc_create",
            "params": { "name": "Malloc0", "num_blocks": sectors, "block_size": 512 },
        }] },
        { "subsystem": "aoe", "config": exports.into_iter().collect::<Vec<_>>() },
    ] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Spread;

    fn series(more: More, rates: &[f64]) -> ScalingSeries {
        let rounds = rates.iter().map(|&iops| Sample { iops, ..Sample::default() }).collect();
        ScalingSeries { more, commands: Vec::new(), rounds }
    }

    #[test]
    fn cost_is_the_inverse_of_the_rate_of_the_best_and_round_by_round() {
        let all = [series(More::Nothing, &[100.0, 50.0, 100.0]), series(More::Ports, &[80.0, 40.0, 100.0])];
        let Cost { figure: Comparison { best, rounds }, best: [one, many] } =
            cost(&all, More::Nothing, More::Ports).unwrap();
        assert_eq!(rounds, Spread { median: 1.25, min: 1.0, max: 1.25 });
        assert_eq!((best, one.iops, many.iops), (1.0, 100.0, 100.0));
        assert_eq!(cost(&all, More::Nothing, More::Exports), None);
    }

    #[test]
    fn ten_thousand_exports_are_told_apart_and_lie_side_by_side() {
        let config = many_exports(EXPORTS_MAX);
        let exports = config["subsystems"][1]["config"].as_array().unwrap();
        let mut addresses: Vec<(u64, u64)> = exports
            .iter()
            .map(|export| (&export["params"]["shelf"], &export["params"]["slot"]))
            .map(|(shelf, slot)| (shelf.as_u64().unwrap(), slot.as_u64().unwrap()))
            .collect();
        addresses.dedup();
        assert_eq!((exports.len(), addresses.len(), addresses[9999]), (10_000, 10_000, (39, 249)));
        assert_eq!(exports[9999]["params"]["offset"], 9999 * SLICE);
        assert_eq!(exports[9999]["params"]["length"], WHOLE, "the one that is asked alone");
        assert_eq!(config["subsystems"][0]["config"][0]["params"]["num_blocks"], 9999 * SLICE + WHOLE);
        let asked = asked_exports();
        let asked = asked["subsystems"][1]["config"].as_array().unwrap();
        assert_eq!(
            (asked.len(), &asked[511]["params"]["shelf"], &asked[511]["params"]["slot"]),
            (512, &json!(31), &json!(15))
        );
    }
}
