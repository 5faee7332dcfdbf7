//! Measures: every combination of size, operation and depth, on each contender in turn, several times over.
//!
//! A round takes each contender through the whole matrix once, started afresh; rounds follow each other. So a slow
//! minute of the machine falls on all contenders alike, and shows as spread instead of as a winner.

use crate::contender::{Contender, Place};
use crate::hugepages::Hugepages;
use anyhow::{Context, Result, bail, ensure};
use aoe_initiator::initiator::Initiator;
use aoe_initiator::lab::pin_to_cpu;
use aoe_initiator::load::{self, LoadReport, LoadSpec, Waiting, Workload};
use aoe_initiator::{Link, Retransmit};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Reads or writes, at random addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// READ SECTORS EXT.
    Read,
    /// WRITE SECTORS EXT.
    Write,
}

/// A row's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Bytes a request moves.
    pub bytes: u32,
    /// Reads or writes.
    pub operation: Operation,
    /// Requests outstanding.
    pub depth: u16,
}

/// How long, how often.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Rounds.
    pub rounds: u32,
    /// Measured seconds of a cell in a round.
    pub seconds: f64,
    /// Seconds before, not measured.
    pub warmup: f64,
    /// The initiator's core.
    pub initiator_cpu: usize,
}

/// The figures of one contender in one cell, a report for each round.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// The contender.
    pub contender: &'static str,
    /// The conditions.
    #[serde(flatten)]
    pub cell: Cell,
    /// What each round came to.
    pub rounds: Vec<LoadReport>,
}

/// All figures, and how they came about.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The command of each contender.
    pub commands: Vec<(&'static str, String)>,
    /// By cell, and in it by contender.
    pub runs: Vec<Runs>,
}

/// Runs everything. `near` is the initiator's end of the veth pair, in the namespace of `place`.
///
/// # Errors
/// If a contender does not start, does not answer or fails a request, or if `stop` is set: a table with holes in it
/// is worth nothing.
pub fn measure(
    place: &Place<'_>,
    near: &str,
    contenders: &[Contender],
    cells: &[Cell],
    effort: &Effort,
    hugepages: Option<&Hugepages>,
    stop: &AtomicBool,
) -> Result<Figures> {
    ensure!(!contenders.is_empty() && !cells.is_empty() && effort.rounds > 0, "there is nothing to measure");
    for contender in contenders {
        (contender.check)(place)?;
    }
    let mut figures = Figures {
        commands: Vec::new(),
        runs: cells
            .iter()
            .flat_map(|cell| {
                contenders.iter().map(|contender| Runs {
                    contender: contender.name,
                    cell: *cell,
                    rounds: Vec::new(),
                })
            })
            .collect(),
    };
    for round in 1..=effort.rounds {
        for (index, contender) in contenders.iter().enumerate() {
            eprintln!("round {round} of {}: {}", effort.rounds, contender.name);
            let (command, reports) = turn(place, near, contender, cells, effort, stop)
                .with_context(|| format!("{} in round {round}", contender.name))?;
            if round == 1 {
                figures.commands.push((contender.name, command));
            }
            for (cell, report) in reports.into_iter().enumerate() {
                figures.runs[cell * contenders.len() + index].rounds.push(report);
            }
            if let Some(hugepages) = hugepages {
                hugepages.remove_leftovers()?;
            }
        }
    }
    Ok(figures)
}

/// One contender through all cells. Returns its command, and a report for each cell.
fn turn(
    place: &Place<'_>,
    near: &str,
    contender: &Contender,
    cells: &[Cell],
    effort: &Effort,
    stop: &AtomicBool,
) -> Result<(String, Vec<LoadReport>)> {
    let mut daemon = (contender.start)(place)?;
    // This thread ends with the turn: neither its namespace nor its core outlive it.
    let reports = place.namespace.enter(|| {
        let mut initiator = Initiator::new(Link::open(near)?, Retransmit::default());
        daemon.wait_ready(Duration::from_secs(60), || {
            if stop.load(Ordering::Relaxed) {
                return Err(aoe_initiator::Error::Lab("interrupted".into()));
            }
            let found = initiator.discover(place.address, Duration::from_millis(50))?;
            Ok(found.iter().any(|export| export.address == place.address))
        })?;
        let export = initiator.find(place.address)?;
        let capacity = initiator.identify(&export)?.sectors;
        pin_to_cpu(effort.initiator_cpu)?;
        cells
            .iter()
            .map(|cell| {
                let spec = spec(cell, effort)?;
                let report = load::run(Link::open(near)?, &export, capacity, &spec, stop)?;
                daemon.check_running()?;
                if stop.load(Ordering::Relaxed) {
                    bail!("interrupted");
                }
                ensure!(
                    report.failures() == 0,
                    "{} of the requests of {cell:?} failed: {report:?}",
                    report.failures()
                );
                Ok(report)
            })
            .collect::<Result<Vec<_>>>()
    })??;
    let command = daemon.name().to_owned();
    daemon.stop()?;
    Ok((command, reports))
}

fn spec(cell: &Cell, effort: &Effort) -> Result<LoadSpec> {
    let sectors = u8::try_from(cell.bytes / 512).ok().filter(|_| cell.bytes.is_multiple_of(512));
    Ok(LoadSpec {
        workload: match cell.operation {
            Operation::Read => Workload::RandomRead,
            Operation::Write => Workload::RandomWrite,
        },
        sectors_per_io: sectors.with_context(|| {
            format!("a size of {} bytes, must be a multiple of 512 up to 130560", cell.bytes)
        })?,
        depth: usize::from(cell.depth),
        duration: Duration::from_secs_f64(effort.seconds),
        warmup: Duration::from_secs_f64(effort.warmup),
        waiting: Waiting::Spin,
        ..LoadSpec::default()
    })
}
