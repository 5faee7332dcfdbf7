//! Where the bytes of an I/O on a file really come from and go to: the iovecs that SPDK's aio module hands to the
//! kernel, seen on their way there.

use std::cell::RefCell;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use dpdk::{DataAlignment, Mempool};
use serde_json::json;
use spdk::{CompletionQueue, CurrentThread, Io, IoChannel, IoKind, Outcome, SECTOR_BYTES, Sectors};

use crate::bdevs::PAYLOAD;
use crate::io_submit::{self, O_DIRECT};
use crate::step::{Step, asks, chain, once};

/// Bytes of each request: what a frame of 9000 bytes holds.
const BYTES: usize = 8192;
/// Reads and writes of each test.
const REQUESTS: usize = 24;

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("data_at_any_multiple_of_4_is_bounced_for_a_file", on_a_file("any", 512, None, Bounced::All)),
        ("data_at_512_goes_from_and_to_the_frame_itself", on_a_file("sector", 512, Some(512), Bounced::None)),
        ("data_at_512_is_bounced_for_blocks_of_4096", on_a_file("less", 4096, Some(512), Bounced::Most)),
        ("data_at_4096_goes_straight_to_such_blocks", on_a_file("page", 4096, Some(4096), Bounced::None)),
    ]
}

/// How many I/Os SPDK copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounced {
    None,
    /// Those whose data does not lie at a multiple of 4096 by chance.
    Most,
    All,
}

struct Bench {
    channel: IoChannel,
    queue: CompletionQueue<usize>,
    pool: Arc<Mempool>,
    /// Where each request's data lies in its frame.
    payloads: Vec<usize>,
    direct: bool,
}

/// Where the test's files are: in the build's directory, since there is O_DIRECT on most file systems but tmpfs.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.img", std::process::id()))
}

impl Bench {
    fn open(name: &str, alignment: Option<u16>) -> Self {
        let bdev = crate::step::open(name, true, |_| ()).expect("it is there");
        let (pool, private) = (format!("pool_{name}"), spdk::private_size::<usize>());
        let pool = match alignment {
            None => Mempool::new(crate::step::eal(), &pool, 63, private, 9216, None),
            Some(bytes) => {
                let alignment = DataAlignment { offset: PAYLOAD, bytes };
                Mempool::aligned(crate::step::eal(), &pool, 63, private, 9216, None, alignment)
            }
        };
        let direct = std::fs::OpenOptions::new().read(true).custom_flags(O_DIRECT).open(file(name)).is_ok();
        let queue = CompletionQueue::new(1024).expect("an aio context");
        let channel = IoChannel::open(&bdev, &queue).expect("a channel");
        Self { channel, queue, pool: pool.expect("memory"), payloads: Vec::new(), direct }
    }

    fn submit(&mut self, kind: IoKind, number: usize) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        assert!(frame.resize(usize::from(PAYLOAD) + BYTES));
        frame.data_mut().fill(if kind == IoKind::Write { byte(number) } else { 0 });
        self.payloads.push(frame.data().as_ptr().addr() + usize::from(PAYLOAD));
        let count = BYTES / SECTOR_BYTES;
        let sectors = Sectors { first: (number * count) as u64, count: u32::try_from(count).expect("16") };
        let io = Io { kind, sectors, payload: PAYLOAD };
        CurrentThread::with(|thread| self.channel.submit(thread, &self.queue, io, frame, number))
            .expect("private areas are large enough");
    }

    /// Compares what the kernel got with where the data is, and both with what was counted.
    fn compare(&self, expected: Bounced) {
        let submitted: Vec<_> = io_submit::take().into_iter().filter(|io| io.first_byte.is_some()).collect();
        assert_eq!(submitted.len(), self.payloads.len(), "one system call each");
        let bounced =
            submitted.iter().zip(&self.payloads).filter(|(io, place)| io.first_byte != Some(**place)).count();
        assert_eq!(self.queue.bounced(), bounced as u64, "the counter says what happened");
        match expected {
            Bounced::None => assert_eq!(bounced, 0),
            Bounced::Most => assert!(bounced > self.payloads.len() / 2 && bounced < self.payloads.len()),
            Bounced::All => assert_eq!(bounced, self.payloads.len()),
        }
        assert!(submitted.iter().all(|io| io.direct == self.direct), "O_DIRECT where the file system has it");
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number + 1).expect("few requests")
}

/// Writes and then reads what was written, on a file with blocks of that size, by frames whose data is so aligned.
fn on_a_file(name: &'static str, block_size: usize, alignment: Option<u16>, expected: Bounced) -> Step {
    let params = json!({ "name": name, "filename": file(name), "block_size": block_size });
    let length = (REQUESTS * BYTES) as u64;
    let state: Rc<RefCell<Option<Bench>>> = Rc::default();
    let (opened, used, closed) = (Rc::clone(&state), Rc::clone(&state), state);
    let mut submitted = 0;
    let mut ended = 0;
    chain(vec![
        once(move || {
            let file = std::fs::File::create(file(name)).expect("a file in the build's directory");
            file.set_len(length).expect("room for it");
        }),
        asks("bdev_aio_create", params, move |answer| {
            assert_eq!(answer["result"], json!(name));
            opened.replace(Some(Bench::open(name, alignment)));
        }),
        Box::new(move || {
            let mut state = used.borrow_mut();
            let bench = state.as_mut().expect("opened");
            if submitted == 0 {
                // SPDK has looked at the new bdev's first block.
                io_submit::take();
            }
            // Writes first, all at once; then the reads.
            while submitted < REQUESTS || (ended >= REQUESTS && submitted < 2 * REQUESTS) {
                let kind = if submitted < REQUESTS { IoKind::Write } else { IoKind::Read };
                bench.submit(kind, submitted % REQUESTS);
                submitted += 1;
            }
            bench.queue.advance();
            while let Some(done) = bench.queue.poll() {
                ended += 1;
                assert_eq!(done.outcome(), Outcome::Done);
                let data = &done.frame().data()[usize::from(PAYLOAD)..];
                assert!(data.iter().all(|one| *one == byte(*done.context())), "what was written is read");
            }
            if ended < 2 * REQUESTS {
                return false;
            }
            bench.compare(expected);
            true
        }),
        once(move || drop(closed.take())),
        asks("bdev_aio_delete", json!({ "name": name }), |answer| assert_eq!(answer["result"], json!(true))),
        once(move || std::fs::remove_file(file(name)).expect("it was there")),
    ])
}
