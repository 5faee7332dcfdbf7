//! receive: what the CPU is asked for before a frame's turn comes, so that the waits for memory overlap with each other
//! and with work. What is foreseen decides nothing: it is read from frames that nobody has judged.

use aoe_target::Request;
use dpdk::{BURST, Mbuf, prefetch, prefetch_at};

use crate::Lcore;

/// Exports whose state stays in a core's own cache from one request to the next.
const FEW_EXPORTS: usize = 64;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Lines of a sector's data.
const SECTOR: usize = 512 / LINE;

/// Where a request's data is, if its bdev has it in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    /// Of this process; the request may have named what it is not allowed to, and the bdev may go.
    place: *const u8,
    sectors: u8,
}

impl Data {
    /// Asks for the first KiB, which is as many lines as a core can wait for at once.
    #[inline(always)]
    fn ask(self) {
        self.ask_for(0, SECTOR, 1);
        self.ask_for(SECTOR, 2 * SECTOR, 2);
    }

    /// Asks for the second KiB, once the first is there. The others the copy itself brings along, one after the other.
    #[inline(always)]
    pub(crate) fn ask_for_more(self) {
        self.ask_for(2 * SECTOR, 4 * SECTOR, 4);
    }

    /// Asks for those lines of a request for at least so many sectors. Both are known to the compiler, so that this is no
    /// loop.
    #[inline(always)]
    fn ask_for(self, first: usize, end: usize, sectors: u8) {
        if self.sectors >= sectors {
            (first..end).for_each(|line| prefetch_at(self.place.wrapping_add(line * LINE)));
        }
    }
}

impl Lcore {
    /// Asks for all that a burst's requests will read of their exports, step by step for the whole burst, where there are
    /// many.
    #[inline(always)]
    pub(crate) fn foresee_exports(&self, frames: &[Mbuf]) {
        if self.table.len() > FEW_EXPORTS && is_for_several(frames) {
            self.foresee_each(frames);
        }
    }

    #[inline(never)]
    fn foresee_each(&self, frames: &[Mbuf]) {
        for frame in frames {
            if let Some(ahead) = Request::foresee(frame.data()) {
                prefetch(self.table.first_step(ahead.address));
            }
        }
        let mut exports = [None; BURST];
        for (frame, export) in frames.iter().zip(&mut exports) {
            let found =
                Request::foresee(frame.data()).and_then(|ahead| self.table.second_step(ahead.address));
            let Some((id, entry)) = found else { continue };
            prefetch(entry);
            let Some(backing) = self.backings.get(id.0 as usize) else { continue };
            prefetch(backing);
            *export = Some((id, backing));
        }
        for (id, backing) in exports.into_iter().flatten() {
            if let Some(export) = self.table.get(id) {
                prefetch(export);
            }
            if let Some(channel) = backing.as_ref().and_then(|backing| backing.channel.as_ref()) {
                channel.prefetch();
            }
        }
    }

    /// Finds the data that a request is about, and asks for the first of it: half of the time of a 4 KiB read from memory
    /// is the bdev's copy out of what is in no cache.
    #[inline(always)]
    pub(crate) fn foresee_data(&self, frame: Option<&Mbuf>) -> Option<Data> {
        let ahead = Request::foresee(frame?.data())?;
        let (id, _) = self.table.second_step(ahead.address)?;
        let export = self.table.get(id)?;
        let channel = self.backings.get(id.0 as usize)?.as_ref()?.channel.as_ref()?;
        let place = channel.data_place(export.first_sector.wrapping_add(ahead.lba))?;
        let data = Data { place, sectors: ahead.sectors };
        data.ask();
        Some(data)
    }
}

/// True if a burst has requests for different exports, as far as its ends tell. What one export's need is in the cache
/// after the first.
#[inline]
fn is_for_several(frames: &[Mbuf]) -> bool {
    let address = |frame: Option<&Mbuf>| Some(Request::foresee(frame?.data())?.address);
    address(frames.first()) != address(frames.last())
}
