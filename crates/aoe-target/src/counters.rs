//! Counters: one set per export and per port on each lcore; the reader sums them.

use ata::AtaCommand;

use crate::admit::{Disposition, Refusal};
use crate::drop_reason::DropReason;
use crate::io::{BdevIo, BdevOp, IoOutcome};
use crate::reply::Reply;
use crate::request::{Request, RequestKind};

/// Declares a struct of counters with its names, so that no dump can forget one.
macro_rules! counters {
    ( $(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident, )+ } ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        // In the order of declaration: the busiest counters come first, in one cache line.
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: u64, )+
        }

        impl $name {
            /// Name and value of every counter, in the order of declaration.
            #[must_use]
            pub fn fields(&self) -> [(&'static str, u64); [$( stringify!($field) ),+].len()] {
                [$( (stringify!($field), self.$field) ),+]
            }

            /// Adds the counts of another lcore.
            pub fn merge(&mut self, other: &Self) {
                $( self.$field += other.$field; )+
            }

            /// What was counted after `before`, an earlier state of these counters.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                Self { $( $field: self.$field.saturating_sub(before.$field), )+ }
            }
        }
    };
}

counters! {
    /// Requests to one export and their outcomes.
    ExportCounters {
        /// READ commands, failed ones included.
        reads,
        /// WRITE commands, failed ones included.
        writes,
        /// Bytes of successful reads.
        read_bytes,
        /// Bytes of successful writes.
        written_bytes,
        /// FLUSH CACHE commands, failed ones included.
        flushes,
        /// Flushes that followed a write or a TRIM, before it was answered.
        write_flushes,
        /// Writes that went to an NVMe drive with Force Unit Access, which needs no flush.
        fua_writes,
        /// IDENTIFY DEVICE commands.
        identifies,
        /// CHECK POWER MODE commands.
        power_checks,
        /// DATA SET MANAGEMENT commands with TRIM, failed ones included.
        trims,
        /// SMART commands, failed ones included.
        health_checks,
        /// SET FEATURES and power commands, failed ones included.
        settings,
        /// ATA commands that are not supported, or not with that count.
        unsupported,
        /// Query/config messages that were answered.
        configs,
        /// MAC mask messages.
        masks,
        /// Reserve/release messages, by address or by key.
        reserves,
        /// AoE commands that are not known.
        unknown_commands,
        /// Requests that waited for an earlier one on the same sectors.
        order_waits,
        /// Copies of requests in flight, which took no bdev I/O when the original's data were theirs.
        copies,
        /// Replies that reported a failed ATA command.
        ata_errors,
        /// Replies that carried an AoE error.
        aoe_errors,
        /// Requests dropped because too many were in flight.
        export_full,
        /// Requests that waited for a limit on the rate of the export or its initiator.
        rate_waits,
        /// Requests beyond such a limit that were dropped.
        rate_limited,
        /// Requests that the bdev did not answer in time, which were answered with a device fault.
        timeouts,
        /// Those that the bdev answered later, which initiators do not see.
        late_completions,
        /// Those that the bdev was asked to abort.
        aborts,
    }
}

counters! {
    /// Frames through one port.
    PortCounters {
        /// Frames received, dropped ones included.
        rx_frames,
        /// Frames handed to the port for sending.
        tx_frames,
        /// Bytes received, without FCS. Not beside the frames: the compiler would count both at once, for twice the price.
        rx_bytes,
        /// Bytes handed to the port, without FCS.
        tx_bytes,
        /// Of the frames sent, the unsolicited advertisements.
        advertisements,
    }
}

impl ExportCounters {
    /// Counts a read or write that is submitted.
    #[inline]
    pub fn submitted(&mut self, is_write: bool) {
        if is_write { self.writes += 1 } else { self.reads += 1 }
    }

    /// Counts a request and what was decided on it, where neither [`ExportCounters::submitted`] nor
    /// [`ExportCounters::refused`] does. A dropped one is not counted here but by its [`DropReason`].
    #[cold]
    pub fn admitted(&mut self, request: &Request, disposition: &Disposition) {
        if let Disposition::Drop(_) = disposition {
            return;
        }
        let counter = match request.kind {
            RequestKind::Ata(taskfile) => self.of_command(taskfile.decode()),
            RequestKind::Config { .. } => &mut self.configs,
            RequestKind::Mask { .. } => &mut self.masks,
            RequestKind::Reserve { .. } | RequestKind::Keyed { .. } => &mut self.reserves,
            RequestKind::Other(_) => &mut self.unknown_commands,
        };
        *counter += 1;
        if let Disposition::Reply(reply) = disposition {
            self.answered(reply);
        }
    }

    /// Counts a read or write that is not submitted. A dropped one is not counted here but by its
    /// [`DropReason`].
    pub fn refused(&mut self, is_write: bool, refusal: &Refusal) {
        match refusal {
            Refusal::Reply(reply) => {
                self.submitted(is_write);
                self.answered(reply);
            }
            Refusal::Drop(DropReason::ExportFull) => self.export_full += 1,
            Refusal::Drop(_) => {}
        }
    }

    fn of_command(&mut self, command: AtaCommand) -> &mut u64 {
        match command {
            AtaCommand::Read { .. } => &mut self.reads,
            AtaCommand::Write { .. } => &mut self.writes,
            AtaCommand::Flush => &mut self.flushes,
            AtaCommand::Identify => &mut self.identifies,
            AtaCommand::CheckPowerMode => &mut self.power_checks,
            AtaCommand::Trim { .. } => &mut self.trims,
            AtaCommand::Smart(_) => &mut self.health_checks,
            AtaCommand::PowerMode | AtaCommand::SetWriteCache(_) => &mut self.settings,
            AtaCommand::BadCount(..) | AtaCommand::Unsupported(_) => &mut self.unsupported,
        }
    }

    /// Counts the errors of a reply that was not made at once: the end of a
    /// [`Disposition::Defer`].
    #[inline]
    pub fn answered(&mut self, reply: &Reply) {
        self.ata_errors += u64::from(reply.is_ata_error());
        self.aoe_errors += u64::from(reply.aoe_error().is_some());
    }

    /// A number that grows with each read and write that has ended, and with each failure.
    #[must_use]
    pub fn completions(&self) -> u64 {
        // A request past its deadline is an error that no bdev reported.
        self.read_bytes + self.written_bytes + self.ata_errors - self.timeouts + self.late_completions
    }

    /// Counts a read or write that was carried out: [`ExportCounters::completed`] with nothing left to decide.
    #[inline(always)]
    pub fn transferred(&mut self, is_write: bool, io: &BdevIo) {
        let bytes = io.data_len() as u64;
        if is_write { self.written_bytes += bytes } else { self.read_bytes += bytes }
    }

    /// Counts the end of an I/O that was submitted.
    #[inline]
    pub fn completed(&mut self, io: &BdevIo, outcome: IoOutcome) {
        match (outcome, io.op) {
            (IoOutcome::Ok, BdevOp::Read) => self.transferred(false, io),
            (IoOutcome::Ok, BdevOp::Write) => self.transferred(true, io),
            (IoOutcome::Ok | IoOutcome::Failing, _) => {}
            _ => self.ata_errors += 1,
        }
    }
}
