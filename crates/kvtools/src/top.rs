//! `kv top`: rates, latency and load of a running target, live on a terminal, or once or again and again for scripts.
//!
//! A [`sampler::Sampler`] makes the calls; two samples make a [`view::View`], which has rates; [`tables`] show it. On a terminal
//! the sampler has a thread of its own, so that keys are answered while a call waits ([`terminal`], [`screen`], [`draw`]).

mod draw;
mod histogram;
mod sample;
mod sampler;
mod screen;
mod tables;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use rpc_client::command::{CommandError, Connection, Outcome};
use sampler::Sampler;
use tables::Pane;
use view::View;

/// Show rates, latency and load of exports, initiators, ports and lcores, live
///
/// Keys: q ends it; Tab or 1 to 4 choose a table; s, < and > choose the column it is sorted by, r reverses it; / filters; p or space
/// pauses; h shows all keys. Latency is that of exports that are timed (kv latency --enable).
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Time between two samples, from 0.2 to 3600
    #[arg(short = 'd', long, value_name = "SECONDS", default_value = "2", value_parser = parse_interval)]
    interval: Duration,
    /// Print the tables after one interval, and end
    #[arg(long)]
    once: bool,
    /// Print a line of JSON for each interval, or with --once a document
    #[arg(long)]
    json: bool,
    /// Show only rows that hold this text
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "it is a number of seconds from 0.2 to 3600";
    let seconds: f64 = text.parse().map_err(|_| ALLOWED.to_owned())?;
    if (0.2..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(ALLOWED.into()) }
}

impl TopArgs {
    /// Carries it out.
    pub(crate) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let sampler = Sampler::new(connection, self.interval);
        match (self.once, self.json) {
            (true, _) => self.print_once(sampler, connection),
            (false, true) => self.print_lines(sampler, connection),
            (false, false) if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() => {
                terminal::run(sampler, self.interval, self.filter, connection.socket())
            }
            _ => Err(CommandError::Usage(
                "standard input and output are no terminal: give --once or --json (see kv top --help)".into(),
            )),
        }
    }

    fn print_once(&self, mut sampler: Sampler, connection: &Connection) -> Result<Outcome, CommandError> {
        let first = sampler.take()?;
        thread::sleep(self.interval);
        let view = View::between(Some(&first), &sampler.take()?);
        if self.json {
            return Ok(Outcome::json(&document(&view, connection)));
        }
        let mut text = tables::summary(&view);
        for pane in Pane::ALL {
            let mut table = tables::table(pane, &view);
            table.filter(&self.filter);
            text += &format!("\n{}", table.to_text());
        }
        Ok(text.into())
    }

    /// Goes on until standard output or the process is closed; a target that is lost is connected to again.
    fn print_lines(&self, mut sampler: Sampler, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut before = None;
        loop {
            let line = match sampler.take() {
                Ok(sample) => {
                    let view = before.as_ref().map(|before| View::between(Some(before), &sample));
                    before = Some(sample);
                    view.map(|view| document(&view, connection))
                }
                Err(error) => {
                    before = None;
                    Some(json!({ "time": now(), "error": error.to_string() }))
                }
            };
            if let Some(line) = line {
                manual::print(&format!("{line}\n")).map_err(CommandError::Refused)?;
            }
            thread::sleep(self.interval);
        }
    }
}

/// A view with its time and target.
fn document(view: &View, connection: &Connection) -> Value {
    let mut document = json!({ "time": now(), "socket": connection.socket().display().to_string() });
    let view = serde_json::to_value(view).expect("a view is JSON");
    if let (Some(document), Value::Object(view)) = (document.as_object_mut(), view) {
        document.extend(view);
    }
    document
}

/// Seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    (now * 1e3).round() / 1e3
}
