//! I/O other than reads and writes: a write with FUA, an unmap, a flush by the way that reaches the bdev's stable media, a log page.

use std::ffi::c_void;

use crate::{
    FlushMethod, file_flush,
    in_flight::{Submitted, ended},
    io::{IoKind, Outcome},
    sectors::Blocks,
};

/// A call of SPDK's that carries out such an I/O.
enum Call {
    Unmap(Blocks),
    /// NVMe's Write, with its dwords 10 to 12.
    WriteFua {
        dwords: [u32; 3],
        data: *mut c_void,
        bytes: usize,
    },
    /// All of the bdev, which has so many blocks.
    Flush(u64),
    NvmeFlush,
    /// Into this place.
    Health(*mut c_void),
}

/// Hands a request of such a kind to the bdev. `blocks`: its range in blocks, where it is whole blocks.
#[cold]
pub(crate) fn start(request: Submitted, blocks: Option<Blocks>) {
    let channel = request.channel();
    if request.header().io.kind == IoKind::Flush && channel.bdev.info().flush == FlushMethod::FileSync {
        return file_flush::start(request);
    }
    let call = match call_for(&request, blocks) {
        Ok(call) => call,
        Err(outcome) => return request.finish(outcome),
    };
    let (desc, ch) = channel.handles();
    let arg = request.into_arg();
    // The conditions of the calls (spdk/bdev.h): the descriptor and the channel are open, since the channel stays while I/O is in
    // flight on it; this is the channel's thread, which `IoChannel::submit` checks and on which the queue tries again; the
    // bytes that the request's iovecs point to stay until `ended` runs, which gets `arg` once. SPDK checks the range itself.
    let code = match call {
        // SAFETY: as above.
        Call::Unmap(Blocks { first, count }) => unsafe {
            spdk_sys::spdk_bdev_unmap_blocks(desc, ch, first, count, Some(ended), arg)
        },
        // SAFETY: as above; the data is the request's one piece.
        Call::WriteFua { dwords: [low, high, control], data, bytes } => unsafe {
            spdk_sys::spdk_shim_nvme_write(desc, ch, low, high, control, data, bytes, Some(ended), arg)
        },
        // SAFETY: as above.
        Call::Flush(blocks) => unsafe {
            spdk_sys::spdk_bdev_flush_blocks(desc, ch, 0, blocks, Some(ended), arg)
        },
        // SAFETY: as above.
        Call::NvmeFlush => unsafe { spdk_sys::spdk_shim_nvme_flush(desc, ch, Some(ended), arg) },
        // SAFETY: as above; `cover` has put all of the log's bytes into the request's one piece.
        Call::Health(log) => unsafe { spdk_sys::spdk_shim_nvme_health(desc, ch, log, Some(ended), arg) },
    };
    if code != 0 {
        // SAFETY: on an error SPDK has not taken the request, so `ended` does not get it.
        unsafe { Submitted::from_arg(arg) }.refused(code);
    }
}

/// The call for a request.
///
/// # Errors
/// The request's outcome, if none is needed or can be made.
fn call_for(request: &Submitted, blocks: Option<Blocks>) -> Result<Call, Outcome> {
    let bdev = &request.channel().bdev;
    match (request.header().io.kind, blocks) {
        (IoKind::Unmap, Some(blocks)) => Ok(Call::Unmap(blocks)),
        // No block lies wholly in the range, so there is nothing to give up.
        (IoKind::Unmap, None) => Err(Outcome::Done),
        (IoKind::WriteFua, Some(blocks)) => {
            let (data, bytes) = request.header().only_piece().ok_or(Outcome::Aborted)?;
            let dwords = write_dwords(blocks, true).ok_or(Outcome::Aborted)?;
            Ok(Call::WriteFua { dwords, data, bytes })
        }
        (IoKind::Flush, _) => match bdev.info().flush {
            FlushMethod::Nothing => Err(Outcome::Done),
            // As large as it is now.
            FlushMethod::Bdev => Ok(Call::Flush(bdev.blocks())),
            FlushMethod::NvmeCommand => Ok(Call::NvmeFlush),
            FlushMethod::Impossible | FlushMethod::FileSync => Err(Outcome::Aborted),
        },
        (IoKind::Health, _) => {
            request.header().only_piece().map(|(log, _)| Call::Health(log)).ok_or(Outcome::Aborted)
        }
        (IoKind::WriteFua, None) | (IoKind::Read | IoKind::Write, _) => Err(Outcome::Aborted),
    }
}

/// Dwords 10 to 12 of NVMe's Write (NVM Express 1.4, 6.15): the first block's lower and upper half; the number of
/// blocks less one, with Force Unit Access in bit 30. `None` for a number that a command can't carry.
fn write_dwords(blocks: Blocks, fua: bool) -> Option<[u32; 3]> {
    let blocks_less_one = u16::try_from(blocks.count.checked_sub(1)?).ok()?;
    let [a, b, c, d, e, f, g, h] = blocks.first.to_le_bytes();
    let control = u32::from(blocks_less_one) | u32::from(fua) << 30;
    Some([u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), control])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_with_fua_is_one_command() {
        let blocks = |first, count| Blocks { first, count };
        assert_eq!(write_dwords(blocks(0x1_2345_6789, 16), true), Some([0x2345_6789, 1, 0x4000_000f]));
        assert_eq!(write_dwords(blocks(7, 1), false), Some([7, 0, 0]));
        assert_eq!(write_dwords(blocks(0, 65536), true), Some([0, 0, 0x4000_ffff]));
        assert_eq!(write_dwords(blocks(0, 65537), true), None);
        assert_eq!(write_dwords(blocks(0, 0), true), None);
    }
}
