//! `kv health`: the target's verdict on itself, also as the exit code.

use clap::Args;
use control::{GetHealth, Method};
use serde_json::Value;

use crate::table::{Cell, Column, Side, Table};
use rpc_client::command::{CommandError, Connection, Outcome};

/// Exit code when the target gives no verdict, as programs for monitoring expect it.
pub(super) const UNKNOWN: u8 = 3;

/// Report whether all is well, with the reasons; exit with 0 if it is, 1 for a warning, 2 for a failure, 3 if it is unknown
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Print the verdict and its reasons as JSON
    #[arg(long)]
    json: bool,
}

const COLUMNS: [Column; 4] =
    [("SEVERITY", Side::Left), ("KIND", Side::Left), ("SUBJECT", Side::Left), ("REASON", Side::Left)];

impl HealthArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let health: Value = connection.open()?.call(GetHealth::NAME, None)?;
        let verdict = health.get("verdict").and_then(Value::as_str).unwrap_or_default();
        let code = code_of(verdict);
        if self.json {
            return Ok(Outcome::with_code(format!("{health:#}\n"), code));
        }
        Ok(Outcome::with_code(text_of(verdict, &health), code))
    }
}

fn code_of(verdict: &str) -> u8 {
    match verdict {
        "ok" => 0,
        "warning" => 1,
        "failure" => 2,
        _ => UNKNOWN,
    }
}

fn text_of(verdict: &str, health: &Value) -> String {
    let reasons = health.get("reasons").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let row = |reason: &Value| {
        let text = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
        ["severity", "kind", "subject", "text"].map(|name| Cell::text(text(name))).into()
    };
    let table = Table::new(&COLUMNS, reasons.iter().map(row).collect());
    if reasons.is_empty() { format!("{verdict}\n") } else { format!("{verdict}\n\n{}", table.to_text()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_verdict_has_its_code_and_an_unknown_one_is_no_good_news() {
        let codes = ["ok", "warning", "failure", "", "splendid"].map(code_of);
        assert_eq!(codes, [0, 1, 2, 3, 3]);
    }

    #[test]
    fn reasons_stand_below_the_verdict() {
        let reason =
            json!({"severity": "warning", "kind": "link_down", "subject": "eth1", "text": "no link"});
        let text = text_of("warning", &json!({ "reasons": [reason] }));
        assert_eq!(
            text,
            "warning\n\nSEVERITY  KIND       SUBJECT  REASON\nwarning   link_down  eth1     no link\n"
        );
        assert_eq!(text_of("ok", &json!({ "reasons": [] })), "ok\n");
    }
}
