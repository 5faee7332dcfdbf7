//! Step three, admission, of features that only some disks have: TRIM, SMART and the write cache.

use ata::{AddressWidth, Lba, Ranges, Registers, SectorCount, Smart};

use super::Disposition;
use crate::export::Export;
use crate::io::{BdevIo, BdevOp, PAYLOAD_OFFSET};
use crate::ports::PortLimits;
use crate::reply::Reply;

/// An ATA answer without data.
const fn answer(registers: Registers) -> Disposition {
    Disposition::Reply(Reply::registers(registers))
}

impl Export {
    /// TRIM is submitted only if all its ranges lie within the disk; without a range it succeeds at once.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_trim(
        &self,
        blocks: u16,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        if blocks > u16::from(self.features_on(limits).trim_blocks) {
            return answer(Registers::ABORTED);
        }
        let sectors = SectorCount(blocks);
        let io = BdevIo { op: BdevOp::Trim, lba: Lba(0), sectors, width: AddressWidth::Lba48 };
        let end = PAYLOAD_OFFSET + io.data_len();
        // Bytes behind the frame in its buffer do not count.
        let payload = frame_head.get(PAYLOAD_OFFSET..end).filter(|_| end <= frame_len);
        let Some(payload) = payload else { return answer(Registers::ABORTED) };
        let ranges = Ranges::new(payload);
        match ranges.next_from(0) {
            None => answer(Registers::SUCCESS),
            Some(_) if ranges.within(self.sectors()) => Disposition::Submit(io),
            Some(_) => answer(Registers::NOT_FOUND),
        }
    }

    /// Enabling an enabled feature succeeds; changing it is deferred. While SMART is off, every other subcommand aborts.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_smart(&self, smart: Smart) -> Disposition {
        // The drive fills a page for each of them.
        let width = AddressWidth::Lba28;
        let submit = |op| Disposition::Submit(BdevIo { op, lba: Lba(0), sectors: SectorCount(1), width });
        match smart {
            _ if !self.has_smart() => answer(Registers::ABORTED),
            Smart::Enable if self.initiator_state().smart => answer(Registers::SUCCESS),
            Smart::Enable => Disposition::Defer,
            _ if !self.initiator_state().smart => answer(Registers::ABORTED),
            Smart::Disable => Disposition::Defer,
            Smart::ReadData => submit(BdevOp::SmartData),
            Smart::ReadThresholds => submit(BdevOp::SmartThresholds),
            Smart::ReturnStatus => submit(BdevOp::SmartStatus),
        }
    }

    /// Setting the cache to its present state succeeds; changing it is deferred. A disk without a volatile cache aborts
    /// both.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_write_cache(&self, on: bool) -> Disposition {
        match self.write_cache() {
            None => answer(Registers::ABORTED),
            Some(is) if is == on => answer(Registers::SUCCESS),
            Some(_) => Disposition::Defer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aoe_wire::{Shelf, ShelfSlot, Slot};
    use ata::Identity;

    use super::*;
    use crate::export::ExportId;
    use crate::initiator_state::InitiatorState;
    use crate::ports::Ports;

    const SECTORS: u64 = 1000;

    fn export() -> Export {
        let identity = Identity::new("s", "m", "f").unwrap();
        let mut export =
            Export::new(ExportId(0), ShelfSlot::new(Shelf(1), Slot(1)), Ports::All, SECTORS, identity);
        export.configure(|settings| settings.features.trim_blocks = 1);
        export.configure(|settings| settings.features.smart = Some(true));
        export
    }

    fn limits() -> PortLimits {
        PortLimits::for_mtu(1500).unwrap()
    }

    /// A frame whose payload holds these ranges (LBA, sectors) and ends with the last of its blocks.
    fn trim(blocks: u16, ranges: &[(u64, u16)]) -> Vec<u8> {
        let mut frame = vec![0; PAYLOAD_OFFSET + usize::from(blocks) * 512];
        for (room, (lba, sectors)) in frame[PAYLOAD_OFFSET..].chunks_exact_mut(8).zip(ranges) {
            room.copy_from_slice(&(u64::from(*sectors) << 48 | lba).to_le_bytes());
        }
        frame
    }

    fn admitted(export: &Export, blocks: u16, frame: &[u8]) -> Disposition {
        export.admit_trim(blocks, frame, frame.len(), limits())
    }

    fn submitted(disposition: Disposition) -> bool {
        matches!(disposition, Disposition::Submit(_))
    }

    #[test]
    fn trim_is_done_when_all_of_it_lies_within_the_disk() {
        let export = export();
        assert!(submitted(admitted(&export, 1, &trim(1, &[(0, 8), (999, 1)]))));
        assert!(submitted(admitted(&export, 2, &trim(2, &[(0, 0), (0, 1000)]))));
        for last in [(999, 2), (1000, 1), ((1 << 48) - 1, 0xffff)] {
            let frame = trim(1, &[(0, 8), last]);
            assert_eq!(admitted(&export, 1, &frame), answer(Registers::NOT_FOUND), "{last:?}");
        }
    }

    #[test]
    fn trim_without_ranges_is_done_at_once() {
        assert_eq!(admitted(&export(), 1, &trim(1, &[(5000, 0)])), answer(Registers::SUCCESS));
    }

    #[test]
    fn trim_is_aborted_where_it_is_short_long_or_not_offered() {
        let aborted = answer(Registers::ABORTED);
        let frame = trim(2, &[(0, 8)]);
        let mut export = export();
        assert_eq!(export.admit_trim(2, &frame, frame.len() - 1, limits()), aborted, "short");
        assert_eq!(export.admit_trim(2, &frame[..600], frame.len(), limits()), aborted, "in pieces");
        assert_eq!(admitted(&export, 3, &trim(3, &[(0, 8)])), aborted, "more than the port's frames carry");
        export.configure(|settings| settings.read_only = true);
        assert_eq!(admitted(&export, 1, &frame), aborted, "read-only");
        assert_eq!(export.features_on(limits()).trim_blocks, 0);
        export.configure(|settings| settings.read_only = false);
        assert_eq!(export.features_on(limits()).trim_blocks, 2);
        export.configure(|settings| settings.features.trim_blocks = 0);
        assert_eq!(admitted(&export, 1, &frame), aborted, "the bdev does not unmap");
    }

    #[test]
    fn smart_asks_the_drive_or_is_aborted() {
        let mut export = export();
        let asking = [Smart::ReadData, Smart::ReadThresholds, Smart::ReturnStatus];
        assert_eq!(export.admit_smart(Smart::Enable), answer(Registers::SUCCESS));
        for smart in asking {
            assert!(submitted(export.admit_smart(smart)));
        }
        export.configure(|settings| settings.features.smart = None);
        for smart in asking.into_iter().chain([Smart::Enable, Smart::Disable]) {
            assert_eq!(export.admit_smart(smart), answer(Registers::ABORTED));
        }
    }

    #[test]
    fn smart_that_is_off_is_only_turned_on() {
        let mut export = export();
        assert_eq!(export.features_on(limits()).smart, Some(true), "IDENTIFY says it");
        assert_eq!(export.admit_smart(Smart::Disable), Disposition::Defer);
        export = export
            .with_initiator_state(Arc::new(InitiatorState { smart: false, ..InitiatorState::default() }));
        assert_eq!(export.features_on(limits()).smart, Some(false), "IDENTIFY says it");
        assert_eq!(export.admit_smart(Smart::Enable), Disposition::Defer);
        for smart in [Smart::ReadData, Smart::ReadThresholds, Smart::ReturnStatus, Smart::Disable] {
            assert_eq!(export.admit_smart(smart), answer(Registers::ABORTED));
        }
    }

    #[test]
    fn a_change_of_the_write_cache_is_for_who_keeps_it() {
        let mut export = export();
        for asked in [true, false] {
            assert_eq!(export.admit_write_cache(asked), answer(Registers::ABORTED), "no cache");
        }
        export.configure(|settings| settings.features.write_cache = Some(true));
        for is in [true, false] {
            export = export.with_initiator_state(Arc::new(InitiatorState {
                write_cache: is,
                ..InitiatorState::default()
            }));
            assert_eq!(export.features_on(limits()).write_cache, Some(is), "IDENTIFY says it");
            assert_eq!(export.admit_write_cache(is), answer(Registers::SUCCESS));
            assert_eq!(export.admit_write_cache(!is), Disposition::Defer);
            assert_eq!(export.syncs_writes(), !is);
        }
    }

    #[test]
    fn a_write_through_disk_has_no_cache_whatever_is_kept_of_it() {
        let mut export = export();
        export.configure(|settings| settings.write_through = true);
        for (there, kept) in [(None, true), (None, false), (Some(true), true), (Some(true), false)] {
            export.configure(|settings| settings.features.write_cache = there);
            export = export.with_initiator_state(Arc::new(InitiatorState {
                write_cache: kept,
                ..InitiatorState::default()
            }));
            assert_eq!(export.features_on(limits()).write_cache, None, "IDENTIFY says it");
            for asked in [true, false] {
                assert_eq!(export.admit_write_cache(asked), answer(Registers::ABORTED));
            }
            assert!(export.syncs_writes());
        }
    }
}
