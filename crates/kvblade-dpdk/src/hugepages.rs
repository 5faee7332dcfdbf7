//! `--hugepages`: the treatment of missing hugepages of 2 MiB.

use control::error::Quoted;

use crate::export_spec::parse_size;

/// Size of a hugepage, in bytes.
pub(crate) const PAGE: u64 = 2 << 20;

/// `--hugepages`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Hugepages {
    /// The operator reserves missing hugepages.
    #[default]
    None,
    /// The memory that this configuration needs must be free.
    Auto,
    /// So many bytes must be free.
    Size(u64),
}

impl Hugepages {
    /// Parses the option's value.
    ///
    /// # Errors
    /// The allowed values.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "auto" => Ok(Self::Auto),
            _ => parse_size(text).ok().filter(|bytes| *bytes >= PAGE).map(Self::Size).ok_or_else(|| {
                format!(
                    "{} is not allowed: it is none, auto, or how much memory in hugepages is to be free, at least 2M, such \
                     as 1G",
                    Quoted(text)
                )
            }),
        }
    }
}
