//! Options that do not go with the targets there are.

use aoeperf::engine::Engine;

use crate::disk::Disk;
use crate::{found, options, queue};

/// Why an engine with these options can't be for a disk of 64 sectors, whose path takes `max_sectors`.
fn refusal(line: &str, max_sectors: u8) -> String {
    let options = options(line);
    let (queue, _peer) = queue(&options);
    let mut known = found(&Disk::new("3.4", 64), 0..1);
    known.routes[0].max_sectors = max_sectors;
    Engine::new(vec![queue], &[known], &options).expect_err(line).to_string()
}

#[test]
fn more_bytes_than_the_target_takes_are_refused_by_value() {
    let sentence = refusal("-o 4096", 2);
    for part in ["-o 4096", "3.4", "MTU 9000", "at most 1024 bytes"] {
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn more_sectors_than_the_target_has_are_refused_by_value() {
    let sentence = refusal("-o 512 --sectors 65", 16);
    assert!(sentence.contains("--sectors 65") && sentence.contains("64 sectors"), "{sentence}");
}

#[test]
fn a_disk_smaller_than_a_request_is_refused() {
    let sentence = refusal("-o 4096 --sectors 7", 16);
    assert!(
        sentence.contains("7 sectors of target 3.4 are less than one request of 4096 bytes"),
        "{sentence}"
    );
}
