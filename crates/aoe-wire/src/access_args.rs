//! The third step for commands 2, 3 and 4: the arguments by which initiators say whom a target listens to and
//! who may use its disk.
//!
//! Each view is laid over the bytes after the AoE header; what follows it (directives, addresses, keys) comes
//! back as the rest. Lists are read with [`Directive::list`] and [`mac_list`].
//!
//! Source: AoE specification, revision 11, sections 3.3 and 3.4; command 4 is AoE 1.2.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::MacAddr;
use crate::layout::{HEADER_LEN, MASK_LEN, RESERVE_LEN, TooShort};
use crate::open_enum::open_enum;

open_enum! {
    /// The sub-command of a MAC mask message, at offset 25.
    MaskCommand {
        /// Tell the list.
        Read = 0,
        /// Run the directives on the list, in order.
        Edit = 1,
    }
}

open_enum! {
    /// The operation of a directive, its second byte.
    DirectiveCommand {
        /// Nothing; every entry of an answer says this.
        None = 0,
        /// Add the address.
        Add = 1,
        /// Delete the address.
        Delete = 2,
    }
}

open_enum! {
    /// The reason for which an edit stopped, at offset 26 of the answer. Not an AoE error: flag E stays clear.
    MaskError {
        /// The edit did not stop.
        None = 0,
        /// No reason is given.
        Unspecified = 1,
        /// A directive has an unknown command.
        BadDirective = 2,
        /// The list has no room for a further address.
        ListFull = 3,
    }
}

open_enum! {
    /// The sub-command of a reserve/release message, at offset 24.
    ReserveCommand {
        /// Tell the list of the addresses that hold the target.
        Read = 0,
        /// Reserve for the addresses sent, if nobody else holds the target; release with none.
        Set = 1,
        /// As set, whoever holds it.
        ForceSet = 2,
    }
}

open_enum! {
    /// The sub-command of a keyed reserve/release message, at offset 24.
    KeyedCommand {
        /// Tell registrations and reservation.
        Status = 0,
        /// Register a key for a list of addresses.
        Register = 1,
        /// Reserve for a registered key.
        Set = 2,
        /// Take the reservation from one key to another.
        Replace = 3,
        /// Forget reservation and registrations.
        Reset = 4,
    }
}

/// A reservation key, 8 opaque bytes in the order of the wire.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Key(pub [u8; 8]);

impl Key {
    /// No key: what an answer tells when nobody holds a reservation.
    pub const NONE: Self = Self([0; 8]);

    /// The key that a reservation by command 3 appears under.
    pub const PLAIN: Self = Self([0xff; 8]);
}

/// Declares the two constructors of a view over the bytes after the AoE header.
macro_rules! views {
    ($name:ident) => {
        impl $name {
            /// Lays the view over `argument`, the bytes after the AoE header; the second half is what follows.
            ///
            /// # Errors
            /// [`TooShort`], counted in bytes of the whole frame.
            #[inline]
            pub fn view(argument: &[u8]) -> Result<(&Self, &[u8]), TooShort> {
                let have = HEADER_LEN + argument.len();
                Self::ref_from_prefix(argument)
                    .map_err(|_| TooShort { need: HEADER_LEN + size_of::<Self>(), have })
            }

            /// As `view`, for writing.
            ///
            /// # Errors
            /// [`TooShort`], counted in bytes of the whole frame.
            #[inline]
            pub fn view_mut(argument: &mut [u8]) -> Result<(&mut Self, &mut [u8]), TooShort> {
                let have = HEADER_LEN + argument.len();
                Self::mut_from_prefix(argument)
                    .map_err(|_| TooShort { need: HEADER_LEN + size_of::<Self>(), have })
            }
        }
    };
}

/// The 4 fixed argument bytes of a MAC mask message, offsets 24 to 27; directives follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MaskArgs {
    /// Offset 24, zero.
    pub reserved: u8,
    /// [`MaskCommand`], offset 25.
    pub command: u8,
    /// [`MaskError`], offset 26.
    pub error: u8,
    /// Directives that follow, or were completed, offset 27.
    pub count: u8,
}
views!(MaskArgs);

/// One directive of a MAC mask message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Directive {
    /// Zero.
    pub reserved: u8,
    /// [`DirectiveCommand`].
    pub command: u8,
    /// The address it is about.
    pub mac: MacAddr,
}

impl Directive {
    /// The first `count` directives of `bytes`; `None` when there are fewer.
    #[must_use]
    pub fn list(bytes: &[u8], count: u8) -> Option<&[Self]> {
        <[Self]>::ref_from_prefix_with_elems(bytes, usize::from(count)).ok().map(|(list, _)| list)
    }
}

/// The first `count` addresses of `bytes`; `None` when there are fewer.
#[must_use]
pub fn mac_list(bytes: &[u8], count: u8) -> Option<&[MacAddr]> {
    <[MacAddr]>::ref_from_prefix_with_elems(bytes, usize::from(count)).ok().map(|(list, _)| list)
}

/// The 2 fixed argument bytes of a reserve/release message, offsets 24 and 25; addresses follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReserveArgs {
    /// [`ReserveCommand`], offset 24.
    pub command: u8,
    /// Addresses that follow, offset 25.
    pub count: u8,
}
views!(ReserveArgs);

/// The fixed part of a keyed register (addresses follow) or set message, offsets 24 to 35.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyedArgs {
    /// [`KeyedCommand`], offset 24.
    pub command: u8,
    /// Addresses that follow (register), or the type of the reservation (set), offset 25.
    pub count_or_type: u8,
    /// Offset 26, zero.
    pub reserved: [u8; 2],
    /// Offset 28.
    pub key: Key,
}
views!(KeyedArgs);

/// The whole argument of a keyed replace message, offsets 24 to 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyedReplaceArgs {
    /// [`KeyedCommand::Replace`], offset 24.
    pub command: u8,
    /// Type of the new reservation, offset 25.
    pub reservation_type: u8,
    /// Bit 0: no pre-empt; offset 26.
    pub flags: u8,
    /// Offset 27, zero.
    pub reserved: u8,
    /// The key that holds the reservation, offset 28.
    pub target: Key,
    /// The key that is to hold it, offset 36.
    pub new: Key,
}
views!(KeyedReplaceArgs);

impl KeyedReplaceArgs {
    /// The flag that leaves the old holder registered.
    pub const NO_PREEMPT: u8 = 0x01;
}

/// The fixed part of an answer to any keyed message, offsets 24 to 43; the registered keys follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyedStatus {
    /// [`KeyedCommand`] that is answered, offset 24.
    pub command: u8,
    /// Type of the reservation, offset 25.
    pub reservation_type: u8,
    /// Keys that follow, offset 26.
    pub keys: U16,
    /// Offset 28, zero.
    pub reserved: [u8; 4],
    /// The number of changes of the registrations, offset 32.
    pub generation: U32,
    /// The key that holds the reservation, or [`Key::NONE`], offset 36.
    pub owner: Key,
}
views!(KeyedStatus);

const _: () = assert!(HEADER_LEN + size_of::<MaskArgs>() == MASK_LEN);
const _: () = assert!(HEADER_LEN + size_of::<ReserveArgs>() == RESERVE_LEN);
const _: () = assert!(size_of::<Directive>() == 8 && size_of::<KeyedStatus>() == 20);

/// The two strings of a test-and-replace (ccmd 5): `data`, the bytes after the fixed part of the config message,
/// holds the old string of `old_len` bytes, a 2-byte big-endian length, and the new string of that length.
/// `None` when `data` ends before that. No length is held to the limit of a config string here.
#[must_use]
pub fn test_and_replace(data: &[u8], old_len: usize) -> Option<(&[u8], &[u8])> {
    let (old, rest) = data.split_at_checked(old_len)?;
    let (new_len, rest) = U16::read_from_prefix(rest).ok()?;
    Some((old, rest.get(..usize::from(new_len.get()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_fields_lie_where_the_sheet_puts_them() {
        let bytes = [0, 1, 3, 2, 0, 1, 2, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0, 0, 0, 2, 9];
        let (args, rest) = MaskArgs::view(&bytes).unwrap();
        assert_eq!(MaskCommand::from(args.command), MaskCommand::Edit);
        assert_eq!((MaskError::from(args.error), args.count), (MaskError::ListFull, 2));
        let list = Directive::list(rest, args.count).unwrap();
        assert_eq!(DirectiveCommand::from(list[1].command), DirectiveCommand::Delete);
        assert_eq!(list[1].mac, MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(Directive::list(rest, 3), None);
        assert_eq!(MaskArgs::view(&bytes[..3]), Err(TooShort { need: 28, have: 27 }));
    }

    #[test]
    fn reserve_fields_lie_where_the_sheet_puts_them() {
        let bytes = [1, 1, 2, 0, 0, 0, 0, 1];
        let (args, rest) = ReserveArgs::view(&bytes).unwrap();
        assert_eq!(ReserveCommand::from(args.command), ReserveCommand::Set);
        assert_eq!(mac_list(rest, args.count), Some(&[MacAddr([2, 0, 0, 0, 0, 1])][..]));
        assert_eq!(mac_list(rest, 2), None);
        assert_eq!(ReserveArgs::view(&bytes[..1]), Err(TooShort { need: 26, have: 25 }));
    }

    #[test]
    fn keyed_fields_lie_where_the_sheet_puts_them() {
        let mut bytes = [0xa5; 21];
        let (status, rest) = KeyedStatus::view_mut(&mut bytes).unwrap();
        assert_eq!(rest, [0xa5]);
        *status = KeyedStatus {
            command: KeyedCommand::Set.into(),
            reservation_type: 5,
            keys: U16::new(0x0102),
            reserved: [0; 4],
            generation: U32::new(0x0304_0506),
            owner: Key([7; 8]),
        };
        assert_eq!(bytes[..12], [2, 5, 1, 2, 0, 0, 0, 0, 3, 4, 5, 6]);
        assert_eq!(bytes[12..], [7, 7, 7, 7, 7, 7, 7, 7, 0xa5]);
        let mut replace = [0; 20];
        replace[..4].copy_from_slice(&[3, 4, 1, 0]);
        replace[4..12].fill(1);
        replace[12..].fill(2);
        let (args, _) = KeyedReplaceArgs::view(&replace).unwrap();
        assert_eq!((args.reservation_type, args.flags), (4, KeyedReplaceArgs::NO_PREEMPT));
        assert_eq!((args.target, args.new), (Key([1; 8]), Key([2; 8])));
        let (args, rest) = KeyedArgs::view(&replace).unwrap();
        assert_eq!((args.key, rest.len()), (Key([1; 8]), 8));
    }

    #[test]
    fn test_and_replace_is_old_length_new() {
        let data = b"old\x00\x05fresh+";
        assert_eq!(test_and_replace(data, 3), Some((&b"old"[..], &b"fresh"[..])));
        assert_eq!(test_and_replace(&data[..9], 3), None);
        assert_eq!(test_and_replace(&data[..4], 3), None);
        assert_eq!(test_and_replace(data, 12), None);
        assert_eq!(test_and_replace(b"\0\0", 0), Some((&b""[..], &b""[..])));
    }
}
