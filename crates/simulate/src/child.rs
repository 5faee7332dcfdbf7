//! A process that runs seeds, inside SPDK's app, and says on standard output how each ended.

use std::{
    io::Write,
    process::{ExitCode, exit},
};

use crate::{options::Options, world};

/// Runs the seeds. Each has a line before it, `seed N`, and one after it: `ok` with numbers, or `broken` with a sentence.
pub(crate) fn run(options: &Options) -> ExitCode {
    let options = options.clone();
    let code = ring_lab::run("simulate", "0", &[], move || {
        let first = options.from;
        for (number, seed) in (first..first + options.seeds.unwrap_or(1)).enumerate() {
            say(&format!("seed {seed}"));
            match world::run(options.plan(seed), number as u64, options.trace) {
                Ok(summary) => say(&format!(
                    "ok {} {} {} {} {}",
                    summary.requests, summary.frames, summary.replies, summary.drops, summary.ticks
                )),
                Err(broken) => say(&format!("broken {broken}")),
            }
        }
        say("end");
        // SPDK's own end has nothing to show here.
        exit(0);
    });
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The parent reads standard output; if it is gone, there is nobody to run for.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        exit(1);
    }
}
