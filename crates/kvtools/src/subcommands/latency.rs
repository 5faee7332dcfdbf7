//! `kv latency`: how long the requests of an export take.

use clap::Args;
use control::{EnableHistogram, GetHistogram, Method};
use serde_json::Value;

use crate::table::{self, Cell, Column, Side, Table};
use rpc_client::command::{CommandError, Connection, ExportArgs, Outcome};

/// Show how long the requests of an export have taken since they are timed, or begin or end timing them
///
/// An export that is not timed costs nothing. `kv top` shows the times of those that are timed.
#[derive(Debug, Args)]
pub(super) struct LatencyArgs {
    #[command(flatten)]
    export: ExportArgs,
    /// Time the requests from now on, with empty histograms
    #[arg(long)]
    enable: bool,
    /// Time them no longer
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Print the histograms as JSON
    #[arg(long, conflicts_with_all = ["enable", "disable"])]
    json: bool,
}

const COLUMNS: [Column; 8] = [
    ("REQUESTS", Side::Left),
    ("COUNT", Side::Right),
    ("MEAN", Side::Right),
    ("P50", Side::Right),
    ("P90", Side::Right),
    ("P99", Side::Right),
    ("P99.9", Side::Right),
    ("MAX", Side::Right),
];

impl LatencyArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let export = self.export.export();
        let mut client = connection.open()?;
        if self.enable || self.disable {
            let request = EnableHistogram { export, enable: self.enable };
            let _done: Value = client.call(EnableHistogram::NAME, Some(request.to_params()))?;
            return Ok(String::new().into());
        }
        let answer: Value = client.call(GetHistogram::NAME, Some(GetHistogram { export }.to_params()))?;
        if self.json {
            return Ok(Outcome::json(&answer));
        }
        let rows =
            ["reads", "writes", "flushes"].map(|kind| row(kind, answer.get(kind).unwrap_or(&Value::Null)));
        Ok(Table::new(&COLUMNS, rows.into()).to_text().into())
    }
}

fn row(kind: &str, histogram: &Value) -> Vec<Cell> {
    let number = |name: &str| histogram.get(name).and_then(Value::as_u64).unwrap_or_default();
    let count = number("count");
    let time = |name: &str| if count == 0 { Cell::unknown() } else { Cell::text(table::time(number(name))) };
    let times = ["mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(time);
    [Cell::text(kind), Cell::count(count)].into_iter().chain(times).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_without_requests_have_no_times() {
        let reads = json!({"count": 4, "mean_ns": 1500, "p50_ns": 1000, "p90_ns": 2000, "p99_ns": 2000, "p999_ns": 2000, "max_ns": 2_500_000});
        let shown = |row: Vec<Cell>| row.iter().map(|cell| cell.shown().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown(row("reads", &reads)),
            ["reads", "4", "1.50us", "1.00us", "2.00us", "2.00us", "2.00us", "2.50ms"]
        );
        assert_eq!(shown(row("flushes", &Value::Null)), ["flushes", "0", "-", "-", "-", "-", "-", "-"]);
    }
}
