//! `--payload-alignment`, and the alignments that a port can give to the data in its frames.

/// The value of `--payload-alignment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadAlignment {
    /// The alignment that the exports of the configuration require.
    Auto,
    /// An alignment in bytes, one of [`ALIGNMENTS`].
    Fixed(u16),
}

/// Possible alignments of the data in frames, in bytes: the one that head room and headers give, and those that files and
/// block devices require for O_DIRECT.
pub(crate) const ALIGNMENTS: [u16; 3] = [4, 512, 4096];
