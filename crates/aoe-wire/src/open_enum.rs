//! Code points from the wire: enums that keep a value they have no name for.

/// Declares an enum over `u8` with named codes and an `Unknown` variant, and the conversions both ways. Every
/// byte survives the round trip.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $code:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A code without a name here, kept as it came.
            Unknown(u8),
        }

        impl From<u8> for $name {
            #[inline]
            fn from(code: u8) -> Self {
                match code {
                    $( $code => Self::$variant, )+
                    other => Self::Unknown(other),
                }
            }
        }

        impl From<$name> for u8 {
            #[inline]
            fn from(value: $name) -> u8 {
                match value {
                    $( $name::$variant => $code, )+
                    $name::Unknown(other) => other,
                }
            }
        }
    };
}

pub(crate) use open_enum;
