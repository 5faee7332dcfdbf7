//! The limiter under a made-up clock, the filters, and where the lines of SPDK and DPDK end up.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::levels::filter;
use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn one_event_a_second_passes_with_the_count_of_the_others() {
    let limiter = RateLimited::new();
    let passed: Vec<_> = [0, 0, 500, 999, 1000, 1001, 2500, 2501, 3499, 3500, 9000]
        .map(|now| limiter.admit(ms(now)))
        .into_iter()
        .collect();
    assert_eq!(passed, [Some(0), None, None, None, Some(3), None, Some(1), None, None, Some(2), Some(0)]);
}

#[test]
fn a_clock_that_stands_or_overflows_does_no_harm() {
    let limiter = RateLimited::new();
    assert_eq!(limiter.admit(Duration::MAX), Some(0));
    assert_eq!(limiter.admit(ms(5)), None);
}

#[test]
fn of_many_threads_at_one_moment_one_passes_and_none_is_lost() {
    let limiter = RateLimited::new();
    let passed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| limiter.admit(ms(1)).is_some()).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 1);
    assert_eq!(limiter.admit(ms(1001)), Some(7999));
}

/// Collects what is logged while a closure runs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn logged(filter: EnvFilter, log: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .with_env_filter(filter)
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_command_line_outranks_the_environment() {
    for (level, variable, shown) in [
        (None, None, 3),
        (None, Some(""), 3),
        (None, Some("spdk=trace"), 5),
        (None, Some("error"), 1),
        (Some(LevelFilter::OFF), Some("trace"), 0),
        (Some(LevelFilter::DEBUG), Some("off"), 4),
    ] {
        let lines = logged(filter(level, variable).unwrap(), || {
            for level in 0..=4 {
                spdk_log(level, "lib/x.c", 7, "f", "m");
            }
        });
        assert_eq!(lines.len(), shown, "{level:?} {variable:?}: {lines:?}");
    }
}

#[test]
fn an_unreadable_filter_is_named() {
    let message = filter(None, Some("spdk=loud")).unwrap_err().to_string();
    assert!(message.contains("'spdk=loud'") && message.contains("info,spdk=debug"), "{message}");
}

#[test]
fn foreign_lines_keep_their_level_and_origin() {
    let all = || filter(Some(LevelFilter::TRACE), None).unwrap();
    let spdk = logged(all(), || {
        for level in [-1, 0, 1, 2, 3, 4, 5] {
            spdk_log(level, "/build/lib/bdev/bdev.c", 42, "open", "no such bdev\n");
        }
    });
    let levels = ["ERROR", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "TRACE"];
    assert_eq!(spdk.len(), levels.len());
    for (line, level) in spdk.iter().zip(levels) {
        assert!(line.contains(&format!(" {level} spdk: no such bdev (bdev.c:42 open)")), "{line}");
        // 2026-01-31T12:34:56.123456Z
        assert!(line.as_bytes().get(10) == Some(&b'T') && line.contains("Z "), "{line}");
    }
    let dpdk = logged(all(), || {
        for level in 1..=8 {
            dpdk_log(level, "EAL: Probing VFIO support...\n");
        }
    });
    let levels = ["ERROR", "ERROR", "ERROR", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    assert_eq!(dpdk.len(), levels.len());
    for (line, level) in dpdk.iter().zip(levels) {
        assert!(line.contains(&format!(" {level} dpdk: EAL: Probing VFIO support...")), "{line}");
    }
}

#[test]
fn the_failure_of_one_disk_hides_no_other_disks() {
    let serving = AtomicBool::new(true);
    let lines = logged(filter(None, None).unwrap(), || {
        for bdev in 0..3 {
            spdk_line(&serving, 0, ("", 0), "", &format!("bdev file{bdev}: a read failed\n"));
            spdk_line(
                &serving,
                0,
                ("/spdk/aio.c", 42),
                "complete",
                &format!("bdev aio{bdev}: a read failed\n"),
            );
        }
    });
    let has = |part: &str| lines.iter().any(|line| line.ends_with(part));
    for bdev in 0..3 {
        assert!(has(&format!(" ERROR spdk: bdev file{bdev}: a read failed")), "{lines:?}");
    }
    assert!(has("bdev aio0: a read failed (aio.c:42 complete)"), "{lines:?}");
    assert_eq!(lines.len(), 4, "SPDK's own place is limited: {lines:?}");
}

#[test]
fn each_place_has_a_limiter_of_its_own_once_the_program_serves() {
    let places = Places::new();
    let limited = AtomicBool::new(false);
    let admit = |place: u32| places.admit(&place, &limited).map(|suppressed| suppressed.to_string());
    assert_eq!((admit(1), admit(1)), (Some(String::new()), Some(String::new())));
    limited.store(true, Ordering::Relaxed);
    for limiter in &places.0 {
        limiter.suppressed.store(6, Ordering::Relaxed);
    }
    assert_eq!(admit(1).as_deref(), Some(" [and 6 more lines like it]"));
    // From now on no second passes: the time of the next line is pushed out of reach.
    for limiter in &places.0 {
        if limiter.next.load(Ordering::Relaxed) > 0 {
            limiter.next.store(u64::MAX, Ordering::Relaxed);
        }
    }
    assert_eq!(admit(1), None);
    assert!((2..300).filter(|place| admit(*place).is_some()).count() > 100);
}
