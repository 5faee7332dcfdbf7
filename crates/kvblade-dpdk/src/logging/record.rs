//! Log lines as records: objects in JSON, or fields of journald's native protocol.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Longest message that journald gets, in bytes: a record must fit into a datagram.
const MESSAGE_MAX: usize = 48 << 10;

/// Most bytes of all its other fields.
const FIELDS_MAX: usize = 16 << 10;

/// Longest name of a field of journald.
const NAME_MAX: usize = 64;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Journal,
}

impl Form {
    /// Its name in `aoe_get_log_level`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Journal => "journal",
        }
    }

    /// A line of this program that passes no filter: in text, only its message.
    pub(super) fn sentence(self, message: &str) -> Vec<u8> {
        match self {
            Self::Text => format!("{message}\n").into_bytes(),
            Self::Json | Self::Journal => {
                self.record(&Record::of(Level::ERROR, "kvblade_dpdk", message.to_owned()))
            }
        }
    }

    /// A warning of the log itself, formed like a line that has passed the filter: a log with holes must say so.
    pub(super) fn warning(self, message: &str) -> Vec<u8> {
        const MODULE: &str = "kvblade_dpdk::logging";
        match self {
            Self::Text => format!("{}  WARN {MODULE}: {message}\n", now()).into_bytes(),
            Self::Json | Self::Journal => self.record(&Record::of(Level::WARN, MODULE, message.to_owned())),
        }
    }

    /// A line of an event.
    pub(super) fn event(self, event: &Event<'_>) -> Vec<u8> {
        let metadata = event.metadata();
        let mut record = Record::of(*metadata.level(), metadata.target(), String::new());
        record.place = metadata.file().zip(metadata.line()).map(|(file, line)| (file.to_owned(), line));
        event.record(&mut record);
        self.record(&record)
    }

    fn record(self, record: &Record) -> Vec<u8> {
        if self == Self::Journal { record.journal() } else { record.json() }
    }
}

/// One line.
struct Record {
    level: Level,
    module: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
    place: Option<(String, u32)>,
}

impl Record {
    fn of(level: Level, module: &str, message: String) -> Self {
        Self { level, module: module.to_owned(), message, fields: Vec::new(), place: None }
    }

    fn json(&self) -> Vec<u8> {
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut object = json!({
            "time": now(),
            "level": self.level.as_str().to_ascii_lowercase(),
            "module": self.module,
            "message": self.message,
        });
        if !fields.is_empty() {
            object["fields"] = Value::Object(fields);
        }
        format!("{object}\n").into_bytes()
    }

    /// `MESSAGE` has the fields in it too, for that is what journalctl shows.
    fn journal(&self) -> Vec<u8> {
        let mut message = self.message.clone();
        for (name, value) in &self.fields {
            // Writing to a String can't fail.
            write!(message, " {name}={value}").unwrap_or_default();
        }
        if message.len() > MESSAGE_MAX {
            let end = (0..=MESSAGE_MAX).rev().find(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or_default());
            message.push_str(" [cut]");
        }
        let mut datagram = Vec::with_capacity(message.len() + 256);
        put(&mut datagram, "MESSAGE", &message);
        put(&mut datagram, "PRIORITY", priority(self.level));
        put(&mut datagram, "SYSLOG_IDENTIFIER", "kvblade-dpdk");
        put(&mut datagram, "KVBLADE_MODULE", &self.module);
        if let Some((file, line)) = &self.place {
            put(&mut datagram, "CODE_FILE", file);
            put(&mut datagram, "CODE_LINE", &line.to_string());
        }
        let most = datagram.len() + FIELDS_MAX;
        for (name, value) in &self.fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if datagram.len() + name.len() + text.len() < most {
                put(&mut datagram, &field_name(name), &text);
            }
        }
        datagram
    }

    fn field(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, format!("{value:?}").into());
    }
}

/// Adds a field of the native protocol: a value with a line end in it goes with its length.
fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// A field's name as journald takes it.
fn field_name(name: &str) -> String {
    let allowed = |byte: char| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { '_' };
    format!("KVBLADE_{name}").chars().map(allowed).take(NAME_MAX).collect()
}

/// syslog's numbers.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// The time now, in UTC.
fn now() -> String {
    let mut text = String::new();
    if SystemTime.format_time(&mut FormatWriter::new(&mut text)).is_err() {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Record {
        let mut record = Record::of(Level::WARN, "kvblade_dpdk::target", "two\nlines".into());
        record.fields = vec![("export", "1.2".into()), ("in-flight", 7.into())];
        record.place = Some(("src/target.rs".into(), 12));
        record
    }

    #[test]
    fn json_is_an_object_on_a_line() {
        let text = String::from_utf8(example().json()).unwrap();
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&object["level"], &object["message"]), (&json!("warn"), &json!("two\nlines")));
        assert_eq!(object["fields"], json!({ "export": "1.2", "in-flight": 7 }));
        assert!(object["time"].as_str().unwrap().ends_with('Z'), "{text}");
    }

    #[test]
    fn a_record_of_the_journal_has_lengths_where_values_have_lines() {
        let datagram = example().journal();
        let message = "two\nlines export=\"1.2\" in-flight=7";
        let mut expected = b"MESSAGE\n".to_vec();
        expected.extend_from_slice(&(message.len() as u64).to_le_bytes());
        expected.extend_from_slice(message.as_bytes());
        expected.extend_from_slice(
            b"\nPRIORITY=4\nSYSLOG_IDENTIFIER=kvblade-dpdk\nKVBLADE_MODULE=kvblade_dpdk::target\n\
              CODE_FILE=src/target.rs\nCODE_LINE=12\nKVBLADE_EXPORT=1.2\nKVBLADE_IN_FLIGHT=7\n",
        );
        assert_eq!(String::from_utf8_lossy(&datagram), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn a_record_of_the_journal_fits_into_a_datagram() {
        let mut record = Record::of(Level::INFO, "spdk", "é".repeat(MESSAGE_MAX));
        record.fields = vec![("big", "x".repeat(FIELDS_MAX).into()), ("small", 1.into())];
        let datagram = record.journal();
        assert!(datagram.len() < MESSAGE_MAX + FIELDS_MAX + 512, "{}", datagram.len());
        let text = String::from_utf8(datagram).unwrap();
        assert!(text.contains("é [cut]\n") && text.contains("\nKVBLADE_SMALL=1\n"));
        assert!(!text.contains("KVBLADE_BIG"));
    }

    #[test]
    fn sentences_without_a_filter_have_each_form() {
        assert_eq!(Form::Text.sentence("kvblade-dpdk: no"), b"kvblade-dpdk: no\n");
        let json: Value = serde_json::from_slice(&Form::Json.sentence("no\nway")).unwrap();
        assert_eq!((&json["level"], &json["message"]), (&json!("error"), &json!("no\nway")));
        assert!(Form::Journal.sentence("no").starts_with(b"MESSAGE=no\nPRIORITY=3\n"));
        let warning = String::from_utf8(Form::Text.warning("3 log lines are lost")).unwrap();
        assert!(warning.ends_with("Z  WARN kvblade_dpdk::logging: 3 log lines are lost\n"), "{warning}");
    }
}
