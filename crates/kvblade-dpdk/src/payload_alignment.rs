//! `--payload-alignment`, and the alignments that a port can give to the data in its frames.

/// What `--payload-alignment` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadAlignment {
    /// What the exports of the start want.
    Auto,
    /// Bytes, one of [`ALIGNMENTS`].
    Fixed(u16),
}

/// Alignments of a frame's data that a port can have, in bytes: what head room and headers give, and what files and
/// block devices want for O_DIRECT.
pub(crate) const ALIGNMENTS: [u16; 3] = [4, 512, 4096];
