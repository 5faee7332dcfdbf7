use super::*;
use crate::sample::Latency;

fn rate(iops: f64) -> Sample {
    Sample { iops, ..Sample::default() }
}

fn time(mean: f64, p50: f64, p99_9: f64) -> Sample {
    let latency_us = Latency { mean, p50: Some(p50), p99_9: Some(p99_9), ..Latency::default() };
    Sample { iops: 1e6 / mean, latency_us, ..Sample::default() }
}

/// Each sample in three rounds, the last one on a machine that is half as fast.
fn figures(samples: &[(Contender, Cell, Sample)]) -> Figures {
    let mut figures = Figures::default();
    for &(contender, cell, sample) in samples {
        for slower in [1.0, 1.0, 2.0] {
            figures.push(contender, cell, Sample { iops: sample.iops / slower, ..sample });
        }
    }
    figures
}

fn of(target: u8, figures: &Figures) -> Vec<(f64, Option<bool>)> {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let verdicts = verdicts(figures, &[]);
    verdicts
        .iter()
        .filter(|verdict| verdict.target == target)
        .map(|verdict| (rounded(verdict.figure.median), verdict.pass))
        .collect()
}

#[test]
fn the_serial_limit_adds_the_times_up() {
    // 1 us and 3 us are 4 us.
    assert!((serial_limit(&rate(1e6), &rate(1e6 / 3.0)) - 250_000.0).abs() < 1e-6);
}

#[test]
fn the_limit_is_judged_against_link_and_bdev_of_the_same_round() {
    let [read, write, sector] = LIMIT_CELLS;
    let figures = figures(&[
        (Contender::MemifLink, read, rate(2_000_000.0)),
        (Contender::Bdev, read, rate(2_000_000.0)),
        (Contender::Memif, read, rate(900_000.0)),
        (Contender::MemifLink, write, rate(2_000_000.0)),
        (Contender::Bdev, write, rate(2_000_000.0)),
        (Contender::Memif, write, rate(890_000.0)),
        (Contender::Memif, sector, rate(1.0)),
    ]);
    assert_eq!(of(1, &figures), [(0.9, Some(true)), (0.89, Some(false))]);
    assert_eq!(of(2, &figures), [], "what was not measured is not judged");
    let first = &verdicts(&figures, &[])[0];
    assert_eq!(first.from, "memif 900 000, memif-link 2 000 000, bdev 2 000 000 IOPS");
    assert_eq!((first.figure.min, first.figure.max), (0.9, 0.9), "a slow round is slow on both sides");
}

#[test]
fn memif_is_judged_against_vblade_and_veth_only_shown() {
    let cell = LIMIT_CELLS[2];
    let figures = figures(&[
        (Contender::Memif, cell, rate(2_400_000.0)),
        (Contender::Veth, cell, rate(450_000.0)),
        (Contender::Vblade, cell, rate(300_000.0)),
    ]);
    assert_eq!(of(2, &figures), [(8.0, Some(true)), (1.5, None)]);
}

#[test]
fn latency_is_the_excess_over_both_parts_and_the_tail_a_ratio() {
    let cell = Cell::new(Size::PAGE, Operation::Read, 1);
    let figures = figures(&[
        (Contender::Memif, cell, time(2.0, 2.1, 6.5)),
        (Contender::MemifLink, cell, time(1.0, 1.0, 3.0)),
        (Contender::Bdev, cell, time(0.7, f64::NAN, f64::NAN)),
    ]);
    assert_eq!(of(3, &figures), [(0.4, Some(true)), (2.167, Some(false))]);
}

#[test]
fn every_row_of_the_veth_is_judged_and_a_draw_with_vblade_is_no_lead() {
    let cells = [1, 8, 32].map(|depth| Cell::new(Size::SECTOR, Operation::Mixed, depth));
    let samples: Vec<_> = cells
        .into_iter()
        .flat_map(|cell| {
            [
                (Contender::Veth, cell, rate(100.0)),
                (Contender::VethLink, cell, rate(100.0 / 0.95)),
                (Contender::Vblade, cell, rate(f64::from(cell.depth) * 100.0 / 32.0)),
            ]
        })
        .collect();
    let verdicts = of(4, &figures(&samples));
    assert_eq!(verdicts, [(0.95, Some(true)), (0.95, Some(true)), (32.0, Some(true)), (1.0, Some(false))]);
}

#[test]
fn nvmf_is_beaten_twice_in_rate_and_three_times_in_latency() {
    let (deep, one) = (Cell::new(Size::PAGE, Operation::Read, 32), Cell::new(Size::PAGE, Operation::Read, 1));
    let figures = figures(&[
        (Contender::Memif, deep, rate(200.0)),
        (Contender::Nvmf, deep, rate(101.0)),
        (Contender::Memif, one, time(3.0, 3.0, 3.0)),
        (Contender::Nvmf, one, time(9.0, 9.0, 9.0)),
    ]);
    assert_eq!(of(5, &figures), [(1.98, Some(false)), (0.333, Some(true))]);
}

#[test]
fn thousands_are_set_apart() {
    assert_eq!([999.0, 1000.0, 259_999.6].map(thousands), ["999", "1 000", "260 000"]);
}
