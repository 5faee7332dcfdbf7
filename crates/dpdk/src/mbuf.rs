//! A frame, from the rx burst that brings it to the tx burst that takes its reply: one owned mbuf.
//!
//! An mbuf's type says what may be done with its bytes:
//!
//! | State | Type | Bytes |
//! | --- | --- | --- |
//! | received | [`RxMbuf`] | may be read: a PMD may have given another mbuf the same bytes |
//! | exclusive | [`Mbuf`] | may be read and written |
//! | in flight | none here: the crate that hands it to a device has it | the device's |
//! | to send | [`TxMbuf`] | complete, in one segment; the NIC's with the next flush |
//!
//! [`RxMbuf::into_exclusive`] and [`Mbuf::into_tx`] check what the next state promises.

use std::{
    fmt,
    marker::PhantomData,
    mem::{self, offset_of},
    ops::Deref,
    ptr::NonNull,
    slice,
};

use dpdk_sys::rte_mbuf;

/// Bytes before the frame in a fresh mbuf's buffer (RTE_PKTMBUF_HEADROOM).
#[expect(clippy::cast_possible_truncation, reason = "128, by DPDK's configuration")]
pub const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;

/// Flags of an mbuf whose bytes belong to another mbuf, or to somebody else (rte_mbuf_core.h).
const SHARED: u64 = dpdk_sys::RTE_MBUF_F_INDIRECT | dpdk_sys::RTE_MBUF_F_EXTERNAL;

/// Flag of a frame whose VLAN tag is not among its bytes but in `vlan_tci`. (RX_VLAN alone says that the tag stands
/// in the bytes too: rte_mbuf_core.h.)
const TAKEN: u64 = dpdk_sys::RTE_MBUF_F_RX_VLAN_STRIPPED as u64;

/// Flag of a frame that had two tags.
const TWO_TAKEN: u64 = dpdk_sys::RTE_MBUF_F_RX_QINQ_STRIPPED as u64;

/// All flags that speak of tags. They are among the low 32.
const TAGS: u64 =
    TAKEN | TWO_TAKEN | dpdk_sys::RTE_MBUF_F_RX_VLAN as u64 | dpdk_sys::RTE_MBUF_F_RX_QINQ as u64;

/// Bytes of a VLAN tag, which stands behind the two Ethernet addresses.
pub const VLAN_TAG: usize = TAG as usize;
const TAG: u16 = 4;

/// Bytes before the tag: the addresses.
const BEFORE_TAG: usize = 12;

/// EtherType of a VLAN tag (IEEE 802.1Q, customer tag).
const TPID: [u8; 2] = [0x81, 0x00];

/// Bits of a tag control information that name the VLAN; the others are priority and drop eligibility.
const VLAN_BITS: u16 = 0x0fff;

/// An mbuf chain that nobody else holds, and whose bytes no other mbuf shares. Dropping it returns it to its mempool.
///
/// The first segment's bytes are the frame's head, and for every PMD with rooms of a whole frame, all of it.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
    /// One lcore at a time, without sharing: moving is fine, borrowing from elsewhere is not.
    _not_sync: PhantomData<std::cell::Cell<()>>,
}

// SAFETY: an owned mbuf may be freed, read and written by any one thread; DPDK's mempools accept an mbuf back
// on every thread (rte_mempool.h).
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes an mbuf over.
    ///
    /// # Safety
    /// `raw` is a valid mbuf chain of a live mempool, and nothing else uses or frees it from now on; no other mbuf shares
    /// the bytes of its segments.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self { raw, _not_sync: PhantomData }
    }

    /// Gives the mbuf up to C code, which frees it or hands it back through [`Mbuf::from_raw`].
    #[inline]
    pub fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.raw;
        mem::forget(self);
        raw
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: self owns a valid mbuf, so nobody writes its header while self is borrowed; Head has
        // rte_mbuf's layout (asserted below).
        unsafe { self.raw.cast().as_ref() }
    }

    #[inline]
    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: as for `head`; self is borrowed mutably.
        unsafe { self.raw.cast().as_mut() }
    }

    /// Bytes of the whole frame, over all segments, without FCS.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.head().pkt_len as usize
    }

    /// Segments in the chain; 1 where the PMD puts a frame in one room.
    #[inline]
    pub fn segments(&self) -> u16 {
        self.head().nb_segs
    }

    /// The first segment's bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let length = usize::from(self.head().data_len);
        // SAFETY: data_off + data_len lie within the segment's buffer (rte_mbuf's own invariant, kept by
        // PMDs and by `resize`), whose bytes are mapped hugepage memory that the kernel or an earlier frame
        // initialised; self owns them.
        unsafe { slice::from_raw_parts(self.data_ptr(), length) }
    }

    /// The first segment's bytes, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let length = usize::from(self.head().data_len);
        // SAFETY: as for `data`; self is borrowed mutably, and no other mbuf shares its bytes (`from_raw`).
        unsafe { slice::from_raw_parts_mut(self.data_ptr(), length) }
    }

    #[inline]
    fn data_ptr(&self) -> *mut u8 {
        let offset = usize::from(self.head().data_off);
        // SAFETY: data_off lies within the segment's buffer: rte_mbuf's own invariant, which PMDs keep, and `take_tag` and
        // `put_tag`, which move it by a tag's length only if the buffer has it.
        unsafe { self.head().buf_addr.add(offset) }
    }

    /// Bytes that a frame in the first segment could have.
    #[inline]
    pub fn room(&self) -> usize {
        usize::from(self.head().buf_len).saturating_sub(usize::from(self.head().data_off))
    }

    /// Makes a single-segment frame `length` bytes long, keeping those it has; what is added holds whatever
    /// the room held before (nothing is zeroed), and must be written before the frame is sent.
    ///
    /// False, and nothing is changed, if there are several segments or no such room.
    #[inline]
    #[must_use]
    pub fn resize(&mut self, length: usize) -> bool {
        let Ok(length) = u16::try_from(length) else { return false };
        let head = self.head_mut();
        if head.nb_segs != 1 || u32::from(head.data_off) + u32::from(length) > u32::from(head.buf_len) {
            return false;
        }
        head.data_len = length;
        head.pkt_len = u32::from(length);
        true
    }

    /// Frees every segment but the first, which becomes `length` bytes long as in [`Mbuf::resize`]. False if there is no such
    /// room.
    #[inline]
    #[must_use]
    pub fn resize_to_one_segment(&mut self, length: usize) -> bool {
        if self.resize(length) {
            return true;
        }
        if self.segments() == 1 {
            return false;
        }
        self.truncate_to_first_segment();
        self.resize(length)
    }

    /// Frees every segment but the first, which then is the frame.
    #[cold]
    pub fn truncate_to_first_segment(&mut self) {
        let length = self.head().data_len;
        let head = self.head_mut();
        let tail = mem::replace(&mut head.next, std::ptr::null_mut());
        head.nb_segs = 1;
        head.pkt_len = u32::from(length);
        if !tail.is_null() {
            // SAFETY: the tail was this chain's and is no longer reachable from it; each segment is a valid
            // mbuf, which is all rte_pktmbuf_free asks of the chain it walks (it follows `next` only).
            unsafe { dpdk_sys::dpdk_shim_mbuf_free(tail) };
        }
    }

    /// Moves all bytes into the first segment, copying. False, and nothing is changed, if its room is too
    /// small. For small frames that a PMD split.
    #[must_use]
    pub fn linearize(&mut self) -> bool {
        // SAFETY: rte_pktmbuf_linearize (rte_mbuf.h) takes a valid chain; self owns one.
        unsafe { dpdk_sys::dpdk_shim_mbuf_linearize(self.raw.as_ptr()) == 0 }
    }

    /// True if a tag was taken out of the frame, by the port or by [`Mbuf::take_tag`].
    #[inline]
    pub fn is_tag_taken(&self) -> bool {
        self.head().ol_flags & (TAKEN | TWO_TAKEN) != 0
    }

    /// True if the port took two tags out of the frame.
    #[inline]
    pub fn are_two_tags_taken(&self) -> bool {
        self.head().ol_flags & TWO_TAKEN != 0
    }

    /// The VLAN of the tag that was taken out, 0 to 4095. A tag of VLAN 0 gives a priority and no VLAN; 0 is also
    /// the answer where there was no tag.
    #[inline]
    pub fn vlan(&self) -> u16 {
        if self.is_tag_taken() { self.head().vlan_tci & VLAN_BITS } else { 0 }
    }

    /// The control information of the tag that was taken out: priority and VLAN.
    #[inline]
    pub fn taken_tag(&self) -> Option<u16> {
        self.is_tag_taken().then(|| self.head().vlan_tci)
    }

    /// Takes the tag that stands behind the addresses, whatever its EtherType, out of the bytes and keeps it beside
    /// them. What follows the tag stays where it is in memory. False, and nothing is changed, if the first segment
    /// ends before the next EtherType does.
    #[must_use]
    pub fn take_tag(&mut self) -> bool {
        let data = self.data_mut();
        let Some(tag) = data.get(BEFORE_TAG..BEFORE_TAG + VLAN_TAG + TPID.len()) else { return false };
        let tci = u16::from_be_bytes([tag[2], tag[3]]);
        data.copy_within(..BEFORE_TAG, VLAN_TAG);
        let head = self.head_mut();
        // The segment has these bytes, as was just seen.
        head.data_off += TAG;
        head.data_len -= TAG;
        head.pkt_len -= u32::from(TAG);
        self.tag(tci);
        true
    }

    /// Has [`Mbuf::put_tag`] put a tag with this control information into the frame: a VLAN from 1 on in the lower
    /// 12 bits.
    pub fn tag(&mut self, tci: u16) {
        let head = self.head_mut();
        head.ol_flags = head.ol_flags & !TAGS | TAKEN;
        head.vlan_tci = tci;
    }

    /// Puts the tag that was taken out back into the bytes, with its priority, so that no port needs to know how to.
    /// Without a VLAN the frame stays untagged. False, and nothing is changed, if there is no room before the frame,
    /// or it is shorter than its addresses.
    #[cold]
    #[must_use]
    pub fn put_tag(&mut self) -> bool {
        if self.vlan() != 0 {
            let head = self.head_mut();
            let (Some(offset), Some(length)) =
                (head.data_off.checked_sub(TAG), head.data_len.checked_add(TAG))
            else {
                return false;
            };
            if usize::from(head.data_len) < BEFORE_TAG {
                return false;
            }
            let tci = head.vlan_tci;
            head.data_off = offset;
            head.data_len = length;
            head.pkt_len += u32::from(TAG);
            let data = self.data_mut();
            data.copy_within(VLAN_TAG..VLAN_TAG + BEFORE_TAG, 0);
            data[BEFORE_TAG..BEFORE_TAG + 2].copy_from_slice(&TPID);
            data[BEFORE_TAG + 2..BEFORE_TAG + 4].copy_from_slice(&tci.to_be_bytes());
        }
        self.head_mut().ol_flags &= !TAGS;
        true
    }

    /// The frame, ready to be sent: with the tag that was taken out back in its bytes.
    ///
    /// # Errors
    /// The frame, if it has several segments or there is no room for its tag.
    #[inline]
    pub fn into_tx(mut self) -> std::result::Result<TxMbuf, Self> {
        if self.segments() != 1 || self.is_tag_taken() && !self.put_tag() {
            return Err(self);
        }
        Ok(TxMbuf(self))
    }

    /// Makes this single-segment frame a copy of `source`, all segments of it, and its tag if one was taken
    /// out. False, and the frame is as long as it was, if there is no such room.
    #[must_use]
    pub fn copy_from(&mut self, source: &Mbuf) -> bool {
        let before = usize::from(self.head().data_len);
        if !self.resize(source.frame_len()) {
            return false;
        }
        let mut rest = self.data_mut();
        for (start, length) in source.segments_raw() {
            if length > rest.len() {
                break;
            }
            // SAFETY: a segment's bytes lie within its buffer (as in `data`). `source` owns them and is borrowed; self is another
            // mbuf, so they are not written meanwhile.
            let bytes = unsafe { slice::from_raw_parts(start, length) };
            let (place, after) = rest.split_at_mut(length);
            place.copy_from_slice(bytes);
            rest = after;
        }
        // A chain whose length is not the sum of its segments; PMDs do not make such.
        let whole = rest.is_empty();
        if !whole {
            let restored = self.resize(before);
            debug_assert!(restored, "the frame had this length before");
        } else {
            self.copy_tag_from(source);
        }
        whole
    }

    /// The first bytes of the frame; `None` if its first segment is shorter. Reads no others.
    #[must_use]
    pub fn first_bytes<const BYTES: usize>(&self) -> Option<[u8; BYTES]> {
        if usize::from(self.head().data_len) < BYTES {
            return None;
        }
        // SAFETY: the segment's bytes lie within its buffer (as in `data`), and there are so many. Self owns them.
        Some(unsafe { self.data_ptr().cast::<[u8; BYTES]>().read_unaligned() })
    }

    /// Makes this single-segment frame a copy of the first `bytes` bytes of `source`, and its tag if one was taken out. False
    /// if there is no such room, or if the first segment of `source` is shorter. Reads no other bytes of `source`.
    #[must_use]
    pub fn copy_head_from(&mut self, source: &Mbuf, bytes: usize) -> bool {
        if usize::from(source.head().data_len) < bytes || !self.resize(bytes) {
            return false;
        }
        // SAFETY: the segment's bytes lie within its buffer (as in `data`), and there are so many. `source` owns them and is
        // borrowed; self is another mbuf, so they are not written meanwhile.
        let head = unsafe { slice::from_raw_parts(source.data_ptr(), bytes) };
        self.data_mut().copy_from_slice(head);
        self.copy_tag_from(source);
        true
    }

    /// The tag of `source`, if one was taken out there.
    fn copy_tag_from(&mut self, source: &Mbuf) {
        if source.is_tag_taken() {
            let (flags, tci) = (source.head().ol_flags & TAGS, source.head().vlan_tci);
            let head = self.head_mut();
            head.ol_flags = head.ol_flags & !TAGS | flags;
            head.vlan_tci = tci;
        }
    }

    /// Appends another frame's segments as this one's further segments; gives it back if there are too
    /// many. For tests of segmented frames.
    pub fn chain(&mut self, tail: Mbuf) -> std::result::Result<(), Mbuf> {
        // SAFETY: rte_pktmbuf_chain (rte_mbuf.h) takes two valid chains; both are owned here. On success the first one owns
        // the tail, which is forgotten below.
        let refused = unsafe { dpdk_sys::dpdk_shim_mbuf_chain(self.raw.as_ptr(), tail.raw.as_ptr()) } != 0;
        if refused {
            return Err(tail);
        }
        mem::forget(tail);
        Ok(())
    }

    /// The address and size of the mbuf's private area, for the one crate that
    /// keeps a request's state there while a device works on the frame.
    #[inline]
    pub fn private_area(&self) -> (NonNull<u8>, usize) {
        // SAFETY: the private area follows the mbuf's header directly (rte_mbuf.h, rte_mbuf_to_priv), within
        // the same mempool element.
        let area = unsafe { self.raw.cast::<Head>().add(1) }.cast::<u8>();
        (area, usize::from(self.head().priv_size))
    }

    /// The chain's segments, each as address and length, for scatter-gather I/O.
    #[inline]
    pub fn segments_raw(&self) -> Segments<'_> {
        Segments { next: self.raw.as_ptr(), _frame: PhantomData }
    }
}

/// A received mbuf chain: owned, but a PMD may have given others the same bytes, so it derefs to a shared [`Mbuf`] only.
#[derive(Debug)]
#[repr(transparent)]
pub struct RxMbuf(Mbuf);

impl RxMbuf {
    /// Takes an mbuf over.
    ///
    /// # Safety
    /// `raw` is a valid mbuf chain of a live mempool, and nothing else uses or frees it from now on. Its bytes may be shared
    /// with mbufs that are read only.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(Mbuf { raw, _not_sync: PhantomData })
    }

    /// The mbuf, to write, if it is one segment whose bytes no other shares.
    ///
    /// # Errors
    /// The mbuf as it was.
    #[inline(always)]
    pub fn into_exclusive_segment(self) -> std::result::Result<Mbuf, Self> {
        let head = self.0.head();
        // Neighbours in the header, so one load and one comparison.
        let counts = u32::from(head.refcnt) | u32::from(head.nb_segs) << 16;
        if counts == 0x0001_0001 && head.ol_flags & SHARED == 0 { Ok(self.0) } else { Err(self) }
    }

    /// The mbuf, to write, if no other shares the bytes of any segment.
    ///
    /// # Errors
    /// The mbuf as it was.
    #[inline]
    pub fn into_exclusive(self) -> std::result::Result<Mbuf, Self> {
        let head = self.0.head();
        let exclusive = if head.nb_segs == 1 {
            head.refcnt == 1 && head.ol_flags & SHARED == 0
        } else {
            // SAFETY: the shim reads the headers of a valid chain, which self owns.
            unsafe { dpdk_sys::dpdk_shim_mbuf_exclusive(self.0.raw.as_ptr()) != 0 }
        };
        if exclusive { Ok(self.0) } else { Err(self) }
    }

    /// Gives the mbuf up to C code.
    #[inline]
    pub fn into_raw(self) -> NonNull<rte_mbuf> {
        self.0.into_raw()
    }

    /// Prefetches the frame's first cache line.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on the cache, whatever the address; SSE is part of x86-64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.0.data_ptr().cast());
        }
    }
}

impl From<Mbuf> for RxMbuf {
    fn from(mbuf: Mbuf) -> Self {
        Self(mbuf)
    }
}

impl Deref for RxMbuf {
    type Target = Mbuf;

    #[inline]
    fn deref(&self) -> &Mbuf {
        &self.0
    }
}

/// A complete frame in one segment, whose bytes no other mbuf shares: see [`Mbuf::into_tx`].
#[derive(Debug)]
#[repr(transparent)]
pub struct TxMbuf(Mbuf);

impl TxMbuf {
    /// Back from sending: to write again.
    #[inline]
    #[must_use]
    pub fn into_mbuf(self) -> Mbuf {
        self.0
    }
}

impl Deref for TxMbuf {
    type Target = Mbuf;

    #[inline]
    fn deref(&self) -> &Mbuf {
        &self.0
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: rte_pktmbuf_free (rte_mbuf.h) takes a valid chain; self owns it, and nothing uses it after this.
        unsafe { dpdk_sys::dpdk_shim_mbuf_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mbuf")
            .field("frame_len", &self.frame_len())
            .field("segments", &self.segments())
            .finish_non_exhaustive()
    }
}

/// See [`Mbuf::segments_raw`].
#[derive(Debug)]
pub struct Segments<'frame> {
    next: *mut rte_mbuf,
    _frame: PhantomData<&'frame Mbuf>,
}

impl Iterator for Segments<'_> {
    type Item = (*mut u8, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let segment = NonNull::new(self.next)?.cast::<Head>();
        // SAFETY: a segment of a chain that is borrowed for 'frame, so nobody writes its header; Head has rte_mbuf's
        // layout (asserted below).
        let head = unsafe { segment.as_ref() };
        self.next = head.next;
        Some((head.buf_addr.wrapping_add(usize::from(head.data_off)), usize::from(head.data_len)))
    }
}

/// The fields of rte_mbuf (rte_mbuf_core.h) that are read or written here, at their places.
#[repr(C, align(64))]
struct Head {
    buf_addr: *mut u8,
    _buf_iova: u64,
    data_off: u16,
    refcnt: u16,
    nb_segs: u16,
    _port: u16,
    ol_flags: u64,
    _packet_type: u32,
    pkt_len: u32,
    data_len: u16,
    vlan_tci: u16,
    _hash: [u32; 2],
    _vlan_tci_outer: u16,
    buf_len: u16,
    _pool: *mut dpdk_sys::rte_mempool,
    next: *mut rte_mbuf,
    _tx_offload: u64,
    _shinfo: *mut u8,
    priv_size: u16,
    _timesync: u16,
    _dynfield1: [u32; 9],
}

const _: () = {
    // Rust's view of an mbuf array is C's: bursts hand over `*mut *mut rte_mbuf`.
    assert!(mem::size_of::<RxMbuf>() == mem::size_of::<*mut rte_mbuf>());
    assert!(mem::size_of::<TxMbuf>() == mem::size_of::<*mut rte_mbuf>());
    // Head lies over rte_mbuf, in the headers this was built with.
    assert!(mem::size_of::<Head>() == dpdk_sys::DPDK_SHIM_MBUF_SIZE as usize);
    assert!(offset_of!(Head, buf_addr) == dpdk_sys::DPDK_SHIM_MBUF_BUF_ADDR as usize);
    assert!(offset_of!(Head, data_off) == dpdk_sys::DPDK_SHIM_MBUF_DATA_OFF as usize);
    assert!(offset_of!(Head, refcnt) == dpdk_sys::DPDK_SHIM_MBUF_REFCNT as usize);
    assert!(offset_of!(Head, ol_flags) == dpdk_sys::DPDK_SHIM_MBUF_OL_FLAGS as usize);
    assert!(offset_of!(Head, nb_segs) == dpdk_sys::DPDK_SHIM_MBUF_NB_SEGS as usize);
    assert!(offset_of!(Head, pkt_len) == dpdk_sys::DPDK_SHIM_MBUF_PKT_LEN as usize);
    assert!(offset_of!(Head, data_len) == dpdk_sys::DPDK_SHIM_MBUF_DATA_LEN as usize);
    assert!(offset_of!(Head, vlan_tci) == dpdk_sys::DPDK_SHIM_MBUF_VLAN_TCI as usize);
    assert!(offset_of!(Head, buf_len) == dpdk_sys::DPDK_SHIM_MBUF_BUF_LEN as usize);
    assert!(offset_of!(Head, next) == dpdk_sys::DPDK_SHIM_MBUF_NEXT as usize);
    assert!(offset_of!(Head, priv_size) == dpdk_sys::DPDK_SHIM_MBUF_PRIV_SIZE as usize);
};
