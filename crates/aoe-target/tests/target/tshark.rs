//! The same frames, read by Wireshark's decoder: a second opinion on every field.

use std::path::{Path, PathBuf};
use std::process::Command;

use aoe_target::{Disposition, InitiatorState, IoOutcome, MacAddr, Reply, Request, emit_advertisement};

use crate::frames::{PORT, ata, ata_write, config, export, jumbo, request};
use crate::vector_file::Vector;

/// Fields asked of tshark, in this order.
const FIELDS: [&str; 17] = [
    "frame.len",
    "eth.src",
    "eth.dst",
    "aoe.version",
    "aoe.response",
    "aoe.flags_error",
    "aoe.error",
    "aoe.major",
    "aoe.minor",
    "aoe.cmd",
    "aoe.tag",
    "aoe.err_feature",
    "aoe.sector_count",
    "aoe.ata.cmd",
    "aoe.ata.status",
    "aoe.lba",
    "aoe.response_to",
];

/// A pcap file (libpcap's classic format, little endian, microseconds, Ethernet) of `frames`, a second apart.
fn pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1u32] {
        file.extend(word.to_le_bytes());
    }
    for (second, frame) in (0u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [second, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file).unwrap();
}

/// What tshark reads in `frames`: one row a frame, one column for each of [`FIELDS`].
fn decoded(frames: &[Vec<u8>]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("frames.pcap");
    pcap(&path, frames);
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&path).args(["-Y", "aoe", "-T", "fields"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().unwrap_or_else(|error| {
        panic!("tshark: {error}; this test needs Debian's tshark package, which scripts/setup installs")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {errors}");
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<String>> =
        rows.lines().map(|row| row.split('\t').map(|field| number(field).to_owned()).collect()).collect();
    assert_eq!(rows.len(), frames.len(), "tshark takes every frame for AoE; it said: {errors}");
    rows
}

/// A flag as a number: tshark 4.4 writes True and False, 4.0 writes 1 and 0.
fn number(field: &str) -> &str {
    match field {
        "True" => "1",
        "False" => "0",
        other => other,
    }
}

/// What tshark should read in `frame`, but for the last column. `asked` is the request of a response, whose
/// opcode tshark shows in the response, too.
fn expected(frame: &[u8], asked: Option<&[u8]>) -> Vec<String> {
    let mac = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let response = frame[14] & 8 != 0;
    let mut row = vec![
        frame.len().to_string(),
        mac(&frame[6..12]),
        mac(&frame[..6]),
        (frame[14] >> 4).to_string(),
        u8::from(response).to_string(),
        u8::from(frame[14] & 4 != 0).to_string(),
        if frame[14] & 4 != 0 { frame[15].to_string() } else { String::new() },
        format!("0x{:02x}{:02x}", frame[16], frame[17]),
        format!("0x{:02x}", frame[18]),
        frame[19].to_string(),
        format!("0x{:02x}{:02x}{:02x}{:02x}", frame[20], frame[21], frame[22], frame[23]),
    ];
    if frame[19] != 0 {
        row.extend(vec![String::new(); 5]);
        return row;
    }
    let lba = frame[28..34].iter().rev().fold(0u64, |lba, byte| lba << 8 | u64::from(*byte));
    let opcode = if response { asked.map(|asked| asked[27]) } else { Some(frame[27]) };
    row.extend([
        format!("0x{:02x}", frame[25]),
        frame[26].to_string(),
        opcode.map_or(String::new(), |opcode| format!("0x{opcode:02x}")),
        if response { format!("0x{:02x}", frame[27]) } else { String::new() },
        format!("0x{lba:016x}"),
    ]);
    row
}

#[test]
fn tshark_reads_the_golden_frames_as_they_are() {
    // Version 0, which only vblade's advertisement has, is not decoded by tshark.
    let frames: Vec<Vec<u8>> =
        Vector::all().into_iter().map(|vector| vector.frame).filter(|frame| frame[14] >> 4 == 1).collect();
    for (frame, row) in frames.iter().zip(decoded(&frames)) {
        let mut wanted = expected(frame, None);
        // Requests and responses of different captures may pair up by chance; the pairs are tested below.
        if frame[14] & 8 != 0 {
            wanted[13].clone_from(&row[13]);
        }
        assert_eq!(row[..16], wanted);
    }
}

#[test]
fn tshark_reads_our_replies_and_pairs_them_with_their_requests() {
    let export = export();
    let requests = [
        config(0, b""),
        config(2, b""),
        config(3, b"mine"),
        ata(0xec, 1, 0),
        ata(0x24, 2, 5),
        ata(0x20, 1, 0xe000_0005),
        ata_write(0x34, 16, 100, 16),
        ata(0x24, 1, 1000),
        ata(0x24, 17, 0),
        ata(0xe7, 0, 0),
        ata(0xea, 0, 0),
        ata(0xe5, 0, 0),
        ata(0xb0, 1, 0),
        request(7, b""),
    ];
    let mut frames = Vec::new();
    for (tag, mut frame) in (1..).zip(requests) {
        frame[20..24].copy_from_slice(&[0, 0, 1, tag]);
        let request = Request::parse(&frame, frame.len()).unwrap();
        let reply = match export.admit(&request, &frame, frame.len(), jumbo()) {
            Disposition::Reply(reply) => reply,
            Disposition::Submit(io) => Reply::completed(&io, IoOutcome::Ok),
            Disposition::Defer => {
                let applied = InitiatorState::default().apply(&frame);
                Reply::state(&export, applied.reply, jumbo()).unwrap()
            }
            Disposition::Drop(reason) => panic!("{reason:?}"),
        };
        let mut buffer = frame.clone();
        buffer.resize(frame.len().max(36 + 8192), 0xd7);
        let length = reply.emit(&mut buffer, PORT, &export, jumbo()).unwrap();
        buffer.truncate(length);
        frames.extend([frame, buffer]);
    }
    let rows = decoded(&frames);
    let mut paired = 0;
    for (i, (pair, rows)) in frames.chunks(2).zip(rows.chunks(2)).enumerate() {
        assert_eq!(rows[0][..16], expected(&pair[0], None));
        assert_eq!(rows[1][..16], expected(&pair[1], Some(&pair[0])));
        if pair[0][19] == 0 {
            assert_eq!(rows[1][16], (2 * i + 1).to_string(), "number of the request's frame");
            paired += 1;
        }
    }
    assert_eq!(paired, 10, "ATA requests with their replies");
}

#[test]
fn tshark_reads_our_advertisement() {
    let mut frame = vec![0xa5; 60];
    emit_advertisement(&mut frame, PORT, MacAddr::BROADCAST, &export(), jumbo()).unwrap();
    let row = decoded(std::slice::from_ref(&frame)).remove(0);
    assert_eq!(row[..16], expected(&frame, None));
}
