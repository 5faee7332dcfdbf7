//! `kv initiators`: who uses the exports.

use clap::Args;
use control::{GetInitiators, Method, Shelf, Slot};
use serde_json::Value;

use crate::table::{self, Cell, Column, Side, Table};
use rpc_client::command::{CommandError, Connection, Outcome, parse_shelf, parse_slot};

/// List the initiators of each export: when they were seen, their requests in flight, retransmissions and drops
#[derive(Debug, Args)]
pub(super) struct InitiatorsArgs {
    /// Only those of this shelf
    #[arg(value_parser = parse_shelf)]
    shelf: Option<Shelf>,
    /// Only those of this slot of it
    #[arg(value_parser = parse_slot)]
    slot: Option<Slot>,
    /// Print all that is known of each initiator as JSON
    #[arg(long)]
    json: bool,
}

const COLUMNS: [Column; 11] = [
    ("EXPORT", Side::Left),
    ("VLAN", Side::Right),
    ("INITIATOR", Side::Left),
    ("FIRST", Side::Right),
    ("LAST", Side::Right),
    ("REQUESTS", Side::Right),
    ("QUEUE", Side::Right),
    ("RETRANS", Side::Right),
    ("FRAME", Side::Right),
    ("FULL", Side::Right),
    ("LIMITED", Side::Right),
];

impl InitiatorsArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut answer: Value = connection.open()?.call(GetInitiators::NAME, None)?;
        if let Some(initiators) = answer.get_mut("initiators").and_then(Value::as_array_mut) {
            initiators.retain(|initiator| self.is_wanted(initiator));
        }
        if self.json {
            return Ok(Outcome::json(&answer));
        }
        Ok(text_of(&answer).into())
    }

    fn is_wanted(&self, initiator: &Value) -> bool {
        let number = |name: &str| initiator.get(name).and_then(Value::as_u64);
        self.shelf.is_none_or(|shelf| number("shelf") == Some(shelf.0.into()))
            && self.slot.is_none_or(|slot| number("slot") == Some(slot.0.into()))
    }
}

fn text_of(answer: &Value) -> String {
    let initiators =
        answer.get("initiators").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = Table::new(&COLUMNS, initiators.iter().map(row).collect()).to_text();
    let others = answer.get("others").and_then(Value::as_object).into_iter().flatten();
    let others: Vec<String> = others
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if others.is_empty() {
        return text;
    }
    format!("{text}\nDrops of initiators that had no place in the tables: {}\n", others.join(", "))
}

fn row(initiator: &Value) -> Vec<Cell> {
    let number = |name: &str| initiator.get(name).and_then(Value::as_u64);
    let count = |name: &str| number(name).map_or_else(Cell::unknown, Cell::count);
    let ago = |name: &str| number(name).map_or_else(Cell::unknown, |seconds| Cell::text(table::ago(seconds)));
    let address = format!("{}.{}", number("shelf").unwrap_or_default(), number("slot").unwrap_or_default());
    let mac = initiator.get("mac").and_then(Value::as_str).unwrap_or_default();
    vec![
        Cell::text(address),
        count("vlan"),
        Cell::text(mac),
        ago("first_seen_seconds"),
        ago("last_seen_seconds"),
        count("requests"),
        count("outstanding"),
        count("retransmissions"),
        count("largest_frame"),
        count("export_full"),
        count("rate_limited"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_seen_is_a_dash() {
        let initiator = json!({
            "shelf": 1, "slot": 2, "vlan": null, "mac": "02:00:00:00:00:02", "first_seen_seconds": 90_061,
            "last_seen_seconds": 61, "messages": 4, "requests": null, "retransmissions": 0, "outstanding": 2,
            "largest_frame": 1060, "export_full": 11, "rate_limited": 22,
        });
        let answer = json!({ "initiators": [initiator], "others": { "export_full": 3, "rate_limited": 0 } });
        let text = text_of(&answer);
        let lines: Vec<&str> = text.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(
            words,
            ["1.2", "-", "02:00:00:00:00:02", "1d01h", "1m01s", "-", "2", "0", "1060", "11", "22"],
            "{text}"
        );
        assert!(lines.last().unwrap().ends_with(": export_full 3"), "{text}");
    }
}
