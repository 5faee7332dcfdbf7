//! The tables of a view, and the lines above them.

use super::view::{ExportView, InitiatorView, LcoreView, PortView, Total, View};
use crate::table::{Cell, Column, Side, Table, Tone, ago, real, short, time};

/// A table of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Exports,
    Initiators,
    Ports,
    Lcores,
}

impl Pane {
    /// In the order of the screen.
    pub(super) const ALL: [Self; 4] = [Self::Exports, Self::Initiators, Self::Ports, Self::Lcores];

    /// Its place among them.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The one so many places further, round and round.
    pub(super) fn moved(self, by: usize) -> Self {
        let index = (self.index() + by) % Self::ALL.len();
        Self::ALL.get(index).copied().unwrap_or(self)
    }
}

const EXPORTS: [Column; 13] = [
    ("EXPORT", Side::Left),
    ("STATE", Side::Left),
    ("READ/S", Side::Right),
    ("WRITE/S", Side::Right),
    ("RD-MB/S", Side::Right),
    ("WR-MB/S", Side::Right),
    ("P50", Side::Right),
    ("P99", Side::Right),
    ("MAX", Side::Right),
    ("QUEUE", Side::Right),
    ("ERRORS", Side::Right),
    ("DROPS", Side::Right),
    ("BDEV", Side::Left),
];

const INITIATORS: [Column; 8] = [
    ("INITIATOR", Side::Left),
    ("EXPORT", Side::Left),
    ("REQ/S", Side::Right),
    ("QUEUE", Side::Right),
    ("RETRANS", Side::Right),
    ("DROPS", Side::Right),
    ("FRAME", Side::Right),
    ("SEEN", Side::Right),
];

const PORTS: [Column; 7] = [
    ("PORT", Side::Left),
    ("INTERFACE", Side::Left),
    ("RX/S", Side::Right),
    ("TX/S", Side::Right),
    ("RX-MB/S", Side::Right),
    ("TX-MB/S", Side::Right),
    ("DROPS", Side::Left),
];

const LCORES: [Column; 7] = [
    ("LCORE", Side::Right),
    ("BUSY", Side::Right),
    ("TURNS/S", Side::Right),
    ("IN-FLIGHT", Side::Right),
    ("RX/S", Side::Right),
    ("TX/S", Side::Right),
    ("HANDED/S", Side::Right),
];

/// Share of an lcore's turns from which it is nearly at its limit.
const BUSY: f64 = 0.95;

/// The table of a pane.
pub(super) fn table(pane: Pane, view: &View) -> Table {
    match pane {
        Pane::Exports => Table::new(&EXPORTS, view.exports.iter().map(export).collect()),
        Pane::Initiators => Table::new(&INITIATORS, view.initiators.iter().map(initiator).collect()),
        Pane::Ports => Table::new(&PORTS, view.ports.iter().map(port).collect()),
        Pane::Lcores => Table::new(&LCORES, view.lcores.iter().map(lcore).collect()),
    }
}

/// The verdict, and the sums of all exports.
pub(super) fn summary(view: &View) -> String {
    format!("{}\n{}\n", verdict(view), sums(view))
}

/// The verdict with its first reason.
pub(super) fn verdict(view: &View) -> String {
    let verdict = view.verdict.as_deref().unwrap_or("health unknown");
    match view.reasons.as_slice() {
        [] => verdict.to_owned(),
        [one] => format!("{verdict}: {one}"),
        [first, rest @ ..] => format!("{verdict}: {first} (and {} more: kv health)", rest.len()),
    }
}

/// Its tone.
pub(super) fn tone(view: &View) -> Tone {
    match view.verdict.as_deref() {
        Some("ok") => Tone::Good,
        Some("warning") => Tone::Warning,
        Some("failure") => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// The sums of all exports.
pub(super) fn sums(view: &View) -> String {
    let shown = |rate: Option<f64>| rate.map_or("-".to_owned(), short);
    let total = &view.total;
    let in_flight: u64 = view.lcores.iter().map(|lcore| lcore.in_flight).sum();
    format!(
        "{} exports: {} reads/s, {} writes/s, {} MB/s read, {} MB/s written, {in_flight} in flight",
        view.exports.len(),
        shown(total.reads),
        shown(total.writes),
        megabytes(total.read_bytes),
        megabytes(total.written_bytes),
    )
}

fn megabytes(bytes: Option<f64>) -> String {
    bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes / 1e6))
}

/// A rate; none is nothing to look at.
fn rate(rate: Option<f64>) -> Cell {
    number(rate, rate.map(short))
}

fn rate_of_bytes(bytes: Option<f64>) -> Cell {
    number(bytes, Some(megabytes(bytes)))
}

fn number(number: Option<f64>, text: Option<String>) -> Cell {
    let Some((number, text)) = number.zip(text) else { return Cell::unknown() };
    Cell::number(number, text).with_tone(if number > 0.0 { Tone::Plain } else { Tone::Faint })
}

/// A count of something that should not be: it stands out while it grows.
fn trouble(count: Total) -> Cell {
    let tone = match count {
        Total { total: 0, .. } => Tone::Faint,
        Total { grown: 0, .. } => Tone::Plain,
        _ => Tone::Bad,
    };
    Cell::number(real(count.total), short(real(count.total))).with_tone(tone)
}

fn address(export: &str, vlan: Option<u64>) -> Cell {
    Cell::text(vlan.map_or_else(|| export.to_owned(), |vlan| format!("{export}.v{vlan}")))
}

fn export(export: &ExportView) -> Vec<Cell> {
    let latency = export.latency;
    let took = |nanoseconds: Option<u64>| {
        nanoseconds.map_or_else(Cell::unknown, |took| Cell::number(real(took), time(took)))
    };
    let state = match export.state.as_str() {
        "online" => Tone::Good,
        "creating" | "changing" | "rebinding" | "deleting" | "quarantined" | "rolling-back" => Tone::Warning,
        _ => Tone::Bad,
    };
    vec![
        address(&export.export, export.vlan),
        Cell::text(&export.state).with_tone(state),
        rate(export.rates.reads),
        rate(export.rates.writes),
        rate_of_bytes(export.rates.read_bytes),
        rate_of_bytes(export.rates.written_bytes),
        took(latency.map(|latency| latency.p50_ns)),
        took(latency.map(|latency| latency.p99_ns)),
        took(latency.map(|latency| latency.max_ns)),
        Cell::count(export.queue),
        trouble(export.errors),
        trouble(export.drops),
        Cell::text(&export.bdev),
    ]
}

fn initiator(initiator: &InitiatorView) -> Vec<Cell> {
    let seen = |seconds: u64| Cell::number(real(seconds), ago(seconds));
    vec![
        Cell::text(&initiator.initiator),
        address(&initiator.export, initiator.vlan),
        rate(initiator.requests),
        Cell::count(initiator.queue),
        trouble(initiator.retransmissions),
        trouble(initiator.drops),
        initiator.largest_frame.map_or_else(Cell::unknown, Cell::count),
        initiator.last_seen_seconds.map_or_else(Cell::unknown, seen),
    ]
}

fn port(port: &PortView) -> Vec<Cell> {
    let drop = |(reason, count): &(String, Total)| match count.grown {
        0 => format!("{reason} {}", count.total),
        grown => format!("{reason} {} (+{grown})", count.total),
    };
    let drops: Vec<String> = port.drops.iter().map(drop).collect();
    let grows = port.drops.iter().any(|(_, count)| count.grown > 0);
    vec![
        Cell::text(&port.port),
        Cell::text(port.interface.as_deref().unwrap_or("-")),
        rate(port.received_frames),
        rate(port.sent_frames),
        rate_of_bytes(port.received_bytes),
        rate_of_bytes(port.sent_bytes),
        Cell::text(if drops.is_empty() { "none".to_owned() } else { drops.join(", ") }).with_tone(if grows {
            Tone::Warning
        } else {
            Tone::Faint
        }),
    ]
}

fn lcore(lcore: &LcoreView) -> Vec<Cell> {
    let busy = match lcore.busy {
        None => Cell::unknown(),
        Some(busy) => Cell::number(busy, format!("{:.1}%", busy * 100.0)).with_tone(if busy >= BUSY {
            Tone::Warning
        } else {
            Tone::Plain
        }),
    };
    vec![
        Cell::count(lcore.lcore),
        busy,
        rate(lcore.turns),
        Cell::count(lcore.in_flight),
        rate(lcore.received_frames),
        rate(lcore.sent_frames),
        rate(lcore.handed_over),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{example, later};
    use super::*;

    fn view() -> View {
        let first = example(100);
        View::between(Some(&first), &later(600, &first, 5))
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        for pane in Pane::ALL {
            let table = table(pane, &view());
            assert!(!table.rows().is_empty(), "{pane:?}");
            assert!(table.rows().iter().all(|row| row.len() == table.columns().len()), "{pane:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_what_grows_stands_out() {
        let exports = table(Pane::Exports, &view());
        let shown: Vec<&str> = exports.rows()[0].iter().map(Cell::shown).collect();
        assert_eq!(
            shown,
            ["1.1", "online", "100", "200", "0.4", "0.8", "-", "-", "-", "16", "6", "60", "disk"]
        );
        assert_eq!(exports.rows()[0][10].tone(), Tone::Bad);
        assert_eq!((exports.rows()[1][1].shown(), exports.rows()[1][1].tone()), ("waiting", Tone::Bad));
        let ports = table(Pane::Ports, &view());
        assert_eq!(ports.rows()[0][6].shown(), "not_aoe 300 (+250), ring_full 7");
        let unknown = View::between(None, &example(100));
        assert_eq!(table(Pane::Lcores, &unknown).rows()[0][1].shown(), "-");
    }

    #[test]
    fn the_summary_has_verdict_and_sums() {
        let expected = "failure: 1.2: its bdev is missing\n2 exports: 100 reads/s, 200 writes/s, 0.4 MB/s read, \
                        0.8 MB/s written, 2 in flight\n";
        assert_eq!(summary(&view()), expected);
        assert_eq!(verdict(&View::default()), "health unknown");
    }
}
