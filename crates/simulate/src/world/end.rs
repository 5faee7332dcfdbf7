//! The end of a run: what was in flight ends, every frame is accounted for, and nothing is left.

use datapath::Lcore;

use super::{Summary, World};

/// Ticks for what must end without a fault in its way.
const LAST_TICKS: u64 = 15_000;

impl World {
    /// Without faults from now on: everything in flight ends, every frame is accounted for.
    pub(super) fn finish_all(&mut self) -> Result<(), String> {
        (self.plan.stall, self.plan.events, self.plan.calls) = (0, Vec::new(), Vec::new());
        self.link.calm();
        for disk in &self.target.disks {
            disk.borrow_mut().calm();
        }
        self.until("requests are in flight", |world| world.is_quiet())?;
        self.check_frames()?;
        self.check_calls()?;
        self.control.check_states(&mut self.target.lcores)?;
        if let Some(degraded) = self.target.lcores.iter().flat_map(Lcore::degraded).next() {
            return Err(format!("every bdev has answered, and {degraded:?}"));
        }
        let at = self.moment();
        for (export, disk) in self.target.disks.iter().enumerate() {
            for lba in 0..crate::plan::SECTORS {
                self.history.is_left(export, lba, disk.borrow().content(lba), at)?;
            }
        }
        Ok(())
    }

    /// Deletes every export and stops every lcore.
    pub(super) fn end(mut self) -> Result<Summary, String> {
        self.until("exports have not ended", |world| {
            world.control.delete_all(world.now());
            world.control.left().is_empty() && world.is_quiet()
        })?;
        self.target.lcores.iter_mut().for_each(Lcore::stop);
        self.target.lcores.iter_mut().for_each(|lcore| _ = lcore.turn());
        if !self.target.lcores.iter().all(Lcore::is_idle) {
            return Err("an lcore is not idle after its stop".into());
        }
        drop(self.control);
        self.target.close()?;
        Ok(self.summary)
    }

    /// Ticks until this is so for a while: lcores look into their queues some more times after the last frame.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let limit = self.now() + LAST_TICKS;
        let mut quiet = 0;
        while quiet < 20 {
            self.tick()?;
            quiet = if is_so(self) { quiet + 1 } else { 0 };
            if self.now() > limit {
                let left = self.control.left();
                return Err(format!("{what} {LAST_TICKS} ticks after the last fault; exports: {left:?}"));
            }
            self.set_time(self.now() + 1);
        }
        Ok(())
    }

    /// Whether nothing is in flight or on its way.
    fn is_quiet(&self) -> bool {
        let at_bdevs = self.target.lcores.iter().any(|lcore| lcore.in_flight() > 0);
        let in_disks = self.target.disks.iter().any(|disk| disk.borrow().in_flight() > 0);
        let unpolled = self.unpolled.iter().any(|frames| !frames.is_empty());
        !(self.busy || at_bdevs || in_disks || unpolled)
            && self.link.next().is_none()
            && self.control.is_quiet()
    }

    /// Every frame was answered or dropped with a reason.
    fn check_frames(&mut self) -> Result<(), String> {
        let (mut received, mut sent, mut drops) = (0, 0, 0);
        for queue in self.target.snapshots().flat_map(|snapshot| snapshot.queues) {
            received += queue.counters.rx_frames;
            sent += queue.counters.tx_frames;
            drops += queue.drops.total();
        }
        self.summary.drops = drops;
        if (received, sent) != (self.summary.frames, self.summary.replies) {
            return Err(format!(
                "counted {received} frames received and {sent} sent; there were {} and {}",
                self.summary.frames, self.summary.replies
            ));
        }
        let (wildcards, answers) = self.questions.finish()?;
        if received - wildcards != sent - answers + drops {
            return Err(format!(
                "{received} frames were received, {sent} answered and {drops} dropped with a reason; {wildcards} of them \
                 were answered {answers} times"
            ));
        }
        Ok(())
    }
}
