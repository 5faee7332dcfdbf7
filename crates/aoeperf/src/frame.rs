//! A request in an mbuf, written from a template of its path.

use aoe_initiator::wire::{
    ATA_DATA_OFFSET, AtaRequest, AtaRequestMut, Envelope, MIN_FRAME, Mac, SECTOR, ShelfSlot,
};

/// The headers of requests to one target over one path, complete but for the fields of [`Request`].
#[derive(Debug, Clone)]
pub struct Template {
    bytes: [u8; ATA_DATA_OFFSET],
}

/// The fields that differ from request to request.
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
    /// Length of the frame, padded to Ethernet's minimum.
    #[inline]
    pub fn frame_len(&self) -> usize {
        if self.is_write { ATA_DATA_OFFSET + usize::from(self.count) * SECTOR } else { MIN_FRAME }
    }
}

impl Template {
    /// Headers of requests from any address to `address` at the MAC address `target`.
    pub fn new(address: ShelfSlot, target: Mac) -> Self {
        let envelope = Envelope { dst: target, src: Mac([0; 6]), address, tag: 0 };
        Self { bytes: AtaRequestMut::template(&envelope) }
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
        let mut headers = AtaRequestMut::new(head);
        headers.set_src(Mac(request.source));
        headers.set_tag(request.tag);
        let ata = if request.is_write {
            AtaRequest::write(request.lba, request.count)
        } else {
            if let Some(padding) = rest.first_chunk_mut::<{ MIN_FRAME - ATA_DATA_OFFSET }>() {
                *padding = [0; MIN_FRAME - ATA_DATA_OFFSET];
            }
            AtaRequest::read(request.lba, request.count)
        };
        headers.set_request(&ata);
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
}
