//! Descriptors and channels: who may close them where, and what flushes and refusals say.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use dpdk::Mempool;
use serde_json::json;
use spdk::{
    AppThread, Bdev, BdevEvent, ChannelError, CompletionQueue, CurrentThread, Durability, FlushMethod, Io,
    IoChannel, IoKind, Outcome, Sectors, Thread,
};

use crate::step::{Step, asks, chain, once, turns, until};
use crate::threads::neighbour;

/// Where the data starts in this test's frames.
pub(crate) const PAYLOAD: u16 = 36;

thread_local! {
    static LEFT: RefCell<Option<IoChannel>> = const { RefCell::new(None) };
}

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("bdevs_are_listed_and_described", once(descriptions)),
        ("a_removal_may_close_the_descriptor_it_is_told_through", removal()),
        ("a_bdev_goes_by_its_name_and_its_aliases", once(names)),
        ("writers_share_a_claim_and_a_claim_to_read_keeps_them_out", once(claims)),
        ("a_channel_refuses_io_on_another_thread_of_its_reactor", refused_elsewhere()),
        ("a_channel_may_be_dropped_on_another_thread_of_its_reactor", dropped_elsewhere()),
        ("io_goes_through_the_frame_and_comes_back_once", io()),
        ("a_closed_channel_holds_nothing", closed()),
        ("a_bdev_with_blocks_larger_than_a_buffer_gets_no_channel", large_blocks()),
        ("a_descriptor_that_only_reads_flushes_nothing_and_writes_nothing", read_only()),
    ]
}

fn descriptions() {
    let mut names = crate::step::list();
    names.sort();
    assert_eq!(names, ["m0", "m1", "m2", "m3"]);
    let bdev = crate::step::open("m0", true, |_| ()).expect("it is there");
    let info = bdev.info();
    assert_eq!((info.block_size, info.metadata_size, info.blocks, bdev.blocks()), (512, 0, 2048, 2048));
    assert_eq!((info.name.as_str(), info.files.len(), info.flush), ("m0", 0, FlushMethod::Nothing));
    assert_eq!((&info.durability, info.write_cache, info.fua), (&Durability::Memory, true, false));
    let missing = crate::step::open("none", false, |_| ()).expect_err("there is none");
    assert_eq!(missing.call, "spdk_bdev_open_ext");
    assert_eq!(missing.errno, 19, "ENODEV: {missing}");
    assert_eq!(crate::step::open("a\0b", false, |_| ()).expect_err("no C string").errno, 22);
}

fn names() {
    let own_name = |name| AppThread::with(|app| Bdev::own_name(app, name)).expect("here");
    let bdev = crate::step::open("m0", false, |_| ()).expect("it is there");
    let uuid = bdev.info().uuid.clone();
    let is_called = |name| AppThread::with(|app| bdev.is_called(app, name)).expect("here");
    assert_eq!((uuid.len(), uuid.matches('-').count()), (36, 4), "{uuid}");
    for name in ["m0", uuid.as_str()] {
        assert_eq!(own_name(name).as_deref(), Some("m0"), "{name}");
        assert!(is_called(name), "{name}");
    }
    assert_eq!(crate::step::open(&uuid, false, |_| ()).expect("by its alias").info().name, "m0");
    for name in ["m1", "", "a\0b"] {
        assert!(!is_called(name), "{name}");
    }
    assert_eq!((own_name("none"), own_name("a\0b")), (None, None));
}

fn claims() {
    let open = |write| crate::step::open("m0", write, |_| ());
    let alone = || AppThread::with(|app| Bdev::open_against_writers(app, "m0", |_| ())).expect("here");
    // Writers share it with each other and with readers, not with one that wants no writers.
    let writers = [open(true).expect("the first"), open(true).expect("the second")];
    let reader = open(false).expect("a reader");
    let refused = alone().expect_err("it is being written");
    assert_eq!((refused.call, refused.errno), ("spdk_bdev_module_claim_bdev_desc", 16), "{refused}");
    let [first, second] = writers;
    drop(first);
    alone().expect_err("it is still being written");
    drop(second);
    let claims = [alone().expect("nobody writes"), alone().expect("nor does the other")];
    open(true).expect_err("nobody may write");
    open(false).expect("all may read");
    drop(claims);
    open(true).expect("the claims are gone");
    drop(reader);
}

fn removal() -> Step {
    thread_local!(static OPEN: RefCell<Option<Bdev>> = const { RefCell::new(None) });
    let told = Rc::new(Cell::new(0));
    let (counted, read) = (Rc::clone(&told), told);
    chain(vec![
        once(move || {
            let bdev = crate::step::open("m1", true, move |event| {
                assert_eq!(event, BdevEvent::Removed);
                drop(OPEN.take());
                // This closure, with what it holds, outlives the call.
                counted.set(counted.get() + 1);
            });
            OPEN.set(Some(bdev.expect("it is there")));
        }),
        asks("bdev_malloc_delete", json!({ "name": "m1" }), |answer| {
            assert_eq!(answer["result"], json!(true))
        }),
        turns(1000),
        once(move || {
            assert_eq!(read.get(), 1);
            assert!(!crate::step::list().contains(&"m1".to_owned()), "nothing holds it");
        }),
    ])
}

/// Leaves a channel into a bdev in `LEFT`, which a thread beside this one has opened. Returns that thread.
fn open_beside(name: &str) -> Thread {
    let thread = neighbour();
    let bdev = crate::step::open(name, true, |_| ()).expect("it is there");
    let opens = thread.send(move || {
        let queue = CompletionQueue::<u32>::new(1024).expect("an aio context");
        LEFT.set(Some(IoChannel::open(&bdev, &queue).expect("a channel")));
    });
    opens.expect("room");
    thread
}

fn refused_elsewhere() -> Step {
    let thread = Rc::new(RefCell::new(None));
    let (made, ended) = (Rc::clone(&thread), thread);
    chain(vec![
        once(move || *made.borrow_mut() = Some(open_beside("m0"))),
        until(|| LEFT.with_borrow(Option::is_some)),
        once(|| {
            let channel = LEFT.take().expect("as was just seen");
            let bench = Bench::open("m0", true);
            let frame = bench.pool.alloc().expect("an mbuf");
            let io = Io { kind: IoKind::Flush, sectors: Sectors::default(), payload: PAYLOAD };
            CurrentThread::with(|thread| channel.submit(thread, &bench.queue, io, frame, 0))
                .expect_err("this is not its thread");
            assert_eq!((bench.queue.in_flight(), channel.in_flight()), (0, 0));
        }),
        once(move || ended.take().expect("made above").exit().expect("room")),
    ])
}

fn dropped_elsewhere() -> Step {
    let thread = Rc::new(RefCell::new(None));
    let (made, ended) = (Rc::clone(&thread), thread);
    chain(vec![
        once(move || *made.borrow_mut() = Some(open_beside("m2"))),
        until(|| LEFT.with_borrow(Option::is_some)),
        once(|| drop(LEFT.take())),
        // Which SPDK answers when descriptor and channels are closed.
        asks("bdev_malloc_delete", json!({ "name": "m2" }), |answer| {
            assert_eq!(answer["result"], json!(true))
        }),
        once(move || ended.take().expect("made above").exit().expect("room")),
    ])
}

/// What a test submits to.
pub(crate) struct Bench {
    pub(crate) bdev: Bdev,
    pub(crate) channel: IoChannel,
    pub(crate) queue: CompletionQueue<u32>,
    pub(crate) pool: Arc<Mempool>,
}

impl Bench {
    pub(crate) fn open(name: &str, write: bool) -> Self {
        let bdev = crate::step::open(name, write, |_| ()).expect("it is there");
        let queue = CompletionQueue::new(1024).expect("an aio context");
        let channel = IoChannel::open(&bdev, &queue).expect("a channel");
        let pool = Mempool::new(
            crate::step::eal(),
            &format!("pool_{name}_{write}"),
            31,
            spdk::private_size::<u32>(),
            1024,
            None,
        );
        Self { bdev, channel, queue, pool: pool.expect("memory") }
    }

    pub(crate) fn submit(&self, kind: IoKind, first: u64, count: u32, bytes: &[u8], tag: u32) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        assert!(frame.resize(usize::from(PAYLOAD) + bytes.len()));
        frame.data_mut()[usize::from(PAYLOAD)..].copy_from_slice(bytes);
        let io = Io { kind, sectors: Sectors { first, count }, payload: PAYLOAD };
        CurrentThread::with(|thread| self.channel.submit(thread, &self.queue, io, frame, tag))
            .expect("private areas are large enough");
    }

    /// Tags, outcomes and payloads of what has ended.
    pub(crate) fn ended(&self) -> Vec<(u32, Outcome, Vec<u8>)> {
        self.queue.advance();
        std::iter::from_fn(|| self.queue.poll())
            .map(|done| {
                (*done.context(), done.outcome(), done.frame().data()[usize::from(PAYLOAD)..].to_vec())
            })
            .collect()
    }
}

/// Submits, waits for as many ends, and looks at them by tag.
fn io_on(
    bench: impl FnOnce() -> Bench + 'static,
    submit: impl FnOnce(&Bench) + 'static,
    count: usize,
    look: impl FnOnce(Vec<(u32, Outcome, Vec<u8>)>) + 'static,
) -> Step {
    let mut open = Some((bench, submit));
    let mut look = Some(look);
    let mut bench = None;
    let mut ended = Vec::new();
    Box::new(move || {
        if let Some((make, submit)) = open.take() {
            let made = make();
            submit(&made);
            assert_eq!(made.queue.in_flight() as usize, count);
            bench = Some(made);
        }
        let Some(state) = &bench else { return true };
        ended.extend(state.ended());
        if ended.len() < count {
            return false;
        }
        assert_eq!((state.queue.in_flight(), state.channel.in_flight()), (0, 0));
        assert_eq!(state.pool.available(), state.pool.size(), "every mbuf is back");
        assert!(format!("{state:?}", state = state.bdev).contains(&state.bdev.info().name));
        ended.sort_by_key(|(tag, ..)| *tag);
        if let Some(look) = look.take() {
            look(std::mem::take(&mut ended));
        }
        bench = None;
        true
    })
}

fn outcomes(ended: &[(u32, Outcome, Vec<u8>)]) -> Vec<Outcome> {
    ended.iter().map(|(_, outcome, _)| *outcome).collect()
}

fn io() -> Step {
    chain(vec![
        io_on(
            || Bench::open("m0", true),
            |bench| bench.submit(IoKind::Write, 7, 1, &[0x5a; 512], 1),
            1,
            |ended| assert_eq!(outcomes(&ended), [Outcome::Done]),
        ),
        io_on(
            || Bench::open("m0", true),
            |bench| {
                bench.submit(IoKind::Read, 7, 1, &[0; 512], 1);
                bench.submit(IoKind::Flush, 0, 0, &[], 2);
                bench.submit(IoKind::Read, 2048, 1, &[0; 512], 3);
                bench.submit(IoKind::Read, u64::MAX, 1, &[0; 512], 4);
                // A frame that does not hold what it should.
                bench.submit(IoKind::Write, 0, 2, &[0; 512], 5);
            },
            5,
            |ended| {
                assert_eq!(ended[0].2, [0x5a; 512]);
                assert_eq!(
                    outcomes(&ended),
                    [
                        Outcome::Done,
                        Outcome::Done,
                        Outcome::OutOfRange,
                        Outcome::OutOfRange,
                        Outcome::Aborted
                    ]
                );
            },
        ),
        once(|| {
            let bench = Bench::open("m0", true);
            let small = Mempool::new(crate::step::eal(), "small", 15, 8, 1024, None).expect("memory");
            let frame = small.alloc().expect("an mbuf");
            let io = Io { kind: IoKind::Flush, sectors: Sectors::default(), payload: PAYLOAD };
            CurrentThread::with(|thread| bench.channel.submit(thread, &bench.queue, io, frame, 0))
                .expect_err("no place for its state");
            assert_eq!((bench.queue.in_flight(), bench.channel.in_flight()), (0, 0));
        }),
    ])
}

/// Waits until the modules that examine a new bdev have closed it: its creation is answered before.
pub(crate) fn writable(name: &'static str) -> Step {
    const EPERM: i32 = 1;
    until(move || match crate::step::open(name, true, |_| ()) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.errno, EPERM, "{error}");
            false
        }
    })
}

fn closed() -> Step {
    let params = json!({ "name": "m4", "num_blocks": 2048, "block_size": 512 });
    chain(vec![
        asks("bdev_malloc_create", params, |answer| assert_eq!(answer["result"], json!("m4"))),
        writable("m4"),
        once(|| {
            let bdev = crate::step::open("m4", true, |_| ()).expect("it is there");
            let queue = CompletionQueue::<u32>::new(1024).expect("an aio context");
            drop(IoChannel::open(&bdev, &queue).expect("a channel"));
        }),
        // Which SPDK answers when descriptor and channels are closed.
        asks("bdev_malloc_delete", json!({ "name": "m4" }), |answer| {
            assert_eq!(answer["result"], json!(true))
        }),
        once(|| assert!(!crate::step::list().contains(&"m4".to_owned()))),
    ])
}

fn large_blocks() -> Step {
    let blocks = |block_size: u32| {
        let params = json!({ "name": "m5", "num_blocks": 64, "block_size": block_size });
        let made = asks("bdev_malloc_create", params, |answer| assert_eq!(answer["result"], json!("m5")));
        let opened = once(move || {
            let bdev = crate::step::open("m5", true, |_| ()).expect("it is there");
            let queue = CompletionQueue::<u32>::new(1024).expect("an aio context");
            let opened = IoChannel::open(&bdev, &queue).map(drop);
            if block_size <= 4096 {
                assert_eq!(opened, Ok(()));
                return;
            }
            let refused = opened.expect_err("no buffer holds two blocks");
            assert_eq!(refused, ChannelError::BlockSize(block_size));
            let message = refused.to_string();
            assert!(
                message.contains("8192 bytes") && message.contains("512, 1024, 2048 or 4096"),
                "{message}"
            );
        });
        let deleted = asks("bdev_malloc_delete", json!({ "name": "m5" }), |answer| {
            assert_eq!(answer["result"], json!(true));
        });
        chain(vec![made, writable("m5"), opened, deleted])
    };
    chain(vec![blocks(4096), blocks(8192)])
}

fn read_only() -> Step {
    io_on(
        || {
            let bench = Bench::open("m3", false);
            assert_eq!(bench.bdev.info().flush, FlushMethod::Nothing);
            bench
        },
        |bench| {
            bench.submit(IoKind::Flush, 0, 0, &[], 1);
            bench.submit(IoKind::Write, 0, 1, &[1; 512], 2);
            bench.submit(IoKind::Read, 0, 1, &[1; 512], 3);
        },
        3,
        |ended| {
            assert_eq!(outcomes(&ended), [Outcome::Done, Outcome::Aborted, Outcome::Done]);
            assert_eq!(ended[2].2, [0; 512], "and nothing was written");
        },
    )
}
