//! admit, submit: an export's decision on a request, and the bdev I/O it may need.

use aoe_target::{
    BdevIo, BdevOp, Disposition, DropReason, Export, ExportId, IoOutcome, PAYLOAD_OFFSET, Reply, Request,
};
use dpdk::Mbuf;
use spdk::{Io, IoKind};

use crate::{
    Lcore,
    follow::{self, Step},
    lcore::{Backing, Settling},
    reply,
};

/// What the addresses of frames' data are a multiple of at least: head room and headers are. Lanes whose mempools are
/// made for it ([`dpdk::Mempool::aligned`]) have more.
pub const PAYLOAD_ALIGNMENT: usize = 4;

/// Bytes into an untagged frame where its data starts, for such mempools.
#[expect(clippy::cast_possible_truncation, reason = "36")]
pub const PAYLOAD: u16 = PAYLOAD_OFFSET as u16;

const _: () = {
    assert!(PAYLOAD_OFFSET == 36);
    // Mbuf buffers start at a multiple of 8, after a 64-byte aligned header and a private area of a multiple of 8; or,
    // in a pool made for larger alignments, where those put the data, which are multiples of 4.
    assert!((dpdk::HEADROOM as usize + PAYLOAD_OFFSET).is_multiple_of(PAYLOAD_ALIGNMENT));
    assert!(private_size().is_multiple_of(8));
};

/// What must be remembered of a request while its bdev works on it; the rest is in the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) lane: usize,
    pub(crate) export: ExportId,
    pub(crate) io: BdevIo,
    pub(crate) step: Step,
}

/// Private bytes that the mempool of a lane needs for each mbuf.
pub const fn private_size() -> u16 {
    spdk::private_size::<InFlight>()
}

impl Lcore {
    /// Does what the export decides on a request.
    #[inline(always)]
    pub(crate) fn admit(&mut self, lane_index: usize, id: ExportId, request: &Request, frame: Mbuf) {
        let lane = &mut self.lanes[lane_index];
        // Routing found it a moment ago; nothing changes in between.
        let (Some(export), Some(Some(backing))) = (self.table.get(id), self.backings.get_mut(id.0 as usize))
        else {
            return lane.drop(frame, DropReason::UnknownShelfSlot);
        };
        let disposition = export.admit(request, frame.data(), frame.frame_len(), lane.limits);
        backing.counters.admitted(request, &disposition);
        match disposition {
            Disposition::Drop(reason) => lane.drop(frame, reason),
            Disposition::Reply(answer) => reply::send(lane, export, &answer, frame),
            Disposition::Consult => self.consult(lane_index, id, frame),
            Disposition::Submit(io) => {
                let Some(frame) = with_room(frame, &io) else {
                    lane.drops.count(DropReason::NoRoom);
                    return;
                };
                let Some((bdev_io, step)) = first_io(export, backing, &io, &frame) else {
                    return reply::send(lane, export, &Reply::completed(&io, IoOutcome::Ok), frame);
                };
                let context = InFlight { lane: lane_index, export: id, io, step };
                let refused = match &backing.channel {
                    Some(channel) => channel.submit(&self.completions, bdev_io, frame, context),
                    None => Err(frame),
                };
                match refused {
                    Ok(()) => {
                        backing.under_way += 1;
                        lane.intake.submitted(io.data_len());
                    }
                    Err(frame) => {
                        backing.counters.completed(&io, IoOutcome::DeviceFault);
                        let answer = Reply::completed(&io, IoOutcome::DeviceFault);
                        reply::send(lane, export, &answer, frame);
                    }
                }
            }
        }
    }
}

impl Backing {
    /// Takes back what `admit` counted as under way.
    #[inline]
    pub(crate) fn ended(&mut self) {
        self.under_way -= 1;
    }
}

/// A request's I/O, or the first of several, and what there is to do when it has ended well. `None` if there is
/// nothing to ask of the bdev.
#[inline(always)]
fn first_io(export: &Export, backing: &mut Backing, io: &BdevIo, frame: &Mbuf) -> Option<(Io, Step)> {
    let block_shift = backing.block_shift;
    let step = match io.op {
        BdevOp::Write => match backing.before_answer {
            Settling::Nothing => Step::Reply,
            Settling::Flush => Step::Flush,
            Settling::Fua => {
                let (io, step) = forced(spdk_io(io, export.first_sector, block_shift), frame.segments());
                backing.counters.fua_writes += u64::from(io.kind == IoKind::WriteFua);
                return Some((io, step));
            }
        },
        BdevOp::Read | BdevOp::Flush => Step::Reply,
        BdevOp::Trim => return follow::unmap(export, io, frame, block_shift, 0),
        BdevOp::Health(what) => Step::Health(what),
    };
    Some((spdk_io(io, export.first_sector, block_shift), step))
}

/// A write for a drive with FUA: one command if it covers whole blocks and its data lies in one piece, else a write
/// and a flush.
fn forced(io: Io, segments: u16) -> (Io, Step) {
    match io.kind {
        IoKind::Write if segments == 1 => (Io { kind: IoKind::WriteFua, ..io }, Step::Reply),
        _ => (io, Step::Flush),
    }
}

/// The frame, long enough for a read's data. The initiator's trailing bytes, if any, make room for it.
#[inline(always)]
fn with_room(mut frame: Mbuf, io: &BdevIo) -> Option<Mbuf> {
    if !matches!(io.op, BdevOp::Read | BdevOp::Health(_)) {
        return Some(frame);
    }
    if frame.segments() > 1 {
        frame.truncate_to_first_segment();
    }
    frame.resize(PAYLOAD_OFFSET + io.data_len()).then_some(frame)
}

/// The I/O on a bdev of `512 << block_shift` bytes a block, of an export that starts at its `first_sector`. What
/// covers whole blocks goes straight to it; with 512 bytes, everything does.
#[inline(always)]
fn spdk_io(io: &BdevIo, first_sector: u64, block_shift: u32) -> Io {
    let sector = first_sector + io.lba;
    let sectors = u32::from(io.sectors);
    let whole = (sector | u64::from(sectors)) & ((1 << block_shift) - 1) == 0;
    let kind = match io.op {
        BdevOp::Flush => IoKind::Flush,
        BdevOp::Health(_) => IoKind::Health,
        // Its ranges are in the frame: `follow::unmap` reads them.
        BdevOp::Trim => IoKind::Unmap,
        BdevOp::Read if whole => IoKind::Read,
        BdevOp::Write if whole => IoKind::Write,
        BdevOp::Read => {
            return Io { kind: IoKind::ReadSectors, block: sector, blocks: sectors, payload: PAYLOAD };
        }
        BdevOp::Write => {
            return Io { kind: IoKind::WriteSectors, block: sector, blocks: sectors, payload: PAYLOAD };
        }
    };
    Io { kind, block: sector >> block_shift, blocks: sectors >> block_shift, payload: PAYLOAD }
}

#[cfg(test)]
mod tests {
    use aoe_target::BdevOp::{Flush, Read, Write};

    use super::*;

    #[test]
    fn fua_is_for_whole_blocks_in_one_piece() {
        let io = |kind| Io { kind, block: 3, blocks: 2, payload: PAYLOAD };
        assert_eq!(forced(io(IoKind::Write), 1), (io(IoKind::WriteFua), Step::Reply));
        assert_eq!(forced(io(IoKind::Write), 2), (io(IoKind::Write), Step::Flush));
        assert_eq!(forced(io(IoKind::WriteSectors), 1), (io(IoKind::WriteSectors), Step::Flush));
    }

    #[test]
    fn whole_blocks_go_straight_to_the_bdev() {
        let width = aoe_target::AddressWidth::Lba48;
        for (op, lba, sectors, first_sector, block_shift, kind, block, blocks) in [
            (Read, 7, 3, 0, 0, IoKind::Read, 7, 3),
            (Write, 7, 3, 5, 0, IoKind::Write, 12, 3),
            (Read, 8, 16, 0, 3, IoKind::Read, 1, 2),
            (Write, 8, 16, 8, 3, IoKind::Write, 2, 2),
            (Read, 8, 15, 0, 3, IoKind::ReadSectors, 8, 15),
            (Write, 7, 8, 0, 3, IoKind::WriteSectors, 7, 8),
            (Write, 8, 8, 1, 3, IoKind::WriteSectors, 9, 8),
            (Write, 7, 8, 1, 3, IoKind::Write, 1, 1),
            (Flush, 0, 0, 5, 3, IoKind::Flush, 0, 0),
        ] {
            let io = BdevIo { op, lba, sectors, width };
            let asked = spdk_io(&io, first_sector, block_shift);
            assert_eq!((asked.kind, asked.block, asked.blocks), (kind, block, blocks), "{io:?}");
        }
    }
}
