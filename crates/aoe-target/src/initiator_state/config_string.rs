//! The config string: 0 to 1024 bytes by which initiators mark a target as theirs.

use std::fmt;

use aoe_wire::MAX_CONFIG_STRING;

/// The config string: 0 to 1024 bytes of any value.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigString {
    bytes: [u8; MAX_CONFIG_STRING],
    len: u16,
}

/// A config string of more than 1024 bytes; carries its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigStringTooLong(pub usize);

impl fmt::Display for ConfigStringTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config string of {} bytes: at most {MAX_CONFIG_STRING} are allowed", self.0)
    }
}

impl std::error::Error for ConfigStringTooLong {}

impl ConfigString {
    /// No bytes: what a target has until an initiator marks it.
    pub const EMPTY: Self = Self { bytes: [0; MAX_CONFIG_STRING], len: 0 };

    /// A copy of `string`.
    ///
    /// # Errors
    /// [`ConfigStringTooLong`] above 1024 bytes.
    pub fn new(string: &[u8]) -> Result<Self, ConfigStringTooLong> {
        let too_long = ConfigStringTooLong(string.len());
        let mut new = Self::EMPTY;
        new.bytes.get_mut(..string.len()).ok_or(too_long)?.copy_from_slice(string);
        new.len = u16::try_from(string.len()).map_err(|_| too_long)?;
        Ok(new)
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Their number, 0 to 1024.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// Whether the string is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for ConfigString {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for ConfigString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_string_holds_up_to_1024_bytes() {
        assert!(ConfigString::default().is_empty());
        let full = ConfigString::new(&[7; 1024]).unwrap();
        assert_eq!((full.len(), full.as_bytes()), (1024, &[7; 1024][..]));
        let refused = ConfigString::new(&[7; 1025]).unwrap_err();
        assert_eq!(refused.to_string(), "config string of 1025 bytes: at most 1024 are allowed");
        assert!(ConfigString::new(&vec![7; 70_000]).is_err());
        assert_eq!(format!("{:?}", ConfigString::new(b"a\"\n").unwrap()), r#""a\"\n""#);
    }
}
