//! The cold paths: expired timers, failures, and frames that answer no request.

use aoe_initiator::ShelfSlot;
use aoe_initiator::error::error_name;
use aoe_initiator::wire::{ATA_DATA_OFFSET, AtaReplyView, Body, Reply, ata, command};
use dpdk::RxMbuf;

use super::{Engine, TX_BACKLOG};
use crate::frame::Request;
use crate::slots::{Slot, State};

/// The wait for a reply doubles with each copy up to a second.
const LONGEST_DOUBLINGS: u32 = 16;

/// A request in words.
fn words(slot: &Slot) -> String {
    let name = if slot.state == State::Write { "write" } else { "read" };
    format!("{name} of {} sectors at LBA {}", slot.count, slot.lba)
}

impl Engine {
    /// A frame that is no ATA reply without an AoE error: advertisements and others' frames mean nothing here.
    #[cold]
    pub(super) fn odd(&mut self, frame: RxMbuf, now: u64) {
        let Ok(reply) = Reply::parse(frame.data()) else { return };
        if !reply.is_response() || matches!(reply.body, Body::Config(_)) && reply.command == command::CONFIG {
            return;
        }
        let ours = self.slots.outstanding(reply.tag).is_some_and(|(_, slot)| slot.source == reply.dst.0);
        if !reply.is_error() || reply.command != command::ATA || !ours {
            return self.unexpected(reply.address);
        }
        let code = reply.error;
        let Some((index, slot)) = self.slots.outstanding(reply.tag) else { return };
        let (request, target) = (words(slot), slot.target as usize);
        if self.targets[target].address != reply.address {
            return self.unexpected(reply.address);
        }
        let address = reply.address;
        self.complaints
            .add(address, || format!("{request} answered with AoE error {code} ({})", error_name(code)));
        self.over(index, now);
        self.restart(index, frame);
    }

    /// A reply that no request waited for: a second answer, or a stranger's.
    #[cold]
    pub(super) fn unexpected(&mut self, address: ShelfSlot) {
        match self.targets.binary_search_by_key(&address, |target| target.address) {
            Ok(index) => self.targets[index].unexpected += 1,
            Err(_) => self.unexpected_elsewhere += 1,
        }
    }

    /// An ATA failure, or a read's reply with too little data.
    #[cold]
    pub(super) fn failed(&mut self, index: u32, frame: RxMbuf, now: u64) {
        let slot = *self.slots.at(index);
        let address = self.targets[slot.target as usize].address;
        if let Some(head) = AtaReplyView::of(frame.data()) {
            self.complaints.add(address, || {
                if head.status() & ata::FAILURE != 0 {
                    let (status, error) = (head.status(), head.error());
                    format!("{} failed: ATA status {status:#04x}, error {error:#04x}", words(&slot))
                } else {
                    let bytes = frame.data().len().saturating_sub(ATA_DATA_OFFSET);
                    format!("{} answered with {bytes} bytes", words(&slot))
                }
            });
        }
        self.over(index, now);
        self.restart(index, frame);
    }

    /// Ends a request without success.
    fn over(&mut self, index: u32, now: u64) {
        let slot = self.slots.at(index);
        let is_write = slot.state == State::Write;
        slot.state = State::Idle;
        let target = &mut self.targets[slot.target as usize];
        target.errors += 1;
        self.paths[slot.path as usize].window.given_up();
        if let Some(disk) = &mut target.disk {
            disk.release(slot.lba / u64::from(self.sectors_per_io), is_write, now);
        }
        self.outstanding -= 1;
    }

    /// Ends every request that is outstanding, without success: nobody answers any more.
    pub fn give_up(&mut self) {
        let now = self.clock;
        for index in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            let slot = *self.slots.at(index);
            if slot.state != State::Idle {
                let address = self.targets[slot.target as usize].address;
                self.complaints.add(address, || {
                    format!("{} not answered at the end, {} copies sent", words(&slot), slot.copies)
                });
                self.over(index, now);
            }
        }
        self.idle.clear();
    }

    /// Sends again what has waited too long, and ends what has waited too often, among the next slots in turn.
    pub(super) fn look_at_timers(&mut self, now: u64) {
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        for _ in 0..self.scan {
            let index = self.scanned;
            self.scanned = if index + 1 < count { index + 1 } else { 0 };
            let slot = self.slots.at(index);
            if slot.state != State::Idle && now.saturating_sub(slot.sent) >= self.second / 10 {
                self.waited(index, now);
            }
        }
    }

    /// A request has waited longer than the shortest timeout.
    #[cold]
    fn waited(&mut self, index: u32, now: u64) {
        let slot = *self.slots.at(index);
        let path = &self.paths[slot.path as usize];
        let first = path.trip.timeout();
        let doubled = first.saturating_mul(1 << (slot.copies - 1).min(LONGEST_DOUBLINGS));
        if now.saturating_sub(slot.sent) < doubled.min(first.max(self.second)) {
            return;
        }
        if now.saturating_sub(slot.first_sent) >= self.dead {
            let address = self.targets[slot.target as usize].address;
            self.complaints
                .add(address, || format!("{} not answered, {} copies sent", words(&slot), slot.copies));
            self.over(index, now);
            self.idle.push_back(index);
            return;
        }
        if self.queues[path.queue].tx.waiting() < TX_BACKLOG && self.send_in_another_mbuf(index) {
            let slot = self.slots.at(index);
            slot.sent = now;
            slot.copies += 1;
            let path = &mut self.paths[slot.path as usize];
            path.window.timed_out();
            path.retransmits += 1;
            self.targets[slot.target as usize].retransmits += 1;
        }
    }

    /// Sends the frame of a slot's request in a fresh mbuf. False: there is none, and the timer will try again.
    #[cold]
    pub(super) fn send_in_another_mbuf(&mut self, index: u32) -> bool {
        let slot = self.slots.at(index);
        let path = &self.paths[slot.path as usize];
        let queue = &mut self.queues[path.queue];
        let target = &mut self.targets[slot.target as usize];
        let is_write = slot.state == State::Write;
        let request =
            Request { tag: slot.tag, source: slot.source, is_write, lba: slot.lba, count: slot.count };
        let Some(mut frame) = queue.mempool.alloc() else { return false };
        if !frame.resize(request.frame_len()) {
            return false;
        }
        let data = frame.data_mut();
        path.template.write(&request, data);
        if is_write && let Some(disk) = &mut target.disk {
            if slot.generation == 0 {
                slot.generation = disk.stamp(slot.lba, &mut data[ATA_DATA_OFFSET..]);
            } else {
                disk.stamp_again(slot.lba, slot.generation, &mut data[ATA_DATA_OFFSET..]);
            }
        }
        frame.into_tx().is_ok_and(|frame| queue.tx.push(frame).is_ok())
    }
}
