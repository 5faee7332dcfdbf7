//! Whether a request costs more where there is more of everything: exports, initiators, ports.
//!
//! All over memif, 512 bytes a read, so that the cost of a request and not that of its data shows, and always with the
//! same number of requests outstanding, the same 4 MiB read, and the same number of slots in all rings together: the amount
//! in use at a time is the same, and there is more to choose from. The target's core is the narrow place, so the rate is the
//! inverse of a request's cost.

use crate::case::{Case, Disk, Operation};
use crate::report::human;
use crate::sampler::Sampler;
use crate::spdk_programs::{call, config};
use crate::stats::{Interval, Sample};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Requests outstanding, over all targets and ports.
const OUTSTANDING: u16 = 256;
/// Shelves of the many exports, which are as many on each.
const SHELVES: u32 = 40;
/// Fewest of many exports, those that are asked being among them, and most: 250 slots a shelf.
pub(crate) const EXPORTS_MIN: u32 = 8 * SHELVES;
pub(crate) const EXPORTS_MAX: u32 = 250 * SHELVES;
/// The exports that are asked where several are, one request at a time each: 32 shelves of 8 slots.
const ASKED: &str = "0-31.0-7";
const ASKED_SLOTS: u32 = 8;
/// Sectors of each; where one is asked, it has as many sectors as those.
const SLICE: u32 = 32;
const WHOLE: u32 = SLICE * OUTSTANDING as u32;
/// Ports, each with a memif connection of its own to the initiator, the exports for those, after one that is on all ports,
/// and the requests outstanding with each of them.
const PORTS: u32 = 16;
const ON_PORTS: &str = "1.0-15";
const EACH_ON_PORTS: u16 = 16;
const _: () = assert!(EACH_ON_PORTS as u32 * PORTS == OUTSTANDING as u32);
/// MiB of the largest bdev, rounded up.
pub(crate) const DISK_MIB: u32 = 256;

/// A title, the configuration, ports, the exports that are asked, requests outstanding with each, and initiators.
type Setting = (&'static str, Value, u32, String, u16, u16);

fn settings(exports: u32) -> [Setting; 8] {
    let (many, last) = (many_exports(exports), format!("{}.{}", SHELVES - 1, exports / SHELVES - 1));
    let (one_port, each) = (exports_on_ports(false), exports_on_ports(true));
    let [asked, on_ports, first] = [ASKED, ON_PORTS, "0.0"].map(str::to_owned);
    [
        ("one export, initiator and port", one_export(), 1, first.clone(), OUTSTANDING, 1),
        ("many exports, one asked", many.clone(), 1, last, OUTSTANDING, 1),
        ("256 exports, all asked", asked_exports(), 1, asked.clone(), 1, 1),
        ("many exports, 256 asked", many, 1, asked, 1, 1),
        ("1,000 initiators", one_export(), 1, first.clone(), OUTSTANDING, 1000),
        ("16 exports on one port", one_port, 1, on_ports.clone(), EACH_ON_PORTS, 1),
        ("16 exports on a port each", each.clone(), PORTS, on_ports, EACH_ON_PORTS, 1),
        ("one export on 16 ports", each, PORTS, first, OUTSTANDING, 1),
    ]
}

/// The comparisons, by index in the settings: the second with the first, and whether 1.05 times the cost is a goal. The last is
/// not about more exports, but about more of them at work at once.
const COMPARED: [(usize, usize, bool); 6] =
    [(0, 1, true), (2, 3, true), (0, 4, true), (5, 6, true), (0, 7, true), (0, 2, false)];

/// A sample of one setting for each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    title: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// Takes a sample of each setting in every round; many exports are `exports`.
pub(crate) fn measure(sampler: &Sampler<'_>, exports: u32, rounds: u32) -> Result<Vec<Series>> {
    let settings = settings(exports);
    let mut series: Vec<Series> =
        settings.iter().map(|(title, ..)| Series { title, samples: Vec::new() }).collect();
    for round in 1..=rounds {
        for ((title, config, ports, target, depth, initiators), series) in settings.iter().zip(&mut series) {
            eprintln!("round {round} of {rounds}: {title}");
            let disk = Disk::Memory(DISK_MIB);
            let case = Case { disk, bytes: 512, operation: Operation::Read, depth: *depth };
            let taken = sampler.measure_config(config, *ports, case, target, *initiators);
            series.samples.push(taken.with_context(|| (*title).to_owned())?.sample);
        }
    }
    Ok(series)
}

/// The comparisons as a table in Markdown.
pub(crate) fn render(series: &[Series]) -> String {
    let mut text =
        "| more | rate | less | rate | cost of a request, median (lowest - highest) | at most 1.05 |\n\
                    | --- | ---: | --- | ---: | ---: | --- |\n"
            .to_owned();
    for (less, more, is_goal) in COMPARED {
        let (less, more) = (&series[less], &series[more]);
        let cost = Interval::of_rounds(&less.samples, &more.samples, |less, more| less.iops / more.iops);
        let rate = |series: &Series| Interval::over(&series.samples, |sample| Some(sample.iops));
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
        let cost = format!("{median:.2} ({low:.2} - {high:.2})");
        text += &format!("| {} | {many} | {} | {few} | {cost} | {met} |\n", more.title, less.title);
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
        let series = settings(EXPORTS_MIN).map(|(title, ..)| {
            let rates = if title == "1,000 initiators" { [80.0, 40.0, 100.0] } else { [100.0, 50.0, 100.0] };
            let samples = rates.map(|iops| Sample { iops, ..Sample::default() }).to_vec();
            Series { title, samples }
        });
        let text = render(&series);
        assert_eq!(text.matches("| 1.00 (1.00 - 1.00) | met |\n").count(), 4, "{text}");
        let initiators = text.lines().find(|line| line.starts_with("| 1,000 initiators |")).unwrap();
        assert!(initiators.ends_with("| 1.25 (1.00 - 1.25) | missed |"), "{initiators}");
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
        assert_eq!(exports[9999]["params"]["length"], WHOLE, "the one that is asked alone");
        let sectors = config["subsystems"][0]["config"][0]["params"]["num_blocks"].as_u64().unwrap();
        assert_eq!(sectors, u64::from(9999 * SLICE + WHOLE));
        assert!(sectors >> 11 < u64::from(DISK_MIB));
    }
}
