//! `kv ports`: the ports, with their lcores and drops.

use clap::Args;
use control::{GetPorts, Method, PortRef};
use serde_json::Value;

use crate::table::{Cell, Column, Side, Table, Tone};
use rpc_client::command::{CommandError, Connection, Outcome, parse_port};

/// List the ports: interface, driver, link, MTU, lcores, exports, frames, and drops by reason
#[derive(Debug, Args)]
pub(super) struct PortsArgs {
    /// Only this port, by name, number or Linux interface
    #[arg(value_parser = parse_port)]
    port: Option<PortRef>,
    /// Print all that is known of each port as JSON
    #[arg(long)]
    json: bool,
}

const COLUMNS: [Column; 11] = [
    ("PORT", Side::Left),
    ("INTERFACE", Side::Left),
    ("DRIVER", Side::Left),
    ("MAC", Side::Left),
    ("LINK", Side::Left),
    ("MTU", Side::Right),
    ("LCORES", Side::Left),
    ("EXPORTS", Side::Right),
    ("RECEIVED", Side::Right),
    ("SENT", Side::Right),
    ("DROPS", Side::Left),
];

impl PortsArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let wanted = GetPorts { port: self.port, ..GetPorts::default() };
        let ports: Value = connection.open()?.call(GetPorts::NAME, Some(wanted.to_params()))?;
        if self.json {
            return Ok(Outcome::json(&ports));
        }
        let rows = ports.as_array().into_iter().flatten().map(row).collect();
        Ok(Table::new(&COLUMNS, rows).to_text().into())
    }
}

fn row(port: &Value) -> Vec<Cell> {
    let text = |name: &str| Cell::text(port.get(name).and_then(Value::as_str).unwrap_or("-"));
    let count = |name: &str| port.get(name).and_then(Value::as_u64).map_or_else(Cell::unknown, Cell::count);
    let queues = port.get("queues").and_then(Value::as_array).into_iter().flatten();
    let lcores: Vec<String> =
        queues.filter_map(|queue| Some(queue.get("lcore")?.as_u64()?.to_string())).collect();
    let drops = port.get("drops").and_then(Value::as_object).into_iter().flatten();
    let drops: Vec<String> = drops
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
    let link = text("link");
    let link = if link.shown() == "down" { link.with_tone(Tone::Bad) } else { link };
    vec![
        text("name"),
        text("netif"),
        text("driver"),
        text("mac"),
        link,
        count("mtu"),
        Cell::text(lcores.join(",")),
        count("exports"),
        count("rx_frames"),
        count("tx_frames"),
        Cell::text(drops),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reasons_without_drops_are_left_out() {
        let port = json!({
            "number": 0, "name": "net_af_packet0", "netif": null, "driver": "net_af_packet", "mac": "02:00:00:00:00:01",
            "link": "up", "mtu": 9000, "queues": [{ "queue": 0, "lcore": 1 }, { "queue": 1, "lcore": 3 }], "exports": 2,
            "rx_frames": 7, "tx_frames": 5, "drops": { "not_aoe": 2, "no_mbuf": 0 },
        });
        let text = Table::new(&COLUMNS, vec![row(&port)]).to_text();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "net_af_packet0",
            "-",
            "net_af_packet",
            "02:00:00:00:00:01",
            "up",
            "9000",
            "1,3",
            "2",
            "7",
            "5",
            "not_aoe",
            "2",
        ];
        assert_eq!(words, expected);
    }
}
