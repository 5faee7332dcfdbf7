//! Reads, writes, FLUSH and TRIM of a file, in each mode, with more of them than the kernel is given at once.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};
use spdk::{BdevEvent, IoKind, Outcome};

use crate::bench::{Bench, FRAMES, SECTORS, pattern};
use crate::directory::directory;
use crate::loop_device::{attach, detach, in_turn};
use crate::step::{Step, asks, chain, once, open, turns, until};

/// Places of the tests' files.
pub(crate) const PLACES: u64 = 2000;
const PLACE_BYTES: usize = SECTORS as usize * 512;

/// A test's file, and what its steps share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) bench: Rc<RefCell<Option<Bench>>>,
}

impl Shared {
    /// A file of zeroes with room for [`PLACES`].
    pub(crate) fn new(name: &str) -> Self {
        let path = directory().join(name);
        let file = fs::File::create(&path).expect("a temporary file");
        file.set_len(PLACES * PLACE_BYTES as u64).expect("room for it");
        Self { path, bench: Rc::default() }
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&Bench) -> R) -> R {
        look(self.bench.borrow().as_ref().expect("opened"))
    }

    pub(crate) fn create(&self, name: &'static str, more: Value) -> Step {
        let mut params = json!({ "name": name, "filename": self.path });
        for (key, value) in more.as_object().expect("an object") {
            params[key] = value.clone();
        }
        let this = self.clone();
        chain(vec![
            asks("bdev_file_create", params, move |answer| {
                assert_eq!(answer["result"], json!(name), "{answer}")
            }),
            this.opens(name),
        ])
    }

    /// Opens the bdev `name` for this test, once SPDK's modules have looked whether it is theirs.
    pub(crate) fn opens(&self, name: &'static str) -> Step {
        const EPERM: i32 = 1;
        let this = self.clone();
        until(move || match open(name, true, |_| ()) {
            Ok(bdev) => this.bench.replace(Some(Bench::open(&bdev, name))).is_none(),
            Err(error) => {
                assert_eq!(error.errno, EPERM, "{error}");
                false
            }
        })
    }

    /// Submits one of `kind` for each of the first `count` places.
    pub(crate) fn each(&self, kind: IoKind, count: u64, round: u8) -> Step {
        let (started, ended) = (self.clone(), self.clone());
        chain(vec![
            once(move || started.with(|bench| (0..count).for_each(|place| bench.submit(kind, place, round)))),
            until(move || ended.with(Bench::ended)),
        ])
    }

    pub(crate) fn no_failures(&self) -> Step {
        let this = self.clone();
        once(move || assert_eq!(this.with(Bench::take_failed), []))
    }

    pub(crate) fn delete(&self, name: &'static str) -> Step {
        let (closed, path) = (self.clone(), self.path.clone());
        chain(vec![
            once(move || drop(closed.bench.take())),
            asks("bdev_file_delete", json!({ "name": name }), move |answer| {
                assert_eq!(answer["result"], json!(true), "{answer}");
                assert!(!is_open(&path), "it is closed");
                fs::remove_file(&path).expect("it is there");
            }),
        ])
    }
}

/// Whether this process has the file open.
fn is_open(path: &std::path::Path) -> bool {
    let open = fs::read_dir("/proc/self/fd").expect("a /proc").flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == path)
}

/// Looks at the object `file` of a bdev's description.
pub(crate) fn described(name: &'static str, look: impl FnOnce(&Value) + 'static) -> Step {
    asks("bdev_get_bdevs", json!({ "name": name }), move |answer| {
        look(&answer["result"][0]["driver_specific"]["file"]);
    })
}

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    let depth = u64::from(FRAMES);
    vec![
        ("writes_share_fdatasyncs_and_are_read_back", mode("group", json!({ "sync": "group" }), depth)),
        ("each_write_may_have_its_own", mode("each", json!({ "sync": "each" }), depth)),
        (
            "the_page_cache_serves_reads_and_syncs_writes",
            mode("buffered", json!({ "buffered": true, "sync": "group" }), depth),
        ),
        ("what_the_page_cache_does_not_have_puts_no_lcore_to_sleep", uncached()),
        ("a_flush_syncs_what_was_written_without", flush()),
        ("trim_gives_blocks_up", trim()),
        ("a_block_device_is_written_read_and_trimmed", in_turn(block_device)),
        ("a_file_that_grows_is_noticed_and_one_that_shrinks_fails", resize()),
        ("a_bdev_is_deleted_under_io", deleted_under_io()),
    ]
}

fn mode(name: &'static str, options: Value, depth: u64) -> Step {
    let shared = Shared::new(name);
    let on_disk = shared.path.clone();
    chain(vec![
        shared.create(name, options),
        shared.each(IoKind::Write, depth, 1),
        shared.each(IoKind::Write, depth, 2),
        shared.no_failures(),
        once(move || {
            let data = fs::read(&on_disk).expect("it is there");
            for (place, piece) in (0..).zip(data.chunks(PLACE_BYTES)) {
                let expected = if place < depth { pattern(place, 2) } else { 0 };
                assert!(piece.iter().all(|byte| *byte == expected), "place {place}");
            }
        }),
        shared.each(IoKind::Read, depth, 2),
        shared.no_failures(),
        described(name, move |file| {
            let number = |key: &str| file[key].as_u64().expect("a number");
            assert_eq!((&file["readonly"], &file["failed"]), (&json!(false), &Value::Null));
            assert_eq!(number("failures"), 0);
            if name == "each" {
                assert_eq!((number("fdatasyncs"), number("synced")), (0, 0));
            } else {
                assert_eq!(number("synced"), 2 * depth, "each write waits for one");
                assert!((2..depth).contains(&number("fdatasyncs")), "they share them: {file}");
                assert!(number("largest_group") > 1, "{file}");
            }
        }),
        shared.delete(name),
    ])
}

/// How often this thread has slept.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("a /proc");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("Linux counts it")
}

/// Bytes that this process has had read from disks.
fn read_bytes() -> u64 {
    let counts = fs::read_to_string("/proc/self/io").expect("a /proc");
    let count = counts.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    count.and_then(|count| count.trim().parse().ok()).expect("Linux counts them")
}

fn uncached() -> Step {
    const READS: u64 = 1000;
    let shared = Shared::new("uncached");
    let (path, before) = (shared.path.clone(), Rc::new(RefCell::new((0, 0))));
    let (noted, compared) = (Rc::clone(&before), before);
    chain(vec![
        shared.create("uncached", json!({ "buffered": true })),
        shared.each(IoKind::Write, READS, 5),
        once(move || {
            let file = fs::File::open(path).expect("it is there");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).expect("advice");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            noted.replace((sleeps(), read_bytes()));
        }),
        shared.each(IoKind::Read, READS, 5),
        // A thread that waits for the disk sleeps with nearly each read; a lock of the kernel's may take it a few times.
        once(move || {
            let (slept_before, read_before) = *compared.borrow();
            let (slept, read) = (sleeps() - slept_before, read_bytes() - read_before);
            assert!(read >= READS / 2 * PLACE_BYTES as u64, "{read} bytes came from the disk");
            assert!(slept < READS / 10, "slept {slept} times");
        }),
        shared.no_failures(),
        shared.delete("uncached"),
    ])
}

fn flush() -> Step {
    let shared = Shared::new("flush");
    chain(vec![
        shared.create("flush", json!({ "sync": "none" })),
        shared.each(IoKind::Write, 500, 3),
        turns(1000),
        described("flush", |file| assert_eq!(file["fdatasyncs"], 0, "{file}")),
        shared.each(IoKind::Flush, 1, 3),
        described("flush", |file| assert_eq!(file["fdatasyncs"], 1, "{file}")),
        shared.each(IoKind::Flush, 100, 3),
        described("flush", |file| {
            assert_eq!(file["synced"], 101, "{file}");
            // Those that came after the first one was submitted share another.
            assert!(file["fdatasyncs"].as_u64().is_some_and(|syncs| syncs <= 3), "{file}");
        }),
        shared.no_failures(),
        shared.delete("flush"),
    ])
}

fn trim() -> Step {
    let shared = Shared::new("trim");
    let (before, after, path) = (Rc::new(RefCell::new(0)), shared.path.clone(), shared.path.clone());
    let noted = Rc::clone(&before);
    chain(vec![
        shared.create("trim", json!({})),
        shared.each(IoKind::Write, 1000, 4),
        once(move || _ = noted.replace(path.metadata().expect("there").blocks())),
        shared.each(IoKind::Unmap, 500, 4),
        shared.no_failures(),
        once(move || {
            let data = fs::read(&after).expect("it is there");
            let (gone, left) = data.split_at(500 * PLACE_BYTES);
            assert!(gone.iter().all(|byte| *byte == 0), "it reads as zeroes");
            for (place, piece) in (500..1000).zip(left.chunks(PLACE_BYTES)) {
                assert!(piece.iter().all(|byte| *byte == pattern(place, 4)), "place {place} stays");
            }
            let blocks = after.metadata().expect("there").blocks();
            // Less a few of the file system's own.
            assert!(blocks <= *before.borrow() - 450 * 8, "{blocks} of {} blocks are left", before.borrow());
        }),
        shared.delete("trim"),
    ])
}

fn block_device() -> Step {
    let shared = Shared::new("device");
    let device = match attach(&shared.path) {
        Ok(device) => device,
        Err(error) => return once(move || println!("no loop device: {error}")),
    };
    let params = json!({ "name": "device", "filename": device });
    let (written, trimmed, closed) = (shared.path.clone(), shared.path.clone(), shared.clone());
    let path = shared.path.clone();
    chain(vec![
        asks("bdev_file_create", params, move |answer| {
            assert_eq!(answer["result"], json!("device"), "{answer}");
            // Once the bdev has closed it, Linux takes the device down, also where a test fails.
            detach(&device);
        }),
        shared.opens("device"),
        shared.each(IoKind::Write, 1000, 8),
        shared.each(IoKind::Read, 1000, 8),
        shared.no_failures(),
        once(move || {
            let data = fs::read(&written).expect("it is there");
            for (place, piece) in (0..1000).zip(data.chunks(PLACE_BYTES)) {
                assert!(piece.iter().all(|byte| *byte == pattern(place, 8)), "place {place}");
            }
        }),
        shared.each(IoKind::Unmap, 500, 8),
        shared.no_failures(),
        once(move || {
            let data = fs::read(&trimmed).expect("it is there");
            assert!(data[..500 * PLACE_BYTES].iter().all(|byte| *byte == 0), "it reads as zeroes");
        }),
        once(move || drop(closed.bench.take())),
        asks("bdev_file_delete", json!({ "name": "device" }), move |answer| {
            assert_eq!(answer["result"], json!(true), "{answer}");
            fs::remove_file(&path).expect("it is there");
        }),
    ])
}

fn resize() -> Step {
    let shared = Shared::new("resized");
    let told = Rc::new(RefCell::new(Vec::new()));
    let (events, seen) = (Rc::clone(&told), told);
    let (grows, shrinks, reader) = (shared.path.clone(), shared.path.clone(), Rc::new(RefCell::new(None)));
    let (opened, closed) = (Rc::clone(&reader), reader);
    let blocks = PLACES * u64::from(SECTORS);
    let set_len = |path: &std::path::Path, bytes| {
        fs::File::options().write(true).open(path).expect("there").set_len(bytes).expect("room");
    };
    chain(vec![
        shared.create("resized", json!({})),
        once(move || {
            let bdev = open("resized", false, move |event| events.borrow_mut().push(event)).expect("there");
            assert_eq!(bdev.blocks(), blocks);
            opened.replace(Some(bdev));
            // And a bit.
            set_len(&grows, (blocks + 8) * 512 + 100);
        }),
        asks("bdev_file_rescan", json!({ "name": "resized" }), move |answer| {
            assert_eq!(answer["result"], json!(blocks + 8), "{answer}");
        }),
        until(move || seen.borrow().as_slice() == [BdevEvent::Resized]),
        once(move || {
            let bdev = closed.take().expect("opened");
            assert_eq!(bdev.blocks(), blocks + 8);
            set_len(&shrinks, 100 * 4096);
        }),
        asks("bdev_file_rescan", json!({ "name": "resized" }), |answer| {
            assert_eq!(answer["error"]["code"], json!(-16), "{answer}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("has 800 blocks of 512 bytes now, which is less"), "{message}");
        }),
        // Places that are no more.
        {
            let (started, ended) = (shared.clone(), shared.clone());
            chain(vec![
                once(move || {
                    started.with(|bench| (100..105).for_each(|place| bench.submit(IoKind::Read, place, 0)))
                }),
                until(move || ended.with(Bench::ended)),
            ])
        },
        {
            let this = shared.clone();
            once(move || {
                assert_eq!(this.with(Bench::take_failed), [(IoKind::Read, Outcome::DeviceFault); 5]);
            })
        },
        shared.delete("resized"),
    ])
}

fn deleted_under_io() -> Step {
    let shared = Shared::new("deleted");
    let path = shared.path.clone();
    let told = Rc::new(RefCell::new(false));
    let (hears, heard) = (Rc::clone(&told), told);
    let (opened, started, ended, closed) = (shared.clone(), shared.clone(), shared.clone(), shared.clone());
    let params = json!({ "name": "deleted", "filename": shared.path });
    let mut answer = None;
    let descriptor = Rc::new(RefCell::new(None));
    let (keeps, gives_up) = (Rc::clone(&descriptor), descriptor);
    chain(vec![
        asks("bdev_file_create", params, |answer| assert_eq!(answer["result"], json!("deleted"), "{answer}")),
        shared.opens("deleted"),
        once(move || {
            drop(opened.bench.take());
            let bdev = open("deleted", true, move |event| {
                assert_eq!(event, BdevEvent::Removed);
                hears.replace(true);
            });
            let bdev = bdev.expect("it is there");
            opened.bench.replace(Some(Bench::open(&bdev, "deleted")));
            keeps.replace(Some(bdev));
        }),
        once(move || started.with(|bench| (0..1000).for_each(|place| bench.submit(IoKind::Write, place, 5)))),
        Box::new(move || {
            let receiver = answer
                .get_or_insert_with(|| crate::step::call("bdev_file_delete", &json!({ "name": "deleted" })));
            let all_ended = ended.with(Bench::ended);
            if all_ended && *heard.borrow() {
                drop(closed.bench.take());
                drop(gives_up.take());
                return true;
            }
            assert!(receiver.try_recv().is_err(), "it waits for those that use it");
            // What is left of the bench polls on.
            false
        }),
        until(|| !crate::step::list().contains(&"deleted".to_owned())),
        until(move || {
            let closed = !is_open(&path);
            if closed {
                fs::remove_file(&path).expect("it is there");
            }
            closed
        }),
    ])
}
