//! What the status page shows, as JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::health::Health;
use crate::history::{self, History, INTERVAL, Point, Rates};
use crate::latency::Quantiles;
use crate::snapshot::{InitiatorCounts, Port};

/// Most initiators that the page lists: those with the most drops.
const INITIATORS_MAX: usize = 100;

/// The document, at the time `now`.
pub(crate) fn document(history: &History, socket: &Path, now: SystemTime) -> Value {
    let failure = history.failure();
    let newest = history.newest();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "socket": socket.display().to_string(),
        "now": milliseconds(now),
        "interval": INTERVAL.as_secs(),
        "health": Health::of(history),
        "down_since": failure.map(|(_, since)| milliseconds(since)),
        "taken": newest.map(|snapshot| milliseconds(snapshot.taken)),
        "answered_in": newest.map(|snapshot| snapshot.answered_in.as_secs_f64()),
        "started": newest.and_then(|snapshot| snapshot.process.as_ref()).map(|process| process.start_seconds),
        "exports": exports(history),
        "ports": newest.map(|snapshot| snapshot.ports.iter().map(|port| port_of(history, port)).collect::<Vec<_>>()),
        "lcores": lcores(history),
        "initiators": newest.and_then(|snapshot| snapshot.initiators.as_ref()).map(initiators),
        "points": history.points().map(point).collect::<Vec<_>>(),
    })
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time, bytes read and written, reads and writes a second, the busiest lcore's share in percent, and the median and 99th percentile of
/// the times of reads and of writes in seconds; a list, for there are many.
fn point(point: &Point) -> Value {
    let taken = milliseconds(point.taken);
    let Some(rates) = point.rates else { return json!([taken]) };
    let Rates { read_bytes, written_bytes, reads, writes, busy, read_times, write_times } = rates;
    let [read_p50, read_p99, write_p50, write_p99] = quantiles(read_times, write_times);
    json!([
        taken,
        read_bytes.round(),
        written_bytes.round(),
        tenth(reads),
        tenth(writes),
        tenth(busy * 100.0),
        read_p50,
        read_p99,
        write_p50,
        write_p99
    ])
}

fn quantiles(reads: Option<Quantiles>, writes: Option<Quantiles>) -> [Option<f64>; 4] {
    let p50 = |times: Quantiles| times.p50;
    let p99 = |times: Quantiles| times.p99;
    [reads.map(p50), reads.map(p99), writes.map(p50), writes.map(p99)]
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn exports(history: &History) -> Vec<Value> {
    let Some(newest) = history.newest() else { return Vec::new() };
    let pair = history.pair();
    let export = |(id, export): (&crate::snapshot::ExportId, &crate::snapshot::Export)| {
        let rates = pair.map(|(before, newest)| {
            let rates = Rates::of_export(before.exports.get(id), export, history::seconds(before, newest));
            json!({
                "reads": tenth(rates.reads),
                "writes": tenth(rates.writes),
                "read_bytes": rates.read_bytes.round(),
                "written_bytes": rates.written_bytes.round(),
                "read_p99": rates.read_times.map(|times| times.p99),
                "write_p99": rates.write_times.map(|times| times.p99),
            })
        });
        json!({
            "address": id.address(),
            "vlan": id.vlan,
            "bdev": id.bdev,
            "state": export.state,
            "reason": export.reason,
            "size": export.size_bytes,
            "read_only": export.read_only,
            "ports": export.ports,
            "timed": export.latency.is_some(),
            "limits": export.limits,
            "rates": rates,
            "errors": export.count("ata_errors") + export.count("aoe_errors"),
            "timeouts": export.count("timeouts"),
            "drops": export.count("export_full") + export.count("rate_limited"),
        })
    };
    newest.exports.iter().map(export).collect()
}

fn port_of(history: &History, port: &Port) -> Value {
    let rates = history.pair().and_then(|(before, newest)| {
        let earlier = before.ports.iter().find(|earlier| earlier.name == port.name)?;
        let seconds = history::seconds(before, newest);
        #[expect(clippy::cast_precision_loss, reason = "a rate that people read")]
        let rate =
            |name: &str| (history::grown(&earlier.counts, &port.counts, name) as f64 / seconds).round();
        Some(json!({
            "received": rate("rx_frames"),
            "sent": rate("tx_frames"),
            "received_bytes": rate("rx_bytes"),
            "sent_bytes": rate("tx_bytes"),
        }))
    });
    let drops: BTreeMap<&String, &u64> = port.drops.iter().filter(|(_, count)| **count > 0).collect();
    json!({
        "number": port.number,
        "name": port.name,
        "interface": port.netif,
        "mac": port.mac,
        "mtu": port.mtu,
        "rates": rates,
        "drops": drops,
        "link_downs": port.changes.get("link_down"),
    })
}

fn lcores(history: &History) -> Vec<Value> {
    let Some(newest) = history.newest() else { return Vec::new() };
    let busy =
        history.pair().map(|(before, newest)| history::busy_shares(before, newest)).unwrap_or_default();
    let lcore = |(lcore, counts): (&u32, &crate::answers::Counts)| {
        json!({
            "lcore": lcore,
            "busy": busy.get(lcore).map(|share| tenth(share * 100.0)),
            "in_flight": counts.get("in_flight"),
        })
    };
    newest.lcores.iter().map(lcore).collect()
}

fn initiators(counts: &InitiatorCounts) -> Value {
    let drops = |counts: &crate::answers::Counts, name: &str| counts.get(name).copied().unwrap_or_default();
    let mut all: Vec<_> = counts.each.iter().collect();
    all.sort_by_key(|(_, counts)| {
        std::cmp::Reverse(drops(counts, "export_full") + drops(counts, "rate_limited"))
    });
    let shown = all.iter().take(INITIATORS_MAX).map(|(id, counts)| {
        json!({
            "mac": id.mac,
            "export": format!("{}.{}", id.shelf, id.slot),
            "vlan": id.vlan,
            "requests": counts.get("requests"),
            "retransmissions": counts.get("retransmissions"),
            "outstanding": counts.get("outstanding"),
            "export_full": drops(counts, "export_full"),
            "rate_limited": drops(counts, "rate_limited"),
        })
    });
    json!({ "all": all.len(), "shown": shown.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::snapshot::tests::example;

    fn sampled(initiators: bool) -> History {
        let mut history = History::default();
        let first = example(100);
        let mut second = example(600);
        second.instant = first.instant + Duration::from_secs(5);
        if !initiators {
            second.initiators = None;
        }
        for snapshot in [first, second] {
            history.push(Ok(Arc::new(snapshot)), UNIX_EPOCH + Duration::from_secs(7));
        }
        history
    }

    fn shown(history: &History) -> Value {
        document(history, Path::new("/run/rpc.sock"), UNIX_EPOCH + Duration::from_secs(8))
    }

    #[test]
    fn the_page_gets_rates_states_and_points() {
        let document = shown(&sampled(true));
        assert_eq!(document["now"], 8000);
        assert_eq!(document["health"]["verdict"], "failure");
        let export = &document["exports"][0];
        assert_eq!((&export["address"], &export["rates"]["reads"]), (&json!("1.1"), &json!(100.0)));
        assert_eq!(
            (&export["rates"]["read_p99"], &export["rates"]["write_p99"]),
            (&json!(0.0001), &Value::Null)
        );
        assert_eq!((&export["timed"], &document["exports"][1]["timed"]), (&json!(true), &json!(false)));
        assert_eq!(document["exports"][1]["reason"], "its bdev is missing");
        assert_eq!(document["ports"][0]["drops"], json!({ "not_aoe": 5 }), "zeroes are left out");
        assert_eq!(document["lcores"][0]["busy"], 100.0);
        assert_eq!(
            document["points"],
            json!([[7000], [7000, 409_600.0, 0.0, 100.0, 0.0, 100.0, 0.0001, 0.0001, null, null]])
        );
        assert_eq!(
            document["initiators"]["shown"][0]["mac"], "02:00:00:00:00:03",
            "the most drops come first"
        );
    }

    #[test]
    fn a_target_that_is_down_shows_since_when_and_what_was_there() {
        let mut history = sampled(false);
        history.push(Err("nobody".into()), UNIX_EPOCH + Duration::from_secs(12));
        let document = shown(&history);
        assert_eq!(
            (&document["health"]["verdict"], &document["down_since"]),
            (&json!("failure"), &json!(12_000))
        );
        assert_eq!(document["exports"][0]["rates"], Value::Null);
        assert_eq!(document["initiators"], Value::Null);
        let nothing = shown(&History::default());
        assert_eq!((&nothing["exports"], &nothing["ports"]), (&json!([]), &Value::Null));
    }
}
