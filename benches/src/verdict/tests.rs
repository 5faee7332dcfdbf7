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
        .map(|verdict| (rounded(verdict.best), verdict.pass))
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
    assert_eq!((first.rounds.min, first.rounds.max), (0.9, 0.9), "a slow round is slow on both sides");
}

/// Rates of each round.
fn by_rounds(rounds: &[(Contender, [f64; 3])], cell: Cell) -> Figures {
    let mut figures = Figures::default();
    for (contender, rates) in rounds {
        rates.iter().for_each(|&iops| figures.push(*contender, cell, rate(iops)));
    }
    figures
}

#[test]
fn the_best_is_judged_and_not_the_median() {
    let cell = Cell::new(Size::SECTOR, Operation::Read, 32);
    // Disturbed in two rounds of three, and as fast as the link in the other.
    let slowed = [(Contender::Veth, [60.0, 96.0, 50.0]), (Contender::VethLink, [100.0, 80.0, 100.0])];
    let [verdict] = &verdicts(&by_rounds(&slowed, cell), &[])[..] else { panic!("one is judged") };
    assert_eq!((verdict.best, verdict.pass), (0.96, Some(true)));
    assert_eq!(verdict.rounds, Spread { median: 0.6, min: 0.5, max: 1.2 });
    assert_eq!(verdict.from, "veth 96, veth-link 100 IOPS");
    // The link was disturbed instead: its best shows what it can.
    let flattered = [(Contender::Veth, [90.0, 90.0, 90.0]), (Contender::VethLink, [100.0, 80.0, 80.0])];
    let [verdict] = &verdicts(&by_rounds(&flattered, cell), &[])[..] else { panic!("one is judged") };
    assert_eq!((verdict.best, verdict.pass, verdict.rounds.median), (0.9, Some(false), 1.125));
}

#[test]
fn what_has_more_rounds_is_compared_in_those_that_both_have() {
    let cell = Cell::new(Size::PAGE, Operation::Read, 32);
    let mut figures = by_rounds(&[(Contender::Memif, [190.0, 180.0, 300.0])], cell);
    for iops in [100.0, 90.0] {
        figures.push(Contender::Nvmf, cell, rate(iops));
    }
    assert_eq!(of(5, &figures), [(1.9, Some(false))]);
    assert_eq!(verdicts(&figures, &[])[0].from, "memif 190, nvmf 100 IOPS");
}

#[test]
fn scaling_is_judged_by_the_best_of_each_series() {
    let series = |more, rates: [f64; 2]| {
        let rounds = rates.map(rate).to_vec();
        ScalingSeries { more, commands: Vec::new(), rounds }
    };
    let all = [series(More::Nothing, [1050.0, 900.0]), series(More::Initiators, [700.0, 1000.0])];
    let [verdict] = &verdicts(&Figures::default(), &all)[..] else { panic!("one is judged") };
    assert_eq!((verdict.target, verdict.best, verdict.pass), (6, 1.05, Some(true)));
    assert_eq!((verdict.rounds.min, verdict.rounds.max), (0.9, 1.5));
    assert_eq!(verdict.from, "1 000 IOPS, 1 050 IOPS with one of each");
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
fn the_thousandth_of_a_second_is_shown_where_both_have_one_and_not_judged() {
    let with = |slowest_1000, p99_9| {
        let mut sample = time(2.0, 2.0, p99_9);
        sample.latency_us.slowest_1000 = slowest_1000;
        sample
    };
    let of_both = |link| {
        let link = with(link, 2.0);
        let figures = figures(&[
            (Contender::Memif, PAGE_READ, with(Some(6.0), 9.0)),
            (Contender::MemifLink, PAGE_READ, link),
        ]);
        of(3, &figures)
    };
    assert_eq!(of_both(Some(4.0)), [(4.5, Some(false)), (1.5, None)]);
    assert_eq!(of_both(None), [(4.5, Some(false))]);
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
