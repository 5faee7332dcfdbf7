//! Bdevs whose I/O a simulation carries out. Feature `simulate`; no part of the target.
//!
//! The seam is SPDK's functions on bdevs, which this crate calls. The linker of the simulation's program gets
//! `--wrap=FUNCTION` for each of them (the build script of crates/simulate), so that a call of `FUNCTION` reaches
//! `__wrap_FUNCTION` in `wrapped`. All of the crate's own code stays as it is, and a program that is linked without these
//! options has none of this: the real path costs the same with the feature and without it.
//!
//! Descriptors, channels and I/Os are numbers in the form of pointers that no memory has (their upper bits are those of
//! no address), so nothing here reads through them. SPDK's own descriptors and channels get an error, for a simulation has
//! none.
//!
//! The target's clock, the CPU's time stamp counter ([`dpdk::tsc`]), is replaced in the same way (`clock`).
//!
//! Everything belongs to the thread that made it, as SPDK's objects do.

mod clock;
mod wrapped;

pub use clock::{TICKS_A_SECOND, set_clock};

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::{c_int, c_void},
    ptr,
    rc::Rc,
    slice,
};

/// A device's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Blocks into the I/O's memory: [`fill`].
    Read,
    /// The I/O's memory into blocks: [`data`].
    Write,
    /// As [`Operation::Write`], and on stable media when it completes.
    WriteFua,
    /// As [`Operation::Write`], if the blocks hold what [`compared`] returns; else it fails as [`Status::Miscompare`].
    CompareAndWrite,
    /// What was completed before it was submitted to stable media.
    Flush,
    /// The blocks' content is no longer needed.
    Unmap,
}

/// An I/O that the bdev layer hands to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    /// Its number, by which it is completed.
    pub io: u64,
    /// The channel, in the order in which this device's channels were opened.
    pub channel: u32,
    /// What to do.
    pub operation: Operation,
    /// First block.
    pub first: u64,
    /// Blocks.
    pub blocks: u64,
}

/// An abort that the bdev layer hands to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborting {
    /// Its number, by which it is completed.
    pub abort: u64,
    /// The channel, as in [`Submission::channel`].
    pub channel: u32,
}

/// How an I/O completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Done,
    /// A compare-and-write found something else.
    Miscompare,
    /// The device failed.
    Failed,
    /// The medium can't be read or written there.
    MediaError,
    /// It was not carried out.
    Aborted,
}

/// A simulated bdev's device.
pub trait Device {
    /// Blocks.
    fn blocks(&self) -> u64;

    /// Takes an I/O, within the device's size. It is completed later, by [`complete`], and never from within this call.
    ///
    /// # Errors
    /// The errno with which the device refuses it: `ENOMEM` and `EAGAIN` have it tried again.
    fn submit(&mut self, submission: Submission) -> Result<(), c_int>;

    /// Takes an abort of `io`, or of one that it does not have. The abort is completed later, by [`complete`], and so is the I/O, in
    /// any case and in any order.
    ///
    /// # Errors
    /// The errno with which the device refuses it.
    fn abort(&mut self, abort: Aborting, io: Option<u64>) -> Result<(), c_int>;

    /// Opens a channel. False if there is none to be had.
    fn open_channel(&mut self, channel: u32) -> bool;

    /// A channel was closed.
    fn channel_closed(&mut self, channel: u32);

    /// The last descriptor was closed.
    fn closed(&mut self);
}

type Callback = unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void);

/// An I/O that a device has.
struct Pending {
    callback: Callback,
    arg: *mut c_void,
    /// Address and length of each piece of the data.
    data: Vec<(*mut u8, usize)>,
    compared: Vec<(*mut u8, usize)>,
}

struct Simulated {
    device: Rc<RefCell<dyn Device>>,
    channels: u32,
}

#[derive(Default)]
struct State {
    bdevs: BTreeMap<u64, Simulated>,
    pending: BTreeMap<u64, Pending>,
    /// Completed I/Os that are not freed, which is as long as their callback runs.
    completed: BTreeMap<u64, Status>,
    last_bdev: u64,
    last_io: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
}

/// Bits that no address of a program has on x86-64 and aarch64: neither the lower half nor the upper.
const BDEV: u64 = 0x5d00 << 48;
const CHANNEL: u64 = 0x5e00 << 48;
const IO: u64 = 0x5f00 << 48;
const KIND: u64 = 0xffff << 48;

fn handle<T>(kind: u64, number: u64) -> *mut T {
    ptr::without_provenance_mut(usize::try_from(kind | number).unwrap_or_default())
}

fn number<T>(kind: u64, pointer: *const T) -> Option<u64> {
    let value = pointer.addr() as u64;
    (value & KIND == kind).then_some(value & !KIND)
}

/// Bits of a channel's number below its bdev's.
const CHANNEL_BITS: u32 = 16;

/// The bdev and the number of a channel.
fn channel_of(channel: *const spdk_sys::spdk_io_channel) -> Option<(u64, u32)> {
    let number = number(CHANNEL, channel)?;
    Some((number >> CHANNEL_BITS, u32::try_from(number & ((1 << CHANNEL_BITS) - 1)).ok()?))
}

fn device_of(bdev: u64) -> Option<Rc<RefCell<dyn Device>>> {
    STATE.with_borrow(|state| state.bdevs.get(&bdev).map(|bdev| Rc::clone(&bdev.device)))
}

/// Registers a device, and returns the descriptor and the number for [`crate::Bdev::simulated`].
pub(crate) fn register(device: Rc<RefCell<dyn Device>>) -> *mut spdk_sys::spdk_bdev_desc {
    STATE.with_borrow_mut(|state| {
        state.last_bdev += 1;
        state.bdevs.insert(state.last_bdev, Simulated { device, channels: 0 });
        handle(BDEV, state.last_bdev)
    })
}

/// The bytes that a write carries now.
///
/// # Panics
/// If no device has this I/O.
#[must_use]
pub fn data(io: u64) -> Vec<u8> {
    STATE.with_borrow(|state| gather(&state.pending[&io].data))
}

/// The bytes that a compare-and-write compares with.
///
/// # Panics
/// If no device has this I/O.
#[must_use]
pub fn compared(io: u64) -> Vec<u8> {
    STATE.with_borrow(|state| gather(&state.pending[&io].compared))
}

/// Puts a read's bytes into the I/O's memory.
///
/// # Panics
/// If no device has this I/O, or if `bytes` are not as many as it asked for.
pub fn fill(io: u64, bytes: &[u8]) {
    STATE.with_borrow(|state| {
        let mut left = bytes;
        for (start, length) in &state.pending[&io].data {
            let (piece, rest) = left.split_at(*length);
            // SAFETY: the iovec of an I/O in flight, which the caller of SPDK's function leaves to the device until its
            // callback has run. `piece` has `length` bytes and is memory of its own.
            unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), *start, piece.len()) };
            left = rest;
        }
        assert!(left.is_empty(), "a read of fewer bytes");
    });
}

fn gather(pieces: &[(*mut u8, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (start, length) in pieces {
        // SAFETY: the iovec of an I/O in flight, as in `fill`, whose bytes are initialised and not written meanwhile.
        bytes.extend_from_slice(unsafe { slice::from_raw_parts(start.cast_const(), *length) });
    }
    bytes
}

/// Completes an I/O: its callback runs before this returns. Not from within a turn of an lcore.
///
/// # Panics
/// If no device has this I/O.
pub fn complete(io: u64, status: Status) {
    let pending = STATE.with_borrow_mut(|state| {
        state.completed.insert(io, status);
        state.pending.remove(&io).expect("an I/O that a device has")
    });
    // SAFETY: the callback and the argument that were passed with this I/O, which is called once: it was removed.
    unsafe { (pending.callback)(handle(IO, io), status == Status::Done, pending.arg) };
    STATE.with_borrow_mut(|state| _ = state.completed.remove(&io));
}
