//! Interleaved rounds: every row is sampled once in each, neighbours in a table right after each other.
//!
//! So a slow minute of the machine falls on all rows that are compared alike. Every second round goes backwards: whoever is
//! first in one is last in the next.

use crate::case::Case;
use crate::contender::Contender;
use crate::sampler::{Build, Sampler, Taken};
use crate::stats::{Interval, Sample};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// A row: a sample for each round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Index of the build.
    pub(crate) build: usize,
    pub(crate) contender: Contender,
    pub(crate) case: Case,
    /// One for each round.
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn rate(&self) -> Option<Interval> {
        Interval::over(&self.samples, |sample| Some(sample.iops))
    }
}

/// The row of a contender and a case.
pub(crate) fn find(rows: &[Row], contender: Contender, case: Case) -> Option<&Row> {
    rows.iter().find(|row| row.contender == contender && row.case == case)
}

/// The commands of server and load in a contender's first row, by contender.
pub(crate) type Commands = BTreeMap<String, Vec<String>>;

/// All rows of these cases for which a contender has the disk, case by case.
pub(crate) fn rows(builds: usize, contenders: &[Contender], cases: &[Case]) -> Vec<Row> {
    let mut rows = Vec::new();
    for &case in cases {
        for &contender in contenders.iter().filter(|contender| contender.has(case.disk)) {
            rows.extend((0..builds).map(|build| Row { build, contender, case, samples: Vec::new() }));
        }
    }
    rows
}

/// Takes the samples of one round.
pub(crate) fn measure(
    sampler: &Sampler<'_>,
    builds: &[Build],
    round: u32,
    rows: &mut [Row],
    commands: &mut Commands,
) -> Result<()> {
    let total = rows.len();
    for number in 0..total {
        let row = &mut rows[if round.is_multiple_of(2) { total - 1 - number } else { number }];
        let build = &builds[row.build];
        eprintln!("round {round}, {} of {total}: {} {} {}", number + 1, build.name, row.contender, row.case);
        let Taken { sample, commands: taken } = sampler.measure(build, row.contender, row.case)?;
        row.samples.push(sample);
        commands.entry(format!("{} {}", build.name, row.contender)).or_insert(taken);
    }
    Ok(())
}
