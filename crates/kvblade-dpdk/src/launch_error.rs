//! Why the program does not start, with its exit code.

use thiserror::Error;

/// Why the program does not start: one sentence, printed after `kvblade-dpdk: `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LaunchError {
    /// The command line cannot be right anywhere: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// This machine, a file or a configuration is not as it must be: exit code 1.
    #[error("{0}")]
    Environment(String),
}

impl LaunchError {
    /// A mistake in the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Something outside the command line that stands in the way.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self::Environment(message.into())
    }

    /// What the process exits with.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) => 1,
        }
    }
}
