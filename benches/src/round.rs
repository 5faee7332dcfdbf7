//! Rounds: every server is started afresh, then each cell is measured on one contender right after the other.
//!
//! So a slow minute of the machine falls on all contenders of a cell alike, and shows as spread instead of as a
//! winner; and what a start decides by chance (which pages the memory is in) is decided anew in each round.

use crate::cell::{Cell, LIMIT_CELLS, LIMIT_DEPTH, Size};
use crate::contender::Contender;
use crate::lab::Lab;
use crate::record::portable;
use crate::sample::Figures;
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

/// Runs everything.
///
/// # Errors
/// If a program does not start, does not answer or fails a request, or if `stop` is set: a table with holes in it is
/// worth nothing.
pub fn measure(
    lab: &Lab,
    contenders: &[Contender],
    cells: &[Cell],
    rounds: u32,
    stop: &AtomicBool,
) -> Result<Measured> {
    ensure!(!contenders.is_empty() && !cells.is_empty() && rounds > 0, "there is nothing to measure");
    let mut measured = Measured::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}: starting {} servers", contenders.len());
        let mut servers = contenders
            .iter()
            .map(|&contender| Ok((contender, lab.serve(contender, stop)?)))
            .collect::<Result<Vec<_>>>()?;
        for (number, &cell) in cells.iter().enumerate() {
            eprintln!("round {round} of {rounds}: {cell} ({} of {})", number + 1, cells.len());
            for (contender, server) in &mut servers {
                ensure!(!stop.load(Ordering::Relaxed), "interrupted");
                if !wanted(*contender, cell) {
                    continue;
                }
                let (command, sample) = lab.measure(*contender, server.as_mut(), cell, stop)?;
                measured.figures.push(*contender, cell, sample);
                let server = server.as_ref().map(|server| server.command().to_owned());
                measured.commands.entry(contender.name()).or_insert_with(|| {
                    server.iter().chain([&command]).map(|shown| portable(shown)).collect()
                });
            }
        }
        drop(servers);
        lab.remove_leftovers()?;
    }
    Ok(measured)
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
}
