//! FLUSH of a file: it is done when an fdatasync of the kernel's is that was submitted after it, and not before.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use serde_json::json;
use spdk::{
    CompletionQueue, CurrentThread, FileSyncs, FlushMethod, Io, IoChannel, IoKind, Outcome, Sectors,
    kernel_io_in_flight,
};

use crate::bdevs::PAYLOAD;
use crate::io_submit;
use crate::step::{Step, asks, chain, eal, once, open, until};

/// Times that the queue is polled while the fdatasync is held back.
const POLLS: u32 = 1000;

struct Bench {
    channel: IoChannel,
    queue: CompletionQueue<IoKind>,
    pool: std::sync::Arc<dpdk::Mempool>,
}

impl Bench {
    fn submit(&self, kind: IoKind) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        assert!(frame.resize(usize::from(PAYLOAD) + 512));
        frame.data_mut().fill(0x5a);
        let sectors = if kind == IoKind::Flush { Sectors::default() } else { Sectors { first: 1, count: 1 } };
        let io = Io { kind, sectors, payload: PAYLOAD };
        CurrentThread::with(|thread| self.channel.submit(thread, &self.queue, io, frame, kind))
            .expect("private areas are large enough");
    }

    /// What has ended since the last call, and how.
    fn ended(&self) -> Vec<(IoKind, Outcome)> {
        self.queue.advance();
        std::iter::from_fn(|| self.queue.poll()).map(|done| (*done.context(), done.outcome())).collect()
    }

    /// Submits so many flushes, and what follows from that.
    fn flush(&self, flushes: usize) {
        (0..flushes).for_each(|_| self.submit(IoKind::Flush));
        assert_eq!(self.ended(), []);
    }
}

/// No submission.
const NOTHING: [bool; 0] = [];

/// The test's bench, when it is set up.
type Shared = Rc<RefCell<Option<Bench>>>;

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("a_flush_of_a_file_ends_with_its_fdatasync", flush()),
        ("flushes_of_a_moment_share_an_fdatasync_and_later_ones_the_next", shared()),
        ("after_a_failed_fdatasync_every_flush_of_the_file_fails", failed()),
    ]
}

/// Does something once with the bench.
fn act(state: &Shared, act: impl FnOnce(&Bench) + 'static) -> Step {
    let state = Rc::clone(state);
    once(move || act(state.borrow().as_ref().expect("opened")))
}

/// Waits until these have ended.
fn ends(state: &Shared, expected: Vec<(IoKind, Outcome)>) -> Step {
    let (state, mut ended) = (Rc::clone(state), Vec::new());
    until(move || {
        ended.extend(state.borrow().as_ref().expect("opened").ended());
        ended == expected
    })
}

/// What of a file was submitted since the last call: whether it was a read or write, each.
fn submitted(inode: u64) -> Vec<bool> {
    let all = io_submit::take();
    assert!(all.iter().all(|io| io.inode == inode), "{all:?}");
    all.iter().map(|io| io.first_byte.is_some()).collect()
}

/// An aio bdev called `name` on `file`, and a bench with it; `steps` are its test.
fn with_file(name: &'static str, steps: impl FnOnce(&Shared, u64) -> Vec<Step>) -> Step {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(1 << 20).expect("room for it");
    let inode = file.as_file().metadata().expect("its inode").ino();
    let params = json!({ "name": name, "filename": file.path(), "block_size": 512 });
    let state: Shared = Rc::default();
    let (opened, closed) = (Rc::clone(&state), Rc::clone(&state));
    let mut all = vec![asks("bdev_aio_create", params, move |answer| {
        assert_eq!(answer["result"], json!(name));
        let bdev = open(name, true, |_| ()).expect("it is there");
        assert_eq!(bdev.info().flush, FlushMethod::FileSync);
        let queue = CompletionQueue::new(1024).expect("an aio context");
        let channel = IoChannel::open(&bdev, &queue).expect("a channel");
        let private = spdk::private_size::<IoKind>();
        let pool = dpdk::Mempool::new(eal(), name, 15, private, 1024, None).expect("memory");
        io_submit::take();
        opened.replace(Some(Bench { channel, queue, pool }));
    })];
    all.extend(steps(&state, inode));
    all.push(once(move || drop(closed.take())));
    all.push(asks("bdev_aio_delete", json!({ "name": name }), move |answer| {
        assert_eq!(answer["result"], json!(true));
        drop(file);
    }));
    chain(all)
}

fn flush() -> Step {
    with_file("flushed", |state, inode| {
        let (held, mut polls) = (Rc::clone(state), 0);
        vec![
            act(state, move |bench| {
                io_submit::hold_syncs();
                assert!(!kernel_io_in_flight());
                bench.submit(IoKind::Write);
                assert!(kernel_io_in_flight());
            }),
            ends(state, vec![(IoKind::Write, Outcome::Done)]),
            act(state, move |bench| {
                assert_eq!(submitted(inode), [true], "the write went to the file");
                assert!(!kernel_io_in_flight());
                bench.flush(1);
                assert_eq!(submitted(inode), [false], "an fdatasync of the file");
            }),
            until(move || {
                polls += 1;
                let ended = held.borrow().as_ref().expect("opened").ended();
                assert_eq!(ended, [], "it ended without its fdatasync");
                assert!(kernel_io_in_flight());
                polls == POLLS
            }),
            once(io_submit::release),
            ends(state, vec![(IoKind::Flush, Outcome::Done)]),
            once(|| assert!(!kernel_io_in_flight())),
        ]
    })
}

fn shared() -> Step {
    with_file("shared", |state, inode| {
        vec![
            act(state, move |bench| {
                io_submit::hold_syncs();
                bench.flush(3);
                assert_eq!(submitted(inode), [false], "one for all three");
                bench.flush(2);
                bench.flush(3);
                assert_eq!(submitted(inode), NOTHING, "they wait for the end of the first");
                io_submit::release();
                submitted(inode);
            }),
            ends(state, vec![(IoKind::Flush, Outcome::Done); 3]),
            act(state, move |bench| {
                assert_eq!(submitted(inode), [false], "one for all five");
                assert_eq!(bench.queue.file_syncs(), FileSyncs { syncs: 2, requests: 3 });
            }),
            ends(state, vec![(IoKind::Flush, Outcome::Done); 5]),
            act(state, move |bench| {
                assert_eq!(bench.queue.file_syncs(), FileSyncs { syncs: 2, requests: 8 });
            }),
        ]
    })
}

fn failed() -> Step {
    let faults = |count| vec![(IoKind::Flush, Outcome::DeviceFault); count];
    with_file("failed", |state, inode| {
        vec![
            act(state, move |bench| {
                io_submit::hold_syncs();
                bench.flush(2);
                bench.flush(1);
                io_submit::fail_syncs(true);
                io_submit::release();
                submitted(inode);
            }),
            ends(state, faults(3)),
            act(state, move |bench| {
                io_submit::fail_syncs(false);
                assert_eq!(submitted(inode), NOTHING, "the one that waited got no fdatasync of its own");
                bench.flush(1);
                bench.submit(IoKind::Read);
            }),
            ends(state, vec![(IoKind::Flush, Outcome::DeviceFault), (IoKind::Read, Outcome::Done)]),
            once(move || assert_eq!(submitted(inode), [true], "only the read")),
        ]
    })
}
