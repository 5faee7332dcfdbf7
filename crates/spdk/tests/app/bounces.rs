//! Where the bytes of an I/O on a file really come from and go to: the iovecs that SPDK's aio module hands to the
//! kernel, seen on their way there.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use dpdk::{DataAlignment, Mempool};
use serde_json::json;
use spdk::{CompletionQueue, Io, IoChannel, IoKind, Outcome, SECTOR_BYTES, Sectors};

use crate::bdevs::PAYLOAD;
use crate::step::{Step, asks, chain, once};

/// Bytes of each request: what a frame of 9000 bytes holds.
const BYTES: usize = 8192;
/// Reads and writes of each test.
const REQUESTS: usize = 24;
/// Linux on x86-64 (fcntl.h).
const O_DIRECT: c_int = 0o40000;

/// An asynchronous read or write as the kernel gets it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Submitted {
    first_byte: usize,
    direct: bool,
}

thread_local! {
    static SUBMITTED: RefCell<Vec<Submitted>> = const { RefCell::new(Vec::new()) };
}

/// struct iocb of libaio.h, as far as it is read here, for reads and writes of iovecs.
#[repr(C)]
struct Iocb {
    data: *mut c_void,
    key: u32,
    flags: u32,
    opcode: i16,
    priority: i16,
    file: c_int,
    vectors: *const Vector,
    count: c_int,
}

/// struct iovec.
#[repr(C)]
struct Vector {
    base: *mut c_void,
    length: usize,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn fcntl(file: c_int, command: c_int, ...) -> c_int;
}

/// In the place of libaio's, which it calls: the linker finds this one first for all that is linked into this program.
///
/// # Safety
/// As libaio's: `count` valid iocbs.
#[unsafe(no_mangle)]
unsafe extern "C" fn io_submit(context: *mut c_void, count: c_long, iocbs: *mut *mut Iocb) -> c_int {
    const IO_CMD_PREADV: i16 = 7;
    const IO_CMD_PWRITEV: i16 = 8;
    const F_GETFL: c_int = 3;
    const RTLD_NEXT: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);
    const NAME: &CStr = c"io_submit";
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `index` is below the array's length, as the caller promises.
        let iocb = unsafe { iocbs.add(index) };
        // SAFETY: an element of the array.
        let iocb = unsafe { iocb.read() };
        // SAFETY: a valid iocb, as the caller promises, which nobody changes during the call.
        let iocb = unsafe { &*iocb };
        if [IO_CMD_PREADV, IO_CMD_PWRITEV].contains(&iocb.opcode) {
            assert_eq!(iocb.count, 1, "a frame in one segment");
            // SAFETY: an iocb with one vector points to it.
            let first_byte = unsafe { &*iocb.vectors }.base.addr();
            // SAFETY: fcntl(2) takes any number for a descriptor, and F_GETFL no further argument.
            let flags = unsafe { fcntl(iocb.file, F_GETFL) };
            let submitted = Submitted { first_byte, direct: flags & O_DIRECT != 0 };
            SUBMITTED.with_borrow_mut(|all| all.push(submitted));
        }
    }
    // SAFETY: dlsym(3) takes a NUL-terminated name; RTLD_NEXT is one of its handles.
    let next = unsafe { dlsym(RTLD_NEXT, NAME.as_ptr()) };
    assert!(!next.is_null(), "libaio has io_submit");
    // SAFETY: the next definition of the name is libaio's, a function with this signature.
    let next = unsafe {
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, c_long, *mut *mut Iocb) -> c_int>(
            next,
        )
    };
    // SAFETY: the caller's promise is the one that libaio asks for.
    unsafe { next(context, count, iocbs) }
}

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
        let queue = CompletionQueue::new().expect("an aio context");
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
        self.channel.submit(&self.queue, io, frame, number).expect("private areas are large enough");
    }

    /// Compares what the kernel got with where the data is, and both with what was counted.
    fn compare(&self, expected: Bounced) {
        let submitted = SUBMITTED.take();
        assert_eq!(submitted.len(), self.payloads.len(), "one system call each");
        let bounced =
            submitted.iter().zip(&self.payloads).filter(|(io, place)| io.first_byte != **place).count();
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
                SUBMITTED.take();
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
                assert_eq!(done.outcome, Outcome::Done);
                let data = &done.frame.data()[usize::from(PAYLOAD)..];
                assert!(data.iter().all(|one| *one == byte(done.context)), "what was written is read");
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
