//! Between rx and whatever reads next: asking the CPU for memory before it is needed.

/// Asks for the first cache line of `place`. Costs nothing where the line is there already.
#[inline]
pub fn prefetch<T: ?Sized>(place: &T) {
    prefetch_at(std::ptr::from_ref(place).cast());
}

/// Asks for the cache line at `address`, which need not be one of this process.
#[inline]
pub fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect but on the cache; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
