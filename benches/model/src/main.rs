//! `scripts/bench model [INPUTS]`: what many lcores, fast links and many drives would give, what saturates first, and
//! how evenly requests spread over lcores. The formulas are in the README beside this.
#![forbid(unsafe_code)]

mod limits;
mod spread;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use limits::{Inputs, Load};
use spread::Rule;

/// Draws of initiators' addresses that the second table averages.
const DRAWS: u64 = 1000;

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = match &arguments[..] {
        [] => Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs.toml"),
        [path] if !path.starts_with('-') => PathBuf::from(path),
        _ => bail!("'{}': expected the path of a file of inputs, or nothing", arguments.join(" ")),
    };
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let inputs: Inputs = toml::from_str(&text).with_context(|| path.display().to_string())?;
    inputs.check().with_context(|| path.display().to_string())?;

    println!("million requests a second that each resource permits, by {}\n", path.display());
    println!("| bytes | op | lcores | wire | PCIe, ports | PCIe, drives | memory | drives | least | GB/s |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |");
    for bytes in [512, 4096, 8192] {
        for write in [false, true] {
            let load = Load { bytes, write };
            let limits = limits::limits(&inputs, load);
            let cells: Vec<_> = limits.iter().map(|limit| format!("{:.2}", limit.rate / 1e6)).collect();
            let least = limits::least(&limits);
            let op = if write { "write" } else { "read" };
            println!(
                "| {bytes} | {op} | {} | {} | {:.1} |",
                cells.join(" | "),
                least.resource,
                least.rate * f64::from(bytes) / 1e9
            );
        }
    }

    println!(
        "\nload of the fullest lcore over the mean, {} requests of each initiator in flight\n",
        spread::IN_FLIGHT
    );
    println!("| initiators | lcores | addresses | a MAC per queue | source and tag |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for initiators in [1, 10, 100] {
        for lcores in [2, 4, 8, 24] {
            let cells = [Rule::Addresses, Rule::MacPerQueue, Rule::SourceAndTag]
                .map(|rule| format!("{:.2}", spread::imbalance(rule, initiators, lcores, DRAWS)));
            println!("| {initiators} | {lcores} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}
