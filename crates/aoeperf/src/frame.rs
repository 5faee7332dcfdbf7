//! A request in an mbuf, from a template of its path; and the first look at a reply.

use aoe_initiator::wire::{
    ATA_DATA_OFFSET, AtaRequest, Envelope, HEADER_LEN, MIN_FRAME, Mac, SECTOR, ShelfSlot, command,
};

/// Where the sender's address stands.
const SOURCE: usize = 6;
/// Where the tag stands.
const TAG: usize = 20;
/// Where the registers stand.
const REGISTERS: usize = HEADER_LEN;

/// Bytes 12 to 15 of a reply without an AoE error: EtherType, version 1 and R, error 0.
const REPLY: [u8; 4] = [0x88, 0xa2, 0x18, 0];

/// The headers of requests to one target over one path, ready but for what differs from request to request.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: [u8; ATA_DATA_OFFSET],
}

/// What differs from request to request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Tag, bit 31 clear.
    pub tag: u32,
    /// The sender's address.
    pub source: [u8; 6],
    /// A write, or a read.
    pub is_write: bool,
    /// First sector.
    pub lba: u64,
    /// Sectors.
    pub count: u8,
}

impl Request {
    /// Length of its frame: no shorter than Ethernet's shortest.
    #[inline]
    pub fn frame_len(&self) -> usize {
        if self.is_write { ATA_DATA_OFFSET + usize::from(self.count) * SECTOR } else { MIN_FRAME }
    }
}

impl Template {
    /// Headers of requests from any address to `address` at station `station`.
    pub fn new(address: ShelfSlot, station: Mac) -> Self {
        let mut bytes = [0; ATA_DATA_OFFSET];
        if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
            Envelope { dst: station, src: Mac([0; 6]), address, tag: 0 }.emit(command::ATA, header);
        }
        Self { bytes }
    }

    /// Writes the headers of `request` at the front of `frame`, which is [`Request::frame_len`] bytes long. The data
    /// of a write stays as it is; a read's padding is zeroed.
    ///
    /// # Panics
    /// If `frame` is shorter than headers are.
    #[inline]
    pub fn write(&self, request: &Request, frame: &mut [u8]) {
        let (head, rest) = frame.split_first_chunk_mut::<ATA_DATA_OFFSET>().expect("a frame of 60 or more");
        *head = self.bytes;
        head[SOURCE..SOURCE + 6].copy_from_slice(&request.source);
        head[TAG..TAG + 4].copy_from_slice(&request.tag.to_be_bytes());
        let ata = if request.is_write {
            AtaRequest::write(request.lba, request.count)
        } else {
            if let Some(padding) = rest.first_chunk_mut::<{ MIN_FRAME - ATA_DATA_OFFSET }>() {
                *padding = [0; MIN_FRAME - ATA_DATA_OFFSET];
            }
            AtaRequest::read(request.lba, request.count)
        };
        if let Some(registers) = head[REGISTERS..].first_chunk_mut() {
            ata.emit(registers);
        }
    }
}

/// The headers of an ATA reply without an AoE error.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a>(&'a [u8; ATA_DATA_OFFSET]);

impl<'a> Head<'a> {
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

    /// Who it is for.
    #[inline]
    pub fn destination(self) -> [u8; 6] {
        [self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5]]
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

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn written(request: &Request) -> Vec<u8> {
        let mut frame = vec![0xa5; request.frame_len()];
        Template::new(ShelfSlot::new(0x1234, 5), TO).write(request, &mut frame);
        frame
    }

    #[test]
    fn a_frame_is_what_the_codec_would_write() {
        let source = [6, 0, 0, 1, 2, 3];
        let envelope =
            Envelope { dst: TO, src: Mac(source), address: ShelfSlot::new(0x1234, 5), tag: 0x7654_3210 };
        let lba = 0x0000_a1b2_c3d4_e5f6;
        let mut read = AtaRequest::read(lba, 8).frame(&envelope, &[]);
        read.resize(MIN_FRAME, 0);
        assert_eq!(written(&Request { tag: 0x7654_3210, source, is_write: false, lba, count: 8 }), read);
        let write = AtaRequest::write(lba, 2).frame(&envelope, &[0xa5; 1024]);
        assert_eq!(written(&Request { tag: 0x7654_3210, source, is_write: true, lba, count: 2 }), write);
    }

    #[test]
    fn only_ata_replies_without_an_error_are_taken() {
        let mut frame =
            written(&Request { tag: 9, source: [6, 0, 0, 0, 0, 1], is_write: false, lba: 1, count: 1 });
        assert!(Head::of(&frame).is_none(), "a request");
        frame[14] |= 0x08;
        let head = Head::of(&frame).expect("a reply");
        assert_eq!((head.tag(), head.address(), head.destination()), (9, ShelfSlot::new(0x1234, 5), TO.0));
        for (at, value) in [(12, 0x08), (14, 0x1c), (14, 0x28), (15, 1), (19, 1)] {
            let mut other = frame.clone();
            other[at] = value;
            assert!(Head::of(&other).is_none(), "byte {at} {value:#x}");
        }
        assert!(Head::of(&frame[..35]).is_none(), "cut off");
    }
}
