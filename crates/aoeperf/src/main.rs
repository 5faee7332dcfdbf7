//! `aoeperf [EAL options] -- [options]`: measures AoE targets through any DPDK port.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use aoe_initiator::output;
use aoeperf::options::{self, CommandLine, Refusal};
use aoeperf::run;

fn main() -> ExitCode {
    let command = match options::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(Refusal::Print(text)) => {
            return match output::print(&text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    output::note(&format!("aoeperf: standard output can't be written: {error}\n"));
                    ExitCode::FAILURE
                }
            };
        }
        Err(Refusal::Usage(sentence)) => {
            output::note(&format!("aoeperf: {sentence}\n"));
            return ExitCode::from(2);
        }
    };
    match start(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::note(&format!("aoeperf: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn start(command: CommandLine) -> Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    dpdk::eal::log_to(log)?;
    // Nobody asks a program that runs for seconds for its telemetry, and its socket costs a thread.
    let quiet = (!command.eal.iter().any(|word| word == "--telemetry")).then(|| "--no-telemetry".to_owned());
    let words: Vec<String> = std::iter::once("aoeperf".to_owned()).chain(quiet).chain(command.eal).collect();
    dpdk::eal::init(&words).context("EAL did not start: its log lines above say why")?;
    run::run(&command.options, &stop)
}

/// Warnings and worse of EAL and the PMDs, each once until something else is logged: a port that waits for its other
/// side says so ten times a second.
fn log(level: u32, text: &str) {
    const WARNING: u32 = 5;
    static LAST: Mutex<String> = Mutex::new(String::new());
    let Ok(mut last) = LAST.lock() else { return };
    if level <= WARNING && *last != text {
        output::note(&format!("{text}\n"));
        text.clone_into(&mut last);
    }
}
