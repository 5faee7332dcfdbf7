//! The Linux interface behind a port, for PMDs that have one (af_packet, tap, af_xdp).

use std::ffi::CString;

use crate::{
    error::{Error, Result, check},
    text,
};

/// The state of a Linux network interface in this process's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index, which no later interface gets unless somebody asks for it.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Bytes of an Ethernet payload.
    pub mtu: u32,
    /// Set up by the administrator (IFF_UP).
    pub up: bool,
    /// Has a carrier (IFF_RUNNING).
    pub running: bool,
}

impl Interface {
    /// Reads the interface with this index.
    ///
    /// # Errors
    /// `ENXIO` or `ENODEV` if there is none.
    pub fn by_index(index: u32) -> Result<Self> {
        let mut interface = dpdk_sys::dpdk_shim_interface::default();
        // SAFETY: the shim takes any index and fills the struct.
        let code = unsafe { dpdk_sys::dpdk_shim_interface(index, &mut interface) };
        check("netdevice ioctl", code)?;
        Ok(Self {
            name: text::of_buffer(&interface.name),
            index: interface.index,
            mac: interface.mac,
            mtu: interface.mtu,
            up: interface.up,
            running: interface.running,
        })
    }

    /// Reads the interface of this name.
    ///
    /// # Errors
    /// As [`Interface::by_index`]'s.
    pub fn by_name(name: &str) -> Result<Self> {
        let none = Error { call: "if_nametoindex", errno: 19 };
        let name = CString::new(name).map_err(|_| none)?;
        // SAFETY: if_nametoindex (net/if.h) reads a NUL-terminated string.
        let index = unsafe { dpdk_sys::dpdk_shim_interface_index(name.as_ptr()) };
        if index == 0 { Err(none) } else { Self::by_index(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_a_stray_index_is_not() {
        let loopback = Interface::by_index(1).expect("every network namespace has lo, as number 1");
        assert_eq!(loopback.name, "lo");
        assert!(loopback.mtu >= 1500, "{loopback:?}");
        let error = Interface::by_index(0x7fff_ffff).expect_err("no such interface");
        assert_eq!(error.call, "netdevice ioctl");
        assert_eq!(Interface::by_name("lo").expect("by its name"), loopback);
        assert_eq!((loopback.index, loopback.mac), (1, [0; 6]));
        for name in ["nosuch-interface", "", "a\0b"] {
            assert_eq!(Interface::by_name(name).expect_err(name).errno, 19);
        }
    }
}
