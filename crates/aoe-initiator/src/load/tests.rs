use super::*;
use crate::wire::{Mac, ShelfSlot};

fn addresses(spec: &LoadSpec, capacity: u64) -> Addresses {
    Addresses::new(spec, &spec.range(capacity).unwrap())
}

#[test]
fn sequential_addresses_run_over_whole_requests_and_wrap() {
    let spec =
        LoadSpec { workload: Workload::Write, sectors_per_io: 8, first_lba: 16, ..LoadSpec::default() };
    let mut addresses = addresses(&spec, 16 + 8 * 3 + 5);
    let lbas: Vec<u64> = (0..4)
        .map(|_| {
            let (write, block) = addresses.next();
            assert!(write);
            addresses.lba(block)
        })
        .collect();
    assert_eq!(lbas, [16, 24, 32, 16]);
}

#[test]
fn random_addresses_are_aligned_inside_and_cover_the_range() {
    let spec = LoadSpec { sectors_per_io: 8, first_lba: 8, sectors: Some(80), ..LoadSpec::default() };
    let mut addresses = addresses(&spec, 1000);
    let mut seen = [false; 10];
    for _ in 0..1000 {
        let (write, block) = addresses.next();
        assert!(!write);
        seen[usize::try_from(block).unwrap()] = true;
        assert!((8..=80).contains(&addresses.lba(block)) && addresses.lba(block).is_multiple_of(8));
    }
    assert_eq!(seen, [true; 10]);
}

#[test]
fn a_mix_has_its_share_of_reads() {
    let spec = LoadSpec { workload: Workload::RandomMixed(70), ..LoadSpec::default() };
    let mut addresses = addresses(&spec, 1 << 20);
    let reads = (0..10_000).filter(|_| !addresses.next().0).count();
    assert!((6_700..7_300).contains(&reads), "{reads}");
}

#[test]
fn a_range_that_does_not_fit_names_the_numbers() {
    let cases = [
        (LoadSpec { sectors: Some(101), ..LoadSpec::default() }, "101 sectors from 0 on do not fit"),
        (LoadSpec { first_lba: 96, ..LoadSpec::default() }, "4 sectors from 96 on hold no request of 8"),
        (LoadSpec { first_lba: u64::MAX, sectors: Some(9), ..LoadSpec::default() }, "do not fit"),
        (LoadSpec { sectors_per_io: 0, ..LoadSpec::default() }, "hold no request of 0"),
    ];
    for (spec, named) in cases {
        let error = spec.range(100).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

mod rest {
    use super::*;
    use crate::queue::Completion;
    use crate::window::Retransmit;

    fn completion(context: u64, tag: u32, copies: u32, outcome: Outcome<'static>) -> Event<'static> {
        let request = AtaRequest::write(context * 8, 8);
        Event::Completion(Completion { context, tag, request, latency: Duration::ZERO, copies, outcome })
    }

    fn done() -> Outcome<'static> {
        Outcome::Done(crate::wire::AtaReply {
            aflags: 0,
            error: 0,
            count: 0,
            status: 0x40,
            lba: 0,
            reserved: 0,
            data: &[],
        })
    }

    fn with_verifier(test: impl FnOnce(&mut Verifier<'_>, Instant)) -> Verified {
        let spec = LoadSpec::default();
        let mut ledger = ledger_for(&spec, 80).unwrap();
        let mut verifier = Verifier::new(&mut ledger, &spec, &(0..80)).unwrap();
        test(&mut verifier, Instant::now());
        verifier.into_totals()
    }

    #[test]
    fn a_block_has_one_request_at_a_time() {
        with_verifier(|verifier, now| {
            assert!(verifier.claim(3, now));
            assert!(!verifier.claim(3, now));
            assert!(verifier.claim(4, now));
            verifier.event(&completion(3, 1, 1, done()), now).unwrap();
            assert!(verifier.claim(3, now));
        });
    }

    #[test]
    fn a_retransmitted_write_rests_until_each_copy_is_answered() {
        let totals = with_verifier(|verifier, now| {
            assert!(verifier.claim(0, now));
            verifier.stamp(0, 0, &mut [0; 4096]);
            verifier.event(&completion(0, 7, 3, done()), now).unwrap();
            assert!(!verifier.claim(0, now));
            verifier.event(&Event::Duplicate { tag: 7 }, now).unwrap();
            verifier.event(&Event::Duplicate { tag: 99 }, now).unwrap();
            assert!(!verifier.claim(0, now));
            verifier.event(&Event::Duplicate { tag: 7 }, now).unwrap();
            assert!(verifier.claim(0, now));
        });
        assert_eq!((totals.writes_acknowledged, totals.writes_of_unknown_fate), (1, 0));
    }

    #[test]
    fn an_unanswered_write_rests_for_as_long_as_it_was_tried() {
        let totals = with_verifier(|verifier, now| {
            assert!(verifier.claim(0, now));
            verifier.stamp(0, 0, &mut [0; 4096]);
            verifier.event(&completion(0, 7, 2, Outcome::NoAnswer), now).unwrap();
            let rested = now + Retransmit::default().give_up;
            assert!(!verifier.claim(0, rested - Duration::from_nanos(1)));
            assert!(verifier.claim(0, rested));
        });
        assert_eq!((totals.writes_acknowledged, totals.writes_of_unknown_fate), (0, 1));
    }
}

#[test]
fn an_impossible_load_is_refused_before_anything_is_sent() {
    lab::needs_root!();
    let export = Export {
        address: ShelfSlot::new(1, 1),
        mac: Mac([2; 6]),
        buffer_count: 16,
        firmware: 0,
        sector_count: 2,
        config: Vec::new(),
        breaches: Vec::new(),
    };
    // The loopback interface exists in every namespace, and nothing here gets as far as sending on it.
    let cases = [
        (LoadSpec { sectors_per_io: 3, ..LoadSpec::default() }, "1.1 takes 1 to 2"),
        (LoadSpec { sectors_per_io: 1, depth: 0, ..LoadSpec::default() }, "queue depth of 0"),
        (LoadSpec { sectors_per_io: 1, depth: 257, ..LoadSpec::default() }, "must be 1 to 256"),
        (
            LoadSpec { sectors_per_io: 1, workload: Workload::RandomMixed(101), ..LoadSpec::default() },
            "101 percent",
        ),
    ];
    for (spec, named) in cases {
        let link = Link::open("lo").expect("a packet socket");
        let error = run(link, &export, 100, &spec, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
