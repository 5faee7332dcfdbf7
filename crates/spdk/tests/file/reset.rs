//! SPDK's reset of a bdev under I/O. No RPC asks for one, so it is called as other modules of SPDK call it.

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::ptr;
use std::rc::Rc;

use serde_json::json;
use spdk::IoKind;

use crate::bench::Bench;
use crate::modes::Shared;
use crate::step::{Step, chain, once, until};

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![("a_reset_ends_when_the_kernel_has_no_request", reset())]
}

/// A descriptor and a channel of this test's own.
#[derive(Clone, Copy)]
struct Opened(*mut spdk_sys::spdk_bdev_desc, *mut spdk_sys::spdk_io_channel);

extern "C" fn ignore(_: spdk_sys::spdk_bdev_event_type, _: *mut spdk_sys::spdk_bdev, _: *mut c_void) {}

extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, result: *mut c_void) {
    // SAFETY: a completed I/O, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    // SAFETY: the Cell of `start`, which the test keeps until it has a value.
    unsafe { &*result.cast::<Cell<Option<bool>>>() }.set(Some(success));
}

fn start(name: &str, result: &Cell<Option<bool>>) -> Opened {
    let name = CString::new(name).expect("a name");
    let mut desc = ptr::null_mut();
    // SAFETY: on the app's thread, with a NUL-terminated name.
    let code = unsafe {
        spdk_sys::spdk_bdev_open_ext(name.as_ptr(), false, Some(ignore), ptr::null_mut(), &raw mut desc)
    };
    assert_eq!(code, 0);
    // SAFETY: an open descriptor.
    let channel = unsafe { spdk_sys::spdk_bdev_get_io_channel(desc) };
    // SAFETY: an open descriptor and its channel, on this thread.
    let code = unsafe {
        spdk_sys::spdk_bdev_reset(desc, channel, Some(ended), ptr::from_ref(result).cast_mut().cast())
    };
    assert_eq!(code, 0);
    Opened(desc, channel)
}

fn close(opened: Opened) {
    // SAFETY: this thread's channel, once.
    unsafe { spdk_sys::spdk_put_io_channel(opened.1) };
    // SAFETY: this thread's descriptor, once; its channel is given up.
    unsafe { spdk_sys::spdk_bdev_close(opened.0) };
}

fn reset() -> Step {
    let shared = Shared::new("reset");
    let result = Rc::new(Cell::new(None));
    let opened = Rc::new(Cell::new(None));
    let (asked, told, begun, over) = (Rc::clone(&result), result, Rc::clone(&opened), opened);
    let (started, ended, after) = (shared.clone(), shared.clone(), shared.clone());
    chain(vec![
        shared.create("reset", json!({})),
        once(move || {
            started.with(|bench| (0..1000).for_each(|place| bench.submit(IoKind::Write, place, 6)));
            begun.set(Some(start("reset", &asked)));
        }),
        until(move || {
            if told.get().is_some() {
                assert_eq!(told.get(), Some(true));
            }
            told.get().is_some()
        }),
        // Those that the kernel did not have yet were aborted, the others are written.
        until(move || ended.with(Bench::ended)),
        once(move || {
            close(over.take().expect("begun"));
            let failed = after.with(Bench::take_failed);
            assert!(failed.iter().all(|(_, outcome)| *outcome == spdk::Outcome::Aborted), "{failed:?}");
            assert!(failed.len() < 1000, "the kernel had some");
        }),
        shared.each(IoKind::Write, 500, 7),
        shared.each(IoKind::Read, 500, 7),
        shared.no_failures(),
        shared.delete("reset"),
    ])
}
