//! The frames of requests and questions, and the tags of VLANs.

use aoe_initiator::{
    ShelfSlot,
    wire::{AtaRequest, ConfigCommand, Envelope, Mac, ata, command, config_frame, opcode, reserve_frame},
};
use aoe_target::MacAddr;
use ring_lab::frames;

use crate::{
    history::content,
    plan::{Asked, ExportPlan, InitiatorPlan, Op, Operation, Question},
};

/// The shelf of every export.
pub(crate) const SHELF: u16 = 1;
const CUSTOMER_TAG: [u8; 2] = [0x81, 0x00];
const DATA_SET_MANAGEMENT: u8 = 0x06;
const TRIM: u8 = 1;
const FORCE_SET: u8 = 2;
/// Of MAC mask requests.
const EDIT: u8 = 1;
const ADD: u8 = 1;
/// More initiators than any plan has.
pub(crate) const EVERYBODY: u32 = 0b1111;

/// An initiator's address.
pub(crate) fn mac(initiator: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, u8::try_from(initiator).unwrap_or(u8::MAX)]
}

/// An address that no initiator has, by which a request's change of initiator state is known.
pub(crate) fn mark(op: u32) -> [u8; 6] {
    let [a, b, c, d] = op.to_be_bytes();
    [2, 0xff, a, b, c, d]
}

/// The request whose [`mark`] this is.
pub(crate) fn request_of(mac: &MacAddr) -> Option<u32> {
    match mac.0 {
        [2, 0xff, op @ ..] => Some(u32::from_be_bytes(op)),
        _ => None,
    }
}

/// An export's address.
pub(crate) fn address(export: &ExportPlan) -> ShelfSlot {
    ShelfSlot { shelf: SHELF, slot: export.slot }
}

/// The initiators of a set.
pub(crate) fn members(holders: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |initiator| holders >> initiator & 1 == 1)
}

/// A request's frame, without a tag.
pub(crate) fn request(op: &Op, export: &ExportPlan, tag: u32) -> Vec<u8> {
    let envelope =
        Envelope { dst: Mac(frames::TARGET), src: Mac(mac(op.initiator)), address: address(export), tag };
    let count = u8::try_from(op.sectors).unwrap_or(u8::MAX);
    match op.operation {
        Operation::Read => AtaRequest::read(op.lba, count).frame(&envelope, &[]),
        Operation::Flush => AtaRequest { aflags: ata::AFLAG_LBA48, ..AtaRequest::bare(opcode::FLUSH_EXT) }
            .frame(&envelope, &[]),
        Operation::Write => {
            let sectors = (op.lba..op.lba + op.sectors).map(|lba| content(op.id, op.export, lba));
            AtaRequest::write(op.lba, count).frame(&envelope, &sectors.collect::<Vec<_>>().concat())
        }
        Operation::Trim { .. } => {
            let ranges = op.ranges().flat_map(|(first, sectors)| (sectors << 48 | first).to_le_bytes());
            let mut block: Vec<u8> = ranges.collect();
            block.resize(512, 0);
            let request = AtaRequest {
                aflags: ata::AFLAG_LBA48 | ata::AFLAG_WRITE,
                feature: TRIM,
                count: 1,
                opcode: DATA_SET_MANAGEMENT,
                lba: 0,
            };
            request.frame(&envelope, &block)
        }
        Operation::Reserve { holders } => {
            let own = (holders > 0).then(|| mark(op.id));
            let macs: Vec<Mac> = members(holders).map(mac).chain(own).map(Mac).collect();
            reserve_frame(&envelope, FORCE_SET, &macs)
        }
        Operation::Config => {
            let string = content(op.id, usize::from(export.slot), 0);
            config_frame(&envelope, ConfigCommand::ForceSet, &string)
        }
        Operation::Mask => {
            let added = members(EVERYBODY).map(mac).chain([mark(op.id)]);
            let directives: Vec<u8> = added.flat_map(|mac| [&[0, ADD][..], &mac].concat()).collect();
            let count = u8::try_from(directives.len() / 8).unwrap_or(u8::MAX);
            envelope.frame(command::MASK, &[&[0, EDIT, 0, count][..], &directives].concat())
        }
    }
}

/// A question's frame, without a tag.
pub(crate) fn question(asked: &Asked, exports: &[ExportPlan], tag: u32) -> Vec<u8> {
    let to = |address| Envelope { dst: Mac(frames::TARGET), src: Mac(mac(asked.initiator)), address, tag };
    let every_slot = ShelfSlot { shelf: SHELF, ..ShelfSlot::ANY };
    match asked.question {
        Question::Config { every_shelf } => {
            let address = if every_shelf { ShelfSlot::ANY } else { every_slot };
            config_frame(&to(address), ConfigCommand::Read, &[])
        }
        Question::Identify => AtaRequest::identify().frame(&to(ShelfSlot::ANY), &[]),
        Question::Write => AtaRequest::write(0, 1).frame(&to(every_slot), &[0xee; 512]),
        Question::Elsewhere { export } => AtaRequest::read(0, 1).frame(&to(address(&exports[export])), &[]),
    }
}

/// The tag with which an initiator sends to a VLAN, or outside of any.
pub(crate) fn tci(initiator: &InitiatorPlan, vlan: Option<u16>) -> Option<u16> {
    let priority = initiator.priority.map(u16::from);
    match (vlan, priority) {
        (None, None) => None,
        (vlan, priority) => Some(priority.unwrap_or(0) << 13 | vlan.unwrap_or(0)),
    }
}

/// The frame with a tag.
pub(crate) fn tagged(frame: Vec<u8>, tci: Option<u16>) -> Vec<u8> {
    match tci {
        None => frame,
        Some(tci) => [&frame[..12], &CUSTOMER_TAG, &tci.to_be_bytes(), &frame[12..]].concat(),
    }
}

/// The frame without its tag, and the tag.
pub(crate) fn untagged(frame: Vec<u8>) -> (Vec<u8>, Option<u16>) {
    if frame.get(12..14) != Some(&CUSTOMER_TAG) || frame.len() < 16 {
        return (frame, None);
    }
    let tci = u16::from_be_bytes([frame[14], frame[15]]);
    ([&frame[..12], &frame[16..]].concat(), Some(tci))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_put_on_and_taken_off() {
        let frame: Vec<u8> = (0..60).collect();
        assert_eq!(untagged(tagged(frame.clone(), Some(0x6064))), (frame.clone(), Some(0x6064)));
        assert_eq!(untagged(tagged(frame.clone(), None)), (frame, None));
    }
}
