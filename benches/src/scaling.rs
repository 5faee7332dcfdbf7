//! Whether a request costs more where there is more of everything: exports, initiators, ports.
//!
//! All over memif, 512 bytes a read, so that the cost of a request and not that of its data shows, and always with the
//! same number of requests outstanding, the same 4 MiB read, and the same number of slots in all rings together: the amount
//! in use at a time is the same, and there is more to choose from. The target's core is the narrow place, so the rate is the
//! inverse of a request's cost.

use crate::case::{Case, Disk, Operation};
use crate::lab::Lab;
use crate::report::human;
use crate::spdk_programs::{call, config};
use crate::stats::{Interval, Sample};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Requests outstanding, over all targets and ports.
const OUTSTANDING: u16 = 256;
/// Shelves of the many exports, which are as many on each.
pub const SHELVES: u32 = 40;
/// Fewest of many exports: those that are asked are among them.
pub const EXPORTS_MIN: u32 = 8 * SHELVES;
/// Most of many exports: 250 slots a shelf.
pub const EXPORTS_MAX: u32 = 250 * SHELVES;
/// The exports that are asked where several are, one request at a time each: 32 shelves of 8 slots.
const ASKED: &str = "0-31.0-7";
const ASKED_SLOTS: u32 = 8;
/// Sectors of each.
const SLICE: u32 = 32;
/// Where one is asked, it has as many sectors as those.
const WHOLE: u32 = SLICE * OUTSTANDING as u32;
/// Initiators that take turns.
const INITIATORS: u16 = 1000;
/// Ports, each with a memif connection of its own to the initiator.
const PORTS: u32 = 16;
/// The exports for those, after one that is on all ports.
const ON_PORTS: &str = "1.0-15";
/// Requests outstanding with each of them.
const EACH_ON_PORTS: u16 = 16;
const _: () = assert!(EACH_ON_PORTS as u32 * PORTS == OUTSTANDING as u32);
/// MiB of the largest bdev, rounded up.
pub const DISK_MIB: u32 = 256;

/// There is more of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum More {
    /// Nothing: one export, one initiator, one port.
    Nothing,
    /// Many exports; one is asked.
    Exports,
    /// 256 exports, all of them asked.
    ExportsAsked,
    /// Many exports, 256 of them asked.
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

/// All of them.
const ALL: [More; 8] = [
    More::Nothing,
    More::Exports,
    More::ExportsAsked,
    More::ExportsSomeAsked,
    More::Initiators,
    More::ExportsOnOnePort,
    More::Ports,
    More::PortsOfOneExport,
];

/// The comparisons: the second with the first, its title, and whether 1.05 times the cost is a goal. The last is not about
/// more exports, but about more of them at work at once.
const COMPARED: [(More, More, &str, bool); 6] = [
    (More::Nothing, More::Exports, "many exports, one asked, to one export", true),
    (More::ExportsAsked, More::ExportsSomeAsked, "many exports, 256 asked, to those alone", true),
    (More::Nothing, More::Initiators, "1,000 initiators to one", true),
    (More::ExportsOnOnePort, More::Ports, "16 exports on a port each to the same on one port", true),
    (More::Nothing, More::PortsOfOneExport, "one export on 16 ports to one port", true),
    (More::Nothing, More::ExportsAsked, "256 exports, all asked, to one", false),
];

/// A sample for each round.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// There is more of this.
    pub more: More,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// Takes a sample of each in every round; many exports are `exports`.
///
/// # Errors
/// As [`Lab::measure`].
pub fn measure(lab: &Lab<'_>, exports: u32, rounds: u32) -> Result<Vec<Series>> {
    let mut series = ALL.map(|more| Series { more, samples: Vec::new() });
    let last = format!("{}.{}", SHELVES - 1, exports / SHELVES - 1);
    for round in 1..=rounds {
        for Series { more, samples } in &mut series {
            eprintln!("round {round} of {rounds}: {more:?}");
            let (config, ports, target, depth, initiators) = match more {
                More::Nothing => (one_export(), 1, "0.0", OUTSTANDING, 1),
                More::Exports => (many_exports(exports), 1, last.as_str(), OUTSTANDING, 1),
                More::ExportsAsked => (asked_exports(), 1, ASKED, 1, 1),
                More::ExportsSomeAsked => (many_exports(exports), 1, ASKED, 1, 1),
                More::Initiators => (one_export(), 1, "0.0", OUTSTANDING, INITIATORS),
                More::ExportsOnOnePort => (exports_on_ports(false), 1, ON_PORTS, EACH_ON_PORTS, 1),
                More::Ports => (exports_on_ports(true), PORTS, ON_PORTS, EACH_ON_PORTS, 1),
                More::PortsOfOneExport => (exports_on_ports(true), PORTS, "0.0", OUTSTANDING, 1),
            };
            let case = Case { disk: Disk::Memory(DISK_MIB), bytes: 512, operation: Operation::Read, depth };
            let taken = lab.measure_config(&config, ports, case, target, initiators);
            samples.push(taken.with_context(|| format!("{more:?}"))?.sample);
        }
    }
    Ok(series.into())
}

/// The comparisons as a table in Markdown.
pub fn render(series: &[Series]) -> String {
    let samples = |more| series.iter().find(|series| series.more == more).map(|series| &series.samples[..]);
    let mut text =
        "| | with less | with more | cost of a request, median (lowest - highest) | at most 1.05 |\n\
                    | --- | ---: | ---: | ---: | --- |\n"
            .to_owned();
    for (less, more, title, is_goal) in COMPARED {
        let (Some(less), Some(more)) = (samples(less), samples(more)) else { continue };
        let cost = Interval::of_rounds(less, more, |less, more| less.iops / more.iops);
        let rate = |samples| Interval::over(samples, |sample| Some(sample.iops));
        let (Some(Interval { median, low, high }), Some(few), Some(many)) = (cost, rate(less), rate(more))
        else {
            continue;
        };
        let met = match (is_goal, median <= 1.05) {
            (false, _) => "no goal",
            (true, true) => "met",
            (true, false) => "missed",
        };
        let (few, many) = (human(&few), human(&many));
        text += &format!("| {title} | {few} | {many} | {median:.2} ({low:.2} - {high:.2}) | {met} |\n");
    }
    text
}

fn one_export() -> Value {
    aoe(WHOLE, [export(0, 0, 0, WHOLE)])
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
    aoe(2 * WHOLE, [export(0, 0, 0, WHOLE)].into_iter().chain(others))
}

/// Those that are asked and no others, each with a slice of one bdev.
fn asked_exports() -> Value {
    let all = 0..u32::from(OUTSTANDING);
    aoe(WHOLE, all.map(|number| export(number / ASKED_SLOTS, number % ASKED_SLOTS, number * SLICE, SLICE)))
}

/// Each has a slice of one bdev, and the last one as much as all that are asked.
fn many_exports(exports: u32) -> Value {
    let slots = exports / SHELVES;
    let last = slots * SHELVES - 1;
    let slices = (0..=last).map(|number| {
        let length = if number == last { WHOLE } else { SLICE };
        export(number / slots, number % slots, number * SLICE, length)
    });
    aoe(last * SLICE + WHOLE, slices)
}

fn export(shelf: u32, slot: u32, offset: u32, length: u32) -> Value {
    let params =
        json!({ "shelf": shelf, "slot": slot, "bdev_name": "disk", "offset": offset, "length": length });
    call("aoe_create_export", &params)
}

fn aoe(sectors: u32, exports: impl IntoIterator<Item = Value>) -> Value {
    let malloc = json!({ "name": "disk", "num_blocks": sectors, "block_size": 512 });
    config([("bdev", vec![call("bdev_malloc_create", &malloc)]), ("aoe", exports.into_iter().collect())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_the_inverse_of_the_rate_round_by_round() {
        let series = |more, rates: &[f64]| {
            let samples = rates.iter().map(|&iops| Sample { iops, ..Sample::default() }).collect();
            Series { more, samples }
        };
        let text = render(&[
            series(More::Nothing, &[100.0, 50.0, 100.0]),
            series(More::Initiators, &[80.0, 40.0, 100.0]),
        ]);
        assert!(text.ends_with("| 1.25 (1.00 - 1.25) | missed |\n"), "{text}");
    }

    #[test]
    fn ten_thousand_exports_are_told_apart_and_lie_side_by_side() {
        let config = many_exports(EXPORTS_MAX);
        let exports = config["subsystems"][1]["config"].as_array().unwrap();
        let address =
            |export: &Value| (export["params"]["shelf"].as_u64(), export["params"]["slot"].as_u64());
        let mut addresses: Vec<_> = exports.iter().map(address).collect();
        addresses.dedup();
        assert_eq!((addresses.len(), addresses[9999]), (10_000, (Some(39), Some(249))));
        assert_eq!(
            (&exports[9999]["params"]["offset"], &exports[9999]["params"]["length"]),
            (&json!(9999 * SLICE), &json!(WHOLE))
        );
        let sectors = config["subsystems"][0]["config"][0]["params"]["num_blocks"].as_u64().unwrap();
        assert_eq!(sectors, u64::from(9999 * SLICE + WHOLE));
        assert!(sectors >> 11 < u64::from(DISK_MIB));
    }
}
