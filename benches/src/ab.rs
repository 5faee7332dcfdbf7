//! Two builds of the target in turns: another checkout's, the base, and this one's, each with the SPDK it was built with.
//!
//! A row is one link, one bdev, one cell. In each round the servers of both builds are started afresh, and each row is
//! measured on one right after the other; who is first changes from round to round. The initiators are this
//! checkout's for both, so that nothing but the target differs.

use crate::cell::Cell;
use crate::contender::{Contender, Link, NVMF_MIB};
use crate::lab::{End, JUMBO_ROOM, Lab, LoadSpec, af_packet, memif};
use crate::process::Server;
use crate::record::portable;
use crate::sample::{Comparison, Sample, Spread};
use crate::spdk_programs::{self, Programs};
use crate::verdict::thousands;
use crate::weather::Watch;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The contenders that there are two builds of.
pub const CONTENDERS: [Contender; 3] = [Contender::Memif, Contender::Veth, Contender::Nvmf];

/// TCP port of nvmf_tgt by build: both listen in one network namespace.
const NVMF_PORTS: [u16; 2] = [4420, 4421];

/// How often a sample is tried.
const ATTEMPTS: u32 = 5;

/// A bdev behind the target. nvmf_tgt has the first alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bdev {
    /// Memory, with a copy.
    Malloc,
    /// Nothing: done at once, no data.
    Null,
    /// A file on tmpfs, by Linux's AIO.
    Aio,
}

impl Bdev {
    /// All of them; the index of one is its slot.
    pub const ALL: [Self; 3] = [Self::Malloc, Self::Null, Self::Aio];

    const fn name(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Null => "null",
            Self::Aio => "aio",
        }
    }

    fn export(self) -> String {
        format!("1.{}", self as u8)
    }
}

/// One of the two builds.
#[derive(Clone, Debug)]
pub struct Build {
    /// For tables, and for the names of files and interfaces.
    pub name: &'static str,
    /// The directory of its kvblade-dpdk.
    pub programs: PathBuf,
    /// SPDK's programs; `None` without nvmf_tgt among the contenders.
    pub spdk: Option<Programs>,
}

/// A row and its rounds: of the base, and of this build.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Over which link, or nvmf_tgt.
    pub contender: Contender,
    /// The bdev.
    pub bdev: Bdev,
    /// The conditions.
    #[serde(flatten)]
    pub cell: Cell,
    /// Samples by build, one a round.
    pub rounds: [Vec<Sample>; 2],
}

/// All rows, and the commands by build and contender: of the server, and of the load in its first cell.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    /// The commands.
    pub commands: BTreeMap<String, Vec<String>>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// MiB of hugepages for the servers of both builds, of one contender at a time.
pub fn hugepages_mib(contenders: &[Contender], store_mib: u32) -> u32 {
    2 * contenders.iter().map(|who| who.hugepages_mib(store_mib)).max().unwrap_or(0)
}

/// Measures every row, `rounds` times.
///
/// # Errors
/// If a program does not start, does not answer or fails a request; if `stop` is set.
#[expect(clippy::too_many_arguments, reason = "what to measure, how often, and where")]
pub fn measure(
    lab: &Lab,
    builds: &[Build; 2],
    contenders: &[Contender],
    bdevs: &[Bdev],
    cells: &[Cell],
    rounds: u32,
    watch: &mut Watch,
    stop: &AtomicBool,
) -> Result<Measured> {
    watch.begin(stop)?;
    if contenders.contains(&Contender::Veth) {
        builds.iter().try_for_each(|build| lab.veth(&interface('i', build), &interface('t', build)))?;
    }
    let mut measured = Measured { rows: rows(contenders, bdevs, cells), ..Measured::default() };
    for round in 1..=rounds {
        // Who is first.
        let order = if round.is_multiple_of(2) { [1, 0] } else { [0, 1] };
        for &contender in contenders {
            eprintln!("round {round} of {rounds}: {contender}");
            let start = |build: usize| serve(lab, contender, build, &builds[build], stop);
            let mut servers = [start(0)?, start(1)?];
            for row in measured.rows.iter_mut().filter(|row| row.contender == contender) {
                for build in order {
                    ensure!(!stop.load(Ordering::Relaxed), "interrupted");
                    let before = watch.wait_until_fair(stop)?;
                    let server = &mut servers[build];
                    let run = || load(lab, row, build, &builds[build], stop);
                    let (command, mut sample) = answered(|| server.during(stop, run), stop)
                        .with_context(|| format!("{} {contender} {}", builds[build].name, row.cell))?;
                    sample.weather_before = Some(before);
                    sample.weather_after = Some(watch.probe()?);
                    row.rounds[build].push(sample);
                    let commands = || vec![portable(server.command()), portable(&command)];
                    let label = format!("{} {contender}", builds[build].name);
                    measured.commands.entry(label).or_insert_with(commands);
                }
            }
            drop(servers);
            lab.remove_leftovers()?;
        }
    }
    Ok(measured)
}

/// What `measure` returns, which is called again where it fails: on a busy machine a server may not get its core for as long
/// as a sample takes, and then no request is answered. One that fails [`ATTEMPTS`] times has another reason.
fn answered<T>(mut measure: impl FnMut() -> Result<T>, stop: &AtomicBool) -> Result<T> {
    for attempt in 1..ATTEMPTS {
        match measure() {
            Err(error) if !stop.load(Ordering::Relaxed) => {
                let error = format!("{error:#}");
                eprintln!(
                    "measured again after attempt {attempt}: {}",
                    error.lines().next_back().unwrap_or_default()
                );
            }
            done => return done,
        }
    }
    measure()
}

fn rows(contenders: &[Contender], bdevs: &[Bdev], cells: &[Cell]) -> Vec<Row> {
    let row = |contender, bdev, &cell: &Cell| Row { contender, bdev, cell, rounds: Default::default() };
    let bdevs = |contender| if contender == Contender::Nvmf { &Bdev::ALL[..1] } else { bdevs };
    let mut rows = Vec::new();
    for &contender in contenders {
        for &bdev in bdevs(contender) {
            rows.extend(cells.iter().map(|cell| row(contender, bdev, cell)));
        }
    }
    rows
}

fn serve(lab: &Lab, contender: Contender, index: usize, build: &Build, stop: &AtomicBool) -> Result<Server> {
    let label = format!("{contender}-{}", build.name);
    let store_mib = lab.settings().store_mib;
    let config = lab.path(&format!("{label}.json"));
    let (command, ready) = if contender == Contender::Nvmf {
        fs::write(&config, spdk_programs::nvmf_config(store_mib, NVMF_PORTS[index]).to_string())?;
        let program = spdk(build)?.path("nvmf_tgt")?;
        let mut command = lab.command(&program);
        command.arg("--json").arg(config);
        command.args(["-m", &format!("{:#x}", 1_u64 << lab.settings().target_cpu)]);
        command.args(["-s", &(NVMF_MIB + store_mib).to_string(), "-u", "-R"]);
        command.args(spdk_programs::without_core_locks(&program)?);
        command.arg("-r").arg(lab.path(&format!("{label}.sock")));
        (command, "Listening on 127.0.0.1")
    } else {
        let file = lab.path(&format!("{label}.file"));
        if !file.exists() {
            lab.fill(&file)?;
        }
        fs::write(&config, aoe_config(store_mib, &file).to_string())?;
        let mut command =
            lab.kvblade_of(&build.programs, &label, eal(lab, contender, build, &label, End::Server));
        command.args(["--mtu", &lab.settings().mtu.to_string()]).arg("--config").arg(config);
        (command, "ready")
    };
    let server = Server::start(command, ready, stop).with_context(|| label.clone())?;
    Ok(match contender.link() {
        Link::Memif => server.ending_with_its_peer([lab.path(&format!("{label}.memif"))]),
        Link::Veth | Link::Tcp | Link::None => server,
    })
}

fn load(lab: &Lab, row: &Row, index: usize, build: &Build, stop: &AtomicBool) -> Result<(String, Sample)> {
    if row.contender == Contender::Nvmf {
        return lab.nvme_perf(row.cell, NVMF_PORTS[index], stop);
    }
    let label = format!("{}-{}", row.contender, build.name);
    let targets = [row.bdev.export()];
    let load = LoadSpec { targets: &targets, initiators: 1, mtu: lab.settings().mtu };
    lab.aoeperf(eal(lab, row.contender, build, &label, End::Initiator), row.cell, &load, stop)
}

fn eal(lab: &Lab, contender: Contender, build: &Build, label: &str, end: End) -> Vec<String> {
    let port = if contender == Contender::Memif {
        memif(0, &lab.path(&format!("{label}.memif")), end, JUMBO_ROOM, 10)
    } else {
        af_packet(&interface(if end == End::Server { 't' } else { 'i' }, build))
    };
    lab.eal_with(label, end, [port])
}

/// An end of a build's veth pair.
fn interface(end: char, build: &Build) -> String {
    format!("{end}-ab-{}", build.name)
}

fn spdk(build: &Build) -> Result<&Programs> {
    build.spdk.as_ref().context("SPDK's programs were not looked for")
}

/// SPDK's configuration of a target with one export of each [`Bdev`].
fn aoe_config(mib: u32, file: &Path) -> Value {
    let blocks = u64::from(mib) << 11;
    let call = |method: &str, params: Value| json!({ "method": method, "params": params });
    let export = |slot: usize, name: &str| {
        call("aoe_create_export", json!({ "shelf": 1, "slot": slot, "bdev_name": name }))
    };
    json!({ "subsystems": [
        { "subsystem": "bdev", "config": [
            call("bdev_malloc_create", json!({ "name": "malloc", "num_blocks": blocks, "block_size": 512 })),
            call("bdev_null_create", json!({ "name": "null", "num_blocks": blocks, "block_size": 512 })),
            call("bdev_aio_create", json!({ "name": "aio", "filename": file, "block_size": 512 })),
        ] },
        { "subsystem": "aoe", "config":
            Bdev::ALL.iter().enumerate().map(|(slot, bdev)| export(slot, bdev.name())).collect::<Vec<_>>() },
    ] })
}

/// The rows in Markdown: each build's median rate with the lowest and highest, the median of the rounds' ratios with
/// theirs, and the ratio of the best.
pub fn render(rows: &[Row], names: [&str; 2]) -> String {
    let [base, this] = names;
    let mut text = format!(
        "| | bdev | size | op | QD | {base}: median (min - max) | {this}: median (min - max) | ratio, median of rounds \
         (min - max) | ratio of the best |\n| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for Row { contender, bdev, cell, rounds: [base, this] } in rows {
        let rate = |samples: &[Sample]| {
            let spread = Spread::of(samples.iter().map(Sample::undisturbed_iops));
            spread.map_or_else(
                || "-".to_owned(),
                |Spread { median, min, max }| {
                    format!("{} ({} - {})", thousands(median), thousands(min), thousands(max))
                },
            )
        };
        let ratio =
            Comparison::of([base, this], |[base, this]| this.undisturbed_iops() / base.undisturbed_iops());
        let ratio = ratio.map_or_else(
            || "- | -".to_owned(),
            |Comparison { best, rounds: Spread { median, min, max } }| {
                format!("{median:.2} ({min:.2} - {max:.2}) | {best:.2}")
            },
        );
        let Cell { size, operation, depth } = cell;
        let (bdev, base, this) = (bdev.name(), rate(base), rate(this));
        let row =
            format!("| {contender} | {bdev} | {size} | {operation} | {depth} | {base} | {this} | {ratio} |");
        // Into a string nothing fails.
        writeln!(text, "{row}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Operation, Size};

    const CELL: Cell = Cell::new(Size::PAGE, Operation::Read, 32);

    #[test]
    fn nvmf_has_memory_alone_behind_it_and_the_target_every_bdev() {
        let rows = rows(&CONTENDERS, &Bdev::ALL, &[CELL]);
        let shown: Vec<_> = rows.iter().map(|row| (row.contender.name(), row.bdev.name())).collect();
        let of = |link| [(link, "malloc"), (link, "null"), (link, "aio")];
        assert_eq!(shown, [&of("memif")[..], &of("veth"), &[("nvmf", "malloc")]].concat());
    }

    #[test]
    fn the_export_that_is_asked_has_the_bdev_of_the_row() {
        let config = aoe_config(64, Path::new("/f"));
        for bdev in Bdev::ALL {
            let export = &config["subsystems"][1]["config"][bdev as usize]["params"];
            assert_eq!(export["bdev_name"], bdev.name());
            assert_eq!(format!("{}.{}", export["shelf"], export["slot"]), bdev.export());
        }
    }

    #[test]
    fn a_sample_that_fails_is_tried_again_and_not_for_ever() {
        let stop = AtomicBool::new(false);
        let mut calls = 0;
        let mut fails = |until: u32| {
            answered(
                || {
                    calls += 1;
                    ensure!(calls >= until, "attempt {calls}");
                    Ok(calls)
                },
                &stop,
            )
        };
        assert_eq!(fails(3).unwrap(), 3);
        assert_eq!(fails(100).unwrap_err().to_string(), "attempt 8");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(fails(100).unwrap_err().to_string(), "attempt 9");
    }

    #[test]
    fn a_row_shows_medians_and_the_ratios_of_each_round() {
        let samples =
            |rates: [f64; 3]| rates.map(|iops| Sample { iops, ..Sample::default() }).into_iter().collect();
        let rounds = [samples([1000.0, 2000.0, 4000.0]), samples([2000.0, 1000.0, 4400.0])];
        let row = Row { contender: Contender::Memif, bdev: Bdev::Aio, cell: CELL, rounds };
        let text = render(&[row], ["old", "new"]);
        assert!(
            text.ends_with(
                "| memif | aio | 4 KiB | read | 32 | 2 000 (1 000 - 4 000) | 2 000 (1 000 - 4 400) | \
                 1.10 (0.50 - 2.00) | 1.10 |\n"
            ),
            "{text}"
        );
    }
}
