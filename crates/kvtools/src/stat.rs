//! `kvstat`: one line for each export and port, in kvblade's columns: device, interface, size, path.

use std::fmt::Write;

use control::{ExportInfo, GetExports, Method};

use crate::bdev_list::{self, BdevInfo};
use rpc_client::Client;
use rpc_client::command::CommandError;

/// Fetches the exports and the files beneath them, and writes the table.
///
/// # Errors
/// One sentence, when a call fails.
pub fn stat(client: &mut Client) -> Result<String, CommandError> {
    let exports: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let bdevs = bdev_list::fetch(client)?;
    Ok(table(&exports, &bdevs))
}

/// The table. The size is in GB of 10^9 bytes, cut to three places; the path is the file of a bdev of one, the image of an
/// RBD one, and else the bdev's name, so that `kvadd` takes it as it is. A fifth column has the VLAN,
/// `ro` for a read-only export, a state other than online, and the reason why an export waits.
fn table(exports: &[ExportInfo], bdevs: &[BdevInfo]) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for export in exports {
        let path = bdevs
            .iter()
            .find(|bdev| bdev.is_called(export.own_bdev_name()))
            .and_then(BdevInfo::path)
            .unwrap_or_else(|| export.bdev_name.clone());
        let vlan = export.options.vlan.map(|vlan| format!("vlan {vlan}"));
        let remarks = [
            vlan.as_deref(),
            export.options.read_only.then_some("ro"),
            (export.state != "online").then_some(export.state.as_str()),
        ];
        let remarks: Vec<&str> = remarks.into_iter().flatten().collect();
        let mut path = path;
        if !remarks.is_empty() {
            path = format!("{path} {}", remarks.join(","));
        }
        if let Some(reason) = &export.reason {
            path = format!("{path}: {reason}");
        }
        for port in &export.ports {
            rows.push([
                format!("{}.{}", export.shelf, export.slot),
                port.netif.clone().unwrap_or_else(|| port.name.clone()),
                gigabytes(export.size_bytes),
                path.clone(),
            ]);
        }
    }
    let width = |column: usize, least: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).fold(least, usize::max)
    };
    let (device, netif, size) = (width(0, 10), width(1, 6), width(2, 10));
    let mut text = String::new();
    for [address, interface, bytes, path] in &rows {
        writeln!(text, "{address:>device$} {interface:>netif$} {bytes:>size$} {path}")
            .expect("a String takes any text");
    }
    text
}

fn gigabytes(bytes: u64) -> String {
    let thousandths = bytes / 1_000_000;
    format!("{}.{:03}GB", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use control::ExportPort;
    use serde_json::json;

    use super::*;

    fn port(number: u16, name: &str, netif: Option<&str>) -> ExportPort {
        ExportPort { number, name: name.into(), netif: netif.map(Into::into) }
    }

    fn export(slot: u8, bdev_name: &str, size_bytes: u64, ports: Vec<ExportPort>) -> ExportInfo {
        ExportInfo {
            shelf: 1,
            slot,
            bdev_name: bdev_name.into(),
            bdev: control::BdevNames::default(),
            size_bytes,
            options: control::ExportOptions::default(),
            state: "online".into(),
            reason: None,
            all_ports: false,
            ports,
        }
    }

    #[test]
    fn sizes_are_cut_to_thousandths() {
        for (bytes, text) in [
            (0, "0.000GB"),
            (512, "0.000GB"),
            (999_999, "0.000GB"),
            (67_108_864, "0.067GB"),
            (1_000_000_000, "1.000GB"),
            (12_345_678_901, "12.345GB"),
            (u64::MAX, "18446744073.709GB"),
        ] {
            assert_eq!(gigabytes(bytes), text);
        }
    }

    #[test]
    fn every_port_has_a_line_in_kvblades_columns() {
        let bdevs: Vec<BdevInfo> = serde_json::from_value(json!([
            {"name": "file1.2", "driver_specific": {"file": {"filename": "/srv/disk"}}},
            {"name": "malloc1.1", "aliases": ["0b1c"], "driver_specific": {}},
        ]))
        .unwrap();
        let mut offline = export(3, "gone", 0, vec![port(0, "net_af_packet0", Some("eth0"))]);
        offline.state = "offline".into();
        offline.options.read_only = true;
        let mut waiting = export(4, "file1.4", 0, vec![port(0, "net_af_packet0", Some("eth0"))]);
        waiting.state = "waiting".into();
        waiting.reason = Some("cannot export '/srv/b': it is not there".into());
        let exports = [
            export(
                1,
                "malloc1.1",
                67_108_864,
                vec![port(0, "net_af_packet0", Some("eth0")), port(1, "0000:03:00.0", None)],
            ),
            export(2, "file1.2", 2_000_000_000, vec![port(0, "net_af_packet0", Some("eth0"))]),
            offline,
            waiting,
        ];
        assert_eq!(
            table(&exports, &bdevs),
            "       1.1         eth0    0.067GB malloc1.1\n\
             \x20      1.1 0000:03:00.0    0.067GB malloc1.1\n\
             \x20      1.2         eth0    2.000GB /srv/disk\n\
             \x20      1.3         eth0    0.000GB gone ro,offline\n\
             \x20      1.4         eth0    0.000GB file1.4 waiting: cannot export '/srv/b': it is not there\n"
        );
        assert_eq!(table(&[], &bdevs), "");
    }
}
