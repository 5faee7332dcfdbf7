//! `kv lcores`: the lcores, with their queues and load.

use clap::Args;
use control::{GetLcores, Method};
use serde_json::Value;

use crate::table::{Cell, Column, Side, Table};
use rpc_client::command::{CommandError, Connection, Outcome};

/// List the lcores: CPU, NUMA node, the queues that they poll, their exports, and how busy they are
#[derive(Debug, Args)]
pub(super) struct LcoresArgs {
    /// Only this lcore
    lcore: Option<u32>,
    /// Period of the busy share, in seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Print all that is known of each lcore as JSON
    #[arg(long)]
    json: bool,
}

const COLUMNS: [Column; 7] = [
    ("LCORE", Side::Right),
    ("CPU", Side::Left),
    ("NUMA", Side::Right),
    ("BUSY", Side::Right),
    ("EXPORTS", Side::Right),
    ("IN-FLIGHT", Side::Right),
    ("QUEUES", Side::Left),
];

impl LcoresArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let wanted = GetLcores { lcore: self.lcore, seconds: self.seconds, ..GetLcores::default() };
        let lcores: Value = connection.open()?.call(GetLcores::NAME, Some(wanted.to_params()))?;
        if self.json {
            return Ok(Outcome::json(&lcores));
        }
        let rows = lcores.as_array().into_iter().flatten().map(row).collect();
        Ok(Table::new(&COLUMNS, rows).to_text().into())
    }
}

fn row(lcore: &Value) -> Vec<Cell> {
    let count = |name: &str| lcore.get(name).and_then(Value::as_u64).map_or_else(Cell::unknown, Cell::count);
    let list = |name: &str| lcore.get(name).and_then(Value::as_array).into_iter().flatten();
    let cpus: Vec<String> = list("cpus").map(ToString::to_string).collect();
    let busy = lcore.get("busy_share").and_then(Value::as_f64);
    let busy = busy.map_or_else(Cell::unknown, |share| Cell::number(share, format!("{:.1}%", share * 100.0)));
    // A port without a queue of this lcore's hands it frames by a ring.
    let queue = |queue: &Value| {
        let name = queue.get("netif").and_then(Value::as_str).or_else(|| queue.get("name")?.as_str())?;
        Some(format!("{name}:{}", queue.get("queue")?.as_u64()?))
    };
    let queues: Vec<String> = list("queues").filter_map(queue).collect();
    vec![
        count("lcore"),
        Cell::text(if cpus.is_empty() { "-".to_owned() } else { cpus.join(",") }),
        count("numa_node"),
        busy,
        count("exports_owned"),
        count("in_flight"),
        Cell::text(if queues.is_empty() { "-".to_owned() } else { queues.join(" ") }),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queues_go_by_their_interface_and_what_is_unknown_is_a_dash() {
        let lcore = json!({
            "lcore": 3, "cpus": [3], "numa_node": null, "exports_owned": 2, "busy_share": 0.0912, "busy_seconds": 10.0,
            "turns": 7, "busy_turns": 1, "in_flight": 8, "queues": [
                { "port": 0, "name": "net_af_packet0", "netif": "t0", "queue": 1 },
                { "port": 1, "name": "0000:03:00.0", "netif": null, "queue": 0 },
                { "port": 2, "name": "net_memif0", "netif": null, "queue": null },
            ],
        });
        let text = Table::new(&COLUMNS, vec![row(&lcore)]).to_text();
        let words: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words, ["3", "3", "-", "9.1%", "2", "8", "t0:1", "0000:03:00.0:0"], "{text}");
    }
}
