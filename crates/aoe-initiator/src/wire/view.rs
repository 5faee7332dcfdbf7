//! ATA requests and replies as views over a frame's first 36 bytes, for a hot path that copies no value out.
//!
//! [`Reply::parse`](super::Reply::parse) reads any frame; these views serve a load tool, which writes millions of requests
//! from one template and looks at few fields of each reply.

use super::{
    ATA_DATA_OFFSET, AtaRequest, ETHERTYPE, Envelope, FLAG_RESPONSE, HEADER_LEN, Mac, ShelfSlot, VERSION_1,
    command,
};

const SRC: usize = 6;
const TAG: usize = 20;

/// Bytes 12 to 15 of a reply without an AoE error: EtherType, version 1 with the R flag, error 0.
const REPLY: [u8; 4] = {
    let [high, low] = ETHERTYPE.to_be_bytes();
    [high, low, VERSION_1 | FLAG_RESPONSE, 0]
};

/// The headers of an ATA request, to be changed in place.
#[derive(Debug)]
pub struct AtaRequestMut<'a>(&'a mut [u8; ATA_DATA_OFFSET]);

impl<'a> AtaRequestMut<'a> {
    /// A view over `bytes`, which [`AtaRequestMut::template`] or a copy of it has filled.
    #[inline]
    pub const fn new(bytes: &'a mut [u8; ATA_DATA_OFFSET]) -> Self {
        Self(bytes)
    }

    /// Headers with this envelope and zeroes for registers.
    pub fn template(envelope: &Envelope) -> [u8; ATA_DATA_OFFSET] {
        let mut bytes = [0; ATA_DATA_OFFSET];
        if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
            envelope.emit(command::ATA, header);
        }
        bytes
    }

    /// Sets the initiator's address.
    #[inline]
    pub fn set_src(&mut self, src: Mac) {
        self.0[SRC..SRC + 6].copy_from_slice(&src.0);
    }

    /// Sets the tag.
    #[inline]
    pub fn set_tag(&mut self, tag: u32) {
        self.0[TAG..TAG + 4].copy_from_slice(&tag.to_be_bytes());
    }

    /// Writes the registers.
    #[inline]
    pub fn set_request(&mut self, request: &AtaRequest) {
        if let Some(registers) = self.0[HEADER_LEN..].first_chunk_mut() {
            request.emit(registers);
        }
    }
}

/// The headers of an ATA reply without an AoE error.
#[derive(Debug, Clone, Copy)]
pub struct AtaReplyView<'a>(&'a [u8; ATA_DATA_OFFSET]);

impl<'a> AtaReplyView<'a> {
    /// The headers, or `None` for every other kind of frame.
    #[inline]
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        let head = frame.first_chunk::<ATA_DATA_OFFSET>()?;
        (head[12..16] == REPLY && head[19] == command::ATA).then_some(Self(head))
    }

    /// The request's tag.
    #[inline]
    pub fn tag(self) -> u32 {
        u32::from_be_bytes([self.0[20], self.0[21], self.0[22], self.0[23]])
    }

    /// The initiator that the reply is for.
    #[inline]
    pub fn dst(self) -> Mac {
        Mac([self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// The export that answers.
    #[inline]
    pub fn address(self) -> ShelfSlot {
        ShelfSlot { shelf: u16::from_be_bytes([self.0[16], self.0[17]]), slot: self.0[18] }
    }

    /// Status register.
    #[inline]
    pub fn status(self) -> u8 {
        self.0[27]
    }

    /// Error register.
    #[inline]
    pub fn error(self) -> u8 {
        self.0[25]
    }
}
