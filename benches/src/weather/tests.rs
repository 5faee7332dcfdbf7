use super::interruptions::Gaps;
use super::*;

const fn weather(round_trip_ns: f64, target_speed: f64, initiator_speed: f64) -> Weather {
    Weather { round_trip_ns, target_speed, initiator_speed }
}

fn watch(seen: &[Weather]) -> Watch {
    Watch { seen: seen.to_vec(), ..Watch::new(0, 1, Duration::ZERO) }
}

#[test]
fn fair_is_near_the_best_of_each() {
    let watch = watch(&[weather(100.0, 900.0, 1000.0), weather(100.0, 1000.0, 900.0)]);
    assert_eq!(watch.best(), Some(weather(100.0, 1000.0, 1000.0)));
    assert!(watch.is_fair(&weather(180.0, 850.0, 850.0)));
    assert!(!watch.is_fair(&weather(181.0, 1000.0, 1000.0)), "far apart");
    assert!(!watch.is_fair(&weather(100.0, 849.0, 1000.0)), "the target's core is shared");
    assert!(!watch.is_fair(&weather(100.0, 1000.0, 849.0)), "the initiator's core is shared");
}

#[test]
fn two_hyperthreads_of_one_core_set_no_round_trip_for_two_cores() {
    let watch = watch(&[weather(50.0, 600.0, 600.0), weather(110.0, 1000.0, 1000.0)]);
    assert_eq!(watch.best(), Some(weather(110.0, 1000.0, 1000.0)));
    assert!(watch.is_fair(&weather(120.0, 1000.0, 1000.0)));
    assert!(!watch.is_fair(&weather(50.0, 600.0, 600.0)));
}

#[test]
fn cores_that_were_never_fast_together_are_no_fair_weather() {
    let watch = watch(&[weather(100.0, 1000.0, 500.0), weather(100.0, 500.0, 1000.0)]);
    assert!(!watch.is_fair(&weather(100.0, 1000.0, 500.0)));
    assert!(watch.is_fair(&weather(500.0, 1000.0, 1000.0)));
    let blind = Watch::new(0, 1, Duration::ZERO);
    assert!(!blind.is_fair(&weather(1.0, 1.0, 1.0)), "nothing was seen");
}

#[test]
fn a_sample_is_fair_that_began_and_ended_so_by_what_was_seen_later_too() {
    let (good, bad) = (weather(100.0, 1000.0, 1000.0), weather(400.0, 1000.0, 1000.0));
    let sample = |before, after| Sample {
        weather_before: before,
        weather_after: after,
        fair: true,
        ..Sample::default()
    };
    let mut samples = [
        sample(Some(good), Some(good)),
        sample(Some(good), Some(bad)),
        sample(Some(bad), Some(good)),
        sample(None, Some(good)),
    ];
    watch(&[bad, good]).judge(&mut samples);
    assert_eq!(samples.map(|sample| sample.fair), [true, false, false, false]);
    watch(&[bad]).judge(&mut samples);
    assert_eq!(samples.map(|sample| sample.fair), [true, true, true, false], "nothing better was seen");
}

#[test]
fn a_gap_counts_for_all_that_it_is_longer_than() {
    let mut gaps = Gaps::default();
    for micros in [1, 2, 5, 6, 21, 1000] {
        gaps.note(Duration::from_micros(micros));
    }
    assert_eq!(gaps, Gaps([5, 3, 2, 1]));
    let counted = gaps.of_a_second(3, Duration::from_millis(500));
    let expected =
        Interruptions { cpu: 3, over_1_us: 10.0, over_5_us: 6.0, over_20_us: 4.0, over_50_us: 2.0 };
    assert_eq!(counted, expected);
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let error = Watch::new(0, 1000, Duration::ZERO).probe().unwrap_err();
    assert!(format!("{error:#}").contains("core 1000"), "{error:#}");
}

#[test]
fn a_probe_of_two_cores_tells_a_distance_and_two_speeds() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 2 {
        return;
    }
    let mut watch = Watch::new(0, 1, Duration::ZERO);
    let Weather { round_trip_ns, target_speed, initiator_speed } = watch.probe().unwrap();
    // Light needs a nanosecond for 30 cm; no core makes 10^11 steps a second.
    assert!(round_trip_ns > 1.0 && round_trip_ns.is_finite(), "{round_trip_ns}");
    for speed in [target_speed, initiator_speed] {
        assert!((1e3..1e11).contains(&speed), "{speed}");
    }
    assert_eq!(watch.seen.len(), 1);
}
