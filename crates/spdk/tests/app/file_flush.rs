//! FLUSH of a file: it is done when the kernel's fdatasync is, and not before.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use serde_json::json;
use spdk::{CompletionQueue, CurrentThread, FlushMethod, Io, IoChannel, IoKind, Outcome, Sectors};

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

    /// What has ended, all of it well.
    fn ended(&self) -> Vec<IoKind> {
        self.queue.advance();
        let ended = std::iter::from_fn(|| self.queue.poll());
        let good = ended.inspect(|done| assert_eq!(done.outcome, Outcome::Done));
        good.map(|done| done.context).collect()
    }
}

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![("a_flush_of_a_file_ends_with_its_fdatasync", flush())]
}

fn flush() -> Step {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(1 << 20).expect("room for it");
    let inode = file.as_file().metadata().expect("its inode").ino();
    let params = json!({ "name": "flushed", "filename": file.path(), "block_size": 512 });
    let state: Rc<RefCell<Option<Bench>>> = Rc::default();
    let (opened, written, flushed, held, synced, closed) = (
        Rc::clone(&state),
        Rc::clone(&state),
        Rc::clone(&state),
        Rc::clone(&state),
        Rc::clone(&state),
        state,
    );
    let with = |state: &Rc<RefCell<Option<Bench>>>, look: &dyn Fn(&Bench) -> bool| {
        look(state.borrow().as_ref().expect("opened"))
    };
    let mut polls = 0;
    chain(vec![
        asks("bdev_aio_create", params, move |answer| {
            assert_eq!(answer["result"], json!("flushed"));
            let bdev = open("flushed", true, |_| ()).expect("it is there");
            assert_eq!(bdev.info().flush, FlushMethod::FileSync);
            let queue = CompletionQueue::new(1024).expect("an aio context");
            let channel = IoChannel::open(&bdev, &queue).expect("a channel");
            let private = spdk::private_size::<IoKind>();
            let pool = dpdk::Mempool::new(eal(), "flushed", 15, private, 1024, None).expect("memory");
            let bench = Bench { channel, queue, pool };
            io_submit::take();
            io_submit::hold_syncs();
            bench.submit(IoKind::Write);
            opened.replace(Some(bench));
        }),
        until(move || with(&written, &|bench| bench.ended() == [IoKind::Write])),
        once(move || {
            let before: Vec<_> =
                io_submit::take().iter().map(|io| (io.inode, io.first_byte.is_some())).collect();
            assert_eq!(before, [(inode, true)], "the write went to the file");
            with(&flushed, &|bench| {
                bench.submit(IoKind::Flush);
                true
            });
            let after: Vec<_> =
                io_submit::take().iter().map(|io| (io.inode, io.first_byte.is_some())).collect();
            assert_eq!(after, [(inode, false)], "an fdatasync of the file");
        }),
        Box::new(move || {
            polls += 1;
            assert!(with(&held, &|bench| bench.ended().is_empty()), "it ended without its fdatasync");
            polls == POLLS
        }),
        once(io_submit::release),
        until(move || with(&synced, &|bench| bench.ended() == [IoKind::Flush])),
        once(move || drop(closed.take())),
        asks("bdev_aio_delete", json!({ "name": "flushed" }), move |answer| {
            assert_eq!(answer["result"], json!(true));
            drop(file);
        }),
    ])
}
