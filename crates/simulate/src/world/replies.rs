//! What lcores send, and what reaches initiators of it.

use aoe_initiator::wire::{AtaReply, Body, Mac, Reply, ata, command};
use ring_lab::frames;

use super::{Transmission, World};
use crate::{
    frame::{self, address, mac},
    link::Carried,
    plan::{Op, Operation},
    questions,
};

/// The registers of a reply to an ATA command.
fn registers<'a>(reply: &Reply<'a>) -> Option<AtaReply<'a>> {
    match reply.body {
        Body::Ata(ata) => Some(ata),
        _ => None,
    }
}

/// Whether it says that the request was carried out.
fn is_success(reply: &Reply<'_>) -> bool {
    !reply.is_error() && registers(reply).is_none_or(|ata| !ata.failed())
}

impl World {
    /// Looks at what an lcore sent.
    pub(super) fn collect(&mut self, lcore: usize) -> Result<(), String> {
        while let Some(sent) = self.target.sent(lcore) {
            self.busy = true;
            self.summary.replies += 1;
            let (bytes, tci) = frame::untagged(sent);
            let reply = Reply::parse(&bytes).map_err(|error| format!("a reply is malformed: {error}"))?;
            let breaches = reply.breaches();
            if !breaches.is_empty() {
                return Err(format!("a reply breaks the protocol: {}", breaches.join("; ")));
            }
            let tag = reply.tag;
            let Some(transmission) = self.transmissions.get_mut(&tag) else {
                return Err(format!("a reply has tag {tag:08x}, which no request had"));
            };
            transmission.replies += 1;
            let transmission = *transmission;
            if (reply.dst, reply.src) != (Mac(mac(transmission.initiator)), Mac(frames::TARGET)) {
                return Err(format!("a reply to tag {tag:08x} has other addresses: {reply:?}"));
            }
            // A priority alone is no VLAN, and the reply has no tag.
            if tci != transmission.tci.filter(|tci| tci & 0x0fff != 0) {
                return Err(format!(
                    "a reply to tag {tag:08x} has VLAN tag {tci:?}, and its request {:?}",
                    transmission.tci
                ));
            }
            let slot = reply.address.slot;
            // A reply may be on its way to the lcore of its port when the owner of the export has nothing left in flight.
            if let Some(closed) = self.closed.get(&slot)
                && (!closed.forced && !self.plan.ports || transmission.first > closed.at)
            {
                return Err(format!("slot {slot} answers tag {tag:08x} after its deletion"));
            }
            if tag & questions::TAG != 0 {
                self.note(|| format!("lcore {lcore} answers tag {tag:08x} for slot {slot}"));
                self.questions.answered(tag, slot)?;
                continue;
            }
            self.collect_reply(lcore, &transmission, &reply)?;
            let Transmission { op, initiator, .. } = transmission;
            let copies = self
                .link
                .send(self.now(), Carried { initiator, to_target: false, op, tag, bytes, is_cut: false });
            if copies == 0
                && let Some(request) = self.initiators.outstanding(op)
            {
                request.inside = request.inside.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Looks at a reply to a request.
    fn collect_reply(&mut self, lcore: usize, sent: &Transmission, reply: &Reply<'_>) -> Result<(), String> {
        let Transmission { op, initiator, arrived, replies, .. } = *sent;
        let tag = reply.tag;
        if replies > arrived {
            return Err(format!("{replies} replies to {arrived} copies of tag {tag:08x} of request {op}"));
        }
        let op = self.ops[&op];
        let command = match op.operation {
            Operation::Reserve { .. } => command::RESERVE,
            Operation::Config => command::CONFIG,
            Operation::Mask => command::MASK,
            _ => command::ATA,
        };
        if (reply.address, reply.command) != (address(&self.plan.exports[op.export]), command) {
            return Err(format!("a reply to request {} is another's: {reply:?}", op.id));
        }
        self.note(|| format!("lcore {lcore} replies to tag {tag:08x} of request {}", op.id));
        let at = self.moment();
        if is_success(reply) {
            self.rules.answered(op.id, at);
            if matches!(op.operation, Operation::Read | Operation::Write | Operation::Trim { .. })
                && let Some(change) = self.rules.forbidding(op.export, initiator)
            {
                return Err(format!(
                    "request {} is answered with success, and reservation {change} keeps its initiator off",
                    op.id
                ));
            }
        }
        let fault = registers(reply).is_some_and(|ata| ata.status & ata::DF != 0);
        self.waits.answered(&op, fault, self.now())
    }

    /// A reply arrives at its initiator.
    pub(super) fn accept(&mut self, frame: &Carried) -> Result<(), String> {
        let Some(request) = self.initiators.outstanding(frame.op) else { return Ok(()) };
        request.inside = request.inside.saturating_sub(1);
        if request.newest != frame.tag {
            return Ok(());
        }
        let op: Op = request.op;
        let reply = Reply::parse(&frame.bytes).map_err(|error| error.to_string())?;
        let failed = !is_success(&reply);
        // Requests that wait for each other can be past a short deadline together.
        let has_time = self.plan.exports[op.export].io_timeout >= 60;
        if failed && has_time && self.is_healthy(op.export) {
            return Err(format!(
                "request {} to export {}, which has no fault, failed: {reply:?}",
                op.id, op.export
            ));
        }
        let data = registers(&reply).map_or(&[][..], |ata| ata.data);
        let asked = usize::try_from(op.sectors).unwrap_or(0) * 512;
        if !failed && op.operation == Operation::Read && data.len() < asked {
            return Err(format!("read {} got {} bytes", op.id, data.len()));
        }
        let at = self.moment();
        self.note(|| format!("request {} is over{}", op.id, if failed { ", with an error" } else { "" }));
        self.initiators.remove(op.id);
        self.history.ended(&op, at, !failed, data)?;
        let slot = self.plan.exports[op.export].slot;
        self.registers.ended(&op, slot, at, !failed)?;
        self.forget(op.id);
        Ok(())
    }
}
