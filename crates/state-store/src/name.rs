//! The name of an export's file: `1.2`, or `1.2@PORT` (`1.2@PORT+PORT`) for one on ports of its own; `1.2.v100` and
//! `1.2.v100@PORT` in VLAN 100.

use std::fmt::Write;

/// Longest file name made here, in bytes; the suffix of a file that is set aside still fits the 255 of Linux.
const NAME_MAX: usize = 200;

/// The file name for the export written `address` (shelf and slot, as `1.2`) in this VLAN, `None` outside of any, on
/// these ports, by DPDK name; `None` for all ports. The order of the ports does not matter. Bytes of a port's
/// name that could be mistaken in a file name stand as `%` and two hex digits. A name that would be longer than
/// 200 bytes ends in a hash instead.
#[must_use]
pub fn of_export(address: &str, vlan: Option<u16>, ports: Option<&[&str]>) -> String {
    let mut name = address.to_owned();
    if let Some(vlan) = vlan {
        write!(name, "{VLAN}{vlan}").expect("a String takes any text");
    }
    let place = name.clone();
    let Some(ports) = ports else { return name };
    let mut ports: Vec<String> = ports.iter().map(|port| escaped(port)).collect();
    ports.sort();
    name.push('@');
    name.push_str(&ports.join("+"));
    if name.len() > NAME_MAX {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // An escaped port has no '#', so no export's plain name is equal to this one.
        name = format!("{place}@#{hash:016x}");
    }
    name
}

/// A dot is kept (PCI addresses have one) unless it could begin the suffix of a file that was set aside.
fn escaped(port: &str) -> String {
    let mut safe = String::new();
    for (at, byte) in port.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b':' | b'_' | b'-')
            || (byte == b'.' && !port.as_bytes()[at..].starts_with(SET_ASIDE.as_bytes()));
        if plain {
            safe.push(char::from(byte));
        } else {
            write!(safe, "%{byte:02x}").expect("a String takes any text");
        }
    }
    safe
}

/// The text between an export's slot and its VLAN.
const VLAN: &str = ".v";

/// The suffix of a file that was set aside; a number follows it.
pub(crate) const SET_ASIDE: &str = ".damaged-";

/// The export's name in that of a file that was set aside.
pub(crate) fn set_aside_from(file: &str) -> Option<&str> {
    let (name, number) = file.rsplit_once(SET_ASIDE)?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && is_export(name))
        .then_some(name)
}

/// True for names that [`of_export`] makes; everything else in the directory is left alone.
pub(crate) fn is_export(file: &str) -> bool {
    let address = file.split('@').next().unwrap_or_default();
    let number =
        |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (address, vlan) =
        address.split_once(VLAN).map_or((address, None), |(address, vlan)| (address, Some(vlan)));
    vlan.is_none_or(number)
        && address.split_once('.').is_some_and(|(shelf, slot)| number(shelf) && number(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_as_exports_are_written() {
        assert_eq!(of_export("1.2", None, None), "1.2");
        assert_eq!(of_export("1.2", None, Some(&["0000:03:00.0"])), "1.2@0000:03:00.0");
        assert_eq!(of_export("1.2", None, Some(&["b", "a"])), "1.2@a+b");
        assert_eq!(of_export("1.2", Some(100), None), "1.2.v100");
        assert_eq!(of_export("1.2", Some(4094), Some(&["a"])), "1.2.v4094@a");
        for name in ["1.2", "1.2.v100", "1.2.v4094@a", "65534.254@net_af_packet0", "1.2@a+b"] {
            assert!(is_export(name), "{name}");
            assert_eq!(set_aside_from(&format!("{name}.damaged-17")), Some(name));
        }
        for other in [
            "lock",
            ".1.2.new",
            "1.2.damaged-1",
            "1",
            "1.",
            "a.b",
            "123456.1",
            "1.2.v",
            "1.2.vx",
            "1.v2",
            "1.2.w3",
        ] {
            assert!(!is_export(other), "{other}");
        }
    }

    #[test]
    fn no_port_name_leads_out_of_the_directory_or_to_another_files_name() {
        assert_eq!(of_export("1.2", None, Some(&["../x"])), "1.2@..%2fx");
        assert_eq!(of_export("1.2", None, Some(&["a+b"])), "1.2@a%2bb");
        assert_eq!(of_export("1.2", None, Some(&["x.damaged-1"])), "1.2@x%2edamaged-1");
        assert_eq!(of_export("1.2", None, Some(&["\u{e9}"])), "1.2@%c3%a9");
        let many: Vec<String> = (0..64).map(|number| format!("net_af_packet{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (all, fewer) = (of_export("1.2", None, Some(&many)), of_export("1.2", None, Some(&many[1..])));
        assert!(all.len() < 40 && all != fewer && is_export(&all), "{all} {fewer}");
    }
}
