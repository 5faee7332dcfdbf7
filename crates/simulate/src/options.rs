//! The command line.

use std::collections::BTreeSet;

use clap::Parser;

use crate::plan::{Part, Plan, generate};

/// Runs seeds of the simulation: by default 1,000.
#[derive(Debug, Clone, Parser)]
#[command(name = "simulate", version)]
pub(crate) struct Options {
    /// Run this seed only.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "minutes"])]
    pub(crate) seed: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) from: u64,
    /// Run so many seeds.
    #[arg(long, value_name = "COUNT")]
    pub(crate) seeds: Option<u64>,
    /// Run seeds for so many minutes.
    #[arg(long, value_name = "M", conflicts_with = "seeds")]
    pub(crate) minutes: Option<u64>,
    /// Processes that run seeds at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) jobs: u64,
    /// Parts of the simulation to be left out.
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    pub(crate) without: Vec<Part>,
    /// Make these requests of the seed only, by their numbers.
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',')]
    pub(crate) keep: Vec<u32>,
    /// Write every step to standard error.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Report a failing seed as it is, without making it smaller.
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Go on after a failing seed, and count.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Run the seeds in this process.
    #[arg(long, hide = true)]
    pub(crate) child: bool,
}

impl Options {
    /// The parts that are left out.
    pub(crate) fn left_out(&self) -> BTreeSet<Part> {
        self.without.iter().copied().collect()
    }

    /// The plan of a seed, as far as these options leave it.
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let mut plan = generate::plan(seed, &self.left_out());
        if !self.keep.is_empty() {
            plan.ops.retain(|op| self.keep.contains(&op.id));
        }
        plan
    }

    /// The arguments for a child that runs these seeds.
    pub(crate) fn child_arguments(&self, from: u64, seeds: u64) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--child", "--from", &from.to_string(), "--seeds", &seeds.to_string()].map(String::from).into();
        arguments.extend(self.parts_arguments());
        if self.trace {
            arguments.push("--trace".into());
        }
        arguments
    }

    /// The arguments that make the plan what it is, beside the seed.
    pub(crate) fn parts_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().map(|part| part.name()).collect();
            arguments.extend(["--without".into(), names.join(",")]);
        }
        if !self.keep.is_empty() {
            let numbers: Vec<String> = self.keep.iter().map(u32::to_string).collect();
            arguments.extend(["--keep".into(), numbers.join(",")]);
        }
        arguments
    }
}
