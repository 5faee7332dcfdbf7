//! Rounds: every server is started afresh, then each cell is measured on one contender right after the other.
//!
//! So a slow minute of the machine falls on all contenders of a cell alike, and shows as spread instead of as a
//! winner; and what a start decides by chance (which pages the memory is in) is decided anew in each round.

use crate::cell::{Cell, LIMIT_CELLS, LIMIT_DEPTH, NVMF_CELLS, PAGE_READ, Size, VETH_DEPTHS};
use crate::contender::Contender;
use crate::lab::Lab;
use crate::record::portable;
use crate::sample::Figures;
use crate::weather::Watch;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The commands by contender: of the server, and of the load in its first cell.
pub type Commands = BTreeMap<&'static str, Vec<String>>;

/// All figures, and how they came about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// The commands of each contender.
    pub commands: Commands,
    /// The figures.
    pub figures: Figures,
}

/// Whether a contender is measured in a cell: at the depth of the serial limit only those that a target compares there.
pub fn wanted(contender: Contender, cell: Cell) -> bool {
    if cell.depth != LIMIT_DEPTH {
        return true;
    }
    match contender {
        Contender::MemifLink | Contender::Bdev | Contender::Memif => LIMIT_CELLS.contains(&cell),
        Contender::Veth | Contender::Vblade => LIMIT_CELLS.contains(&cell) && cell.size == Size::SECTOR,
        Contender::VethLink | Contender::Nvmf => false,
    }
}

/// Whether targets 1 to 5 compare a contender in a cell.
pub fn compared(contender: Contender, cell: Cell) -> bool {
    let by_limit = cell.depth == LIMIT_DEPTH && wanted(contender, cell);
    match contender {
        Contender::MemifLink | Contender::Bdev => by_limit || cell == PAGE_READ,
        Contender::Memif => by_limit || NVMF_CELLS.contains(&cell),
        Contender::VethLink | Contender::Veth | Contender::Vblade => {
            by_limit || VETH_DEPTHS.contains(&cell.depth)
        }
        Contender::Nvmf => NVMF_CELLS.contains(&cell),
    }
}

/// How often each row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds of everything.
    pub all: u32,
    /// Rounds of what targets 1 to 5 compare: those of everything, and then more of this alone. No fewer than `all`.
    pub compared: u32,
}

/// The contenders and cells of a round, each with who is measured in it.
type Plan = Vec<(Cell, Vec<Contender>)>;

/// What a round has to measure: all that is [`wanted`], or of that only what is [`compared`].
fn plan(contenders: &[Contender], cells: &[Cell], only_compared: bool) -> Plan {
    let measured = |who: Contender, cell| wanted(who, cell) && (!only_compared || compared(who, cell));
    let row = |&cell: &Cell| {
        let row: Vec<_> = contenders.iter().copied().filter(|&who| measured(who, cell)).collect();
        (!row.is_empty()).then_some((cell, row))
    };
    cells.iter().filter_map(row).collect()
}

/// Runs everything, each sample in weather as fair as `watch` has patience for.
///
/// # Errors
/// If a program does not start, does not answer or fails a request, or if `stop` is set: a table with holes in it is
/// worth nothing.
pub fn measure(
    lab: &Lab,
    contenders: &[Contender],
    cells: &[Cell],
    rounds: Rounds,
    watch: &mut Watch,
    stop: &AtomicBool,
) -> Result<Measured> {
    ensure!(!contenders.is_empty() && !cells.is_empty() && rounds.all > 0, "there is nothing to measure");
    watch.begin(stop)?;
    let mut measured = Measured::default();
    let all = rounds.compared.max(rounds.all);
    for round in 1..=all {
        let plan = plan(contenders, cells, round > rounds.all);
        one_round(lab, contenders, &plan, &format!("round {round} of {all}"), watch, stop, &mut measured)?;
    }
    Ok(measured)
}

/// Starts the servers that a plan needs, and measures it.
fn one_round(
    lab: &Lab,
    contenders: &[Contender],
    plan: &Plan,
    title: &str,
    watch: &mut Watch,
    stop: &AtomicBool,
    measured: &mut Measured,
) -> Result<()> {
    let needed = |who: &&Contender| plan.iter().any(|(_, row)| row.contains(who));
    let needed: Vec<Contender> = contenders.iter().filter(needed).copied().collect();
    if needed.is_empty() {
        return Ok(());
    }
    eprintln!("{title}: starting {} servers", needed.len());
    let mut servers =
        needed.iter().map(|&who| Ok((who, lab.serve(who, stop)?))).collect::<Result<Vec<_>>>()?;
    for (number, (cell, row)) in plan.iter().enumerate() {
        eprintln!("{title}: {cell} ({} of {})", number + 1, plan.len());
        for (contender, server) in servers.iter_mut().filter(|(contender, _)| row.contains(contender)) {
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            let before = watch.wait_until_fair(stop)?;
            let (command, mut sample) = lab.measure(*contender, server.as_mut(), *cell, stop)?;
            sample.weather_before = Some(before);
            sample.weather_after = Some(watch.probe()?);
            measured.figures.push(*contender, *cell, sample);
            let server = server.as_ref().map(|server| server.command().to_owned());
            measured
                .commands
                .entry(contender.name())
                .or_insert_with(|| server.iter().chain([&command]).map(|shown| portable(shown)).collect());
        }
    }
    drop(servers);
    lab.remove_leftovers()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Operation;

    #[test]
    fn the_depth_of_the_limit_is_measured_where_a_target_asks_for_it() {
        let page = Cell::new(Size::PAGE, Operation::Read, LIMIT_DEPTH);
        let sector = Cell::new(Size::SECTOR, Operation::Read, LIMIT_DEPTH);
        let of = |cell| Contender::ALL.into_iter().filter(move |&who| wanted(who, cell)).collect::<Vec<_>>();
        assert_eq!(of(page), [Contender::MemifLink, Contender::Bdev, Contender::Memif]);
        assert!(of(sector).contains(&Contender::Vblade) && !of(sector).contains(&Contender::Nvmf));
        assert!(of(Cell::new(Size::SECTOR, Operation::Mixed, LIMIT_DEPTH)).is_empty());
        assert_eq!(of(Cell::new(Size::PAGE, Operation::Read, 32)), Contender::ALL);
    }

    #[test]
    fn further_rounds_have_what_the_targets_compare_and_nothing_else() {
        use Contender::{Bdev, Memif, MemifLink, Nvmf, Vblade, Veth, VethLink};
        let [read, write, sector] = LIMIT_CELLS;
        let of = |size, operation, depth| Cell::new(size, operation, depth);
        let cells = [
            of(Size::SECTOR, Operation::Mixed, 1),
            of(Size::SECTOR, Operation::Mixed, 8),
            of(Size::SECTOR, Operation::Mixed, 128),
            sector,
            PAGE_READ,
            of(Size::PAGE, Operation::Write, 32),
            read,
            write,
        ];
        let over_veth = vec![VethLink, Veth, Vblade];
        let limit = vec![MemifLink, Bdev, Memif];
        let expected = vec![
            (cells[0], over_veth.clone()),
            (sector, vec![MemifLink, Bdev, Memif, Veth, Vblade]),
            (PAGE_READ, [&limit[..], &over_veth, &[Nvmf]].concat()),
            (cells[5], [&[Memif], &over_veth[..], &[Nvmf]].concat()),
            (read, limit.clone()),
            (write, limit),
        ];
        assert_eq!(plan(&Contender::ALL, &cells, true), expected);
        assert_eq!(plan(&[Nvmf], &cells[..4], true), []);
        let all = plan(&Contender::ALL, &cells, false);
        assert_eq!((all.len(), all[1].1.len()), (8, 7), "the first rounds have everything");
    }
}
