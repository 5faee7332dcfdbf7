//! SPDK reads PCI devices through copies of DPDK's private structures, and dpdk-build lets it do so with every release of
//! two DPDK series. This test reads each PCI device of the machine through SPDK and compares it with sysfs: a release that
//! has changed a structure shows up here.
//!
//! No device is attached, mapped or written to: the driver of this test wants no mapping and declines each device. EAL
//! loads DPDK's drivers as well, some of which take NICs that Linux uses, so those are left out.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_int, c_void},
    fs,
    path::Path,
    ptr,
};

const SYSFS: &str = "/sys/bus/pci/devices";

/// Wildcards of SPDK's table of devices (spdk/env.h).
const ANY_CLASS: u32 = 0xff_ffff;
const ANY: u16 = 0xffff;

/// What is compared of a device.
#[derive(Debug, PartialEq, Eq)]
struct Device {
    class: u32,
    /// Vendor, device, and those of the subsystem.
    ids: [u16; 4],
    numa_node: i32,
    /// Address and size of each base address register that is memory; SPDK knows no others.
    bars: Vec<(u64, u64)>,
}

type Devices = BTreeMap<String, Device>;

extern "C" fn see(devices: *mut c_void, device: *mut spdk_sys::spdk_pci_device) -> c_int {
    // SAFETY: the map that `through_spdk` passes, which nothing else uses meanwhile.
    let devices = unsafe { &mut *devices.cast::<Devices>() };
    // SAFETY: spdk_pci_device_get_addr (spdk/env.h) reads a device, which SPDK passes to this callback.
    let address = unsafe { spdk_sys::spdk_pci_device_get_addr(device) };
    // SAFETY: as for the address.
    let id = unsafe { spdk_sys::spdk_pci_device_get_id(device) };
    // SAFETY: as for the address.
    let numa_node = unsafe { spdk_sys::spdk_pci_device_get_numa_id(device) };
    let bars = (0..6).map(|bar| {
        let (mut mapped, mut start, mut size) = (ptr::null_mut(), 0, 0);
        // SAFETY: as above, with one of six registers; places for what it says.
        let code =
            unsafe { spdk_sys::spdk_pci_device_map_bar(device, bar, &mut mapped, &mut start, &mut size) };
        assert_eq!(code, 0, "register {bar} can be read");
        (start, size)
    });
    let bars = bars.filter(|(_, size)| *size > 0).collect();
    let name = format!("{:04x}:{:02x}:{:02x}.{:x}", address.domain, address.bus, address.dev, address.func);
    let ids = [id.vendor_id, id.device_id, id.subvendor_id, id.subdevice_id];
    let seen = Device { class: id.class_id, ids, numa_node, bars };
    assert!(devices.insert(name, seen).is_none(), "a device is seen once");
    // Declined: SPDK lets go of it.
    1
}

/// True for a device that a driver of DPDK might take, a network controller or one that encrypts, and for a bridge, which
/// DPDK offers to no driver (the PCI Code and ID Assignment Specification's base classes 02h, 10h and 06h).
fn is_left_out(device: &Device) -> bool {
    matches!(device.class >> 16, 0x02 | 0x06 | 0x10)
}

fn through_spdk(left_out: &[String]) -> Devices {
    let mut table = [
        spdk_sys::spdk_pci_id {
            class_id: ANY_CLASS,
            vendor_id: ANY,
            device_id: ANY,
            subvendor_id: ANY,
            subdevice_id: ANY,
        },
        spdk_sys::spdk_pci_id::default(),
    ];
    let arguments: Vec<String> = left_out.iter().map(|name| format!("-b {name}")).collect();
    let arguments = CString::new(arguments.join(" ")).expect("names without NUL bytes");
    let mut options = spdk_sys::spdk_env_opts::default();
    let mut devices = Devices::new();
    options.opts_size = size_of_val(&options);
    // SAFETY: spdk_env_opts_init (spdk/env.h) fills options of the size that they carry.
    unsafe { spdk_sys::spdk_env_opts_init(&mut options) };
    options.name = c"pci-test".as_ptr();
    options.no_huge = true;
    options.mem_size = 64;
    options.env_context = arguments.as_ptr().cast_mut().cast();
    // SAFETY: spdk_pci_driver_register (spdk/env.h) keeps the name, which is static, and the table, which outlives the last
    // call into SPDK, below.
    unsafe { spdk_sys::spdk_pci_driver_register(c"every".as_ptr(), table.as_mut_ptr(), 0) };
    // SAFETY: spdk_env_init (spdk/env.h) takes filled options, whose strings outlive the call, once in a process.
    assert_eq!(unsafe { spdk_sys::spdk_env_init(&options) }, 0, "EAL starts");
    // SAFETY: spdk_pci_get_driver (spdk/env.h) reads a NUL-terminated name.
    let driver = unsafe { spdk_sys::spdk_pci_get_driver(c"every".as_ptr()) };
    // SAFETY: spdk_pci_enumerate (spdk/env.h) takes a registered driver, and passes the map to `see` during this call only.
    let code = unsafe { spdk_sys::spdk_pci_enumerate(driver, Some(see), (&raw mut devices).cast()) };
    assert_eq!(code, 0, "the bus can be read");
    devices
}

/// A device as sysfs describes it.
fn from_sysfs(device: &Path) -> Device {
    let text = |name: &str| fs::read_to_string(device.join(name)).expect("sysfs has it of each device");
    let hex = |name: &str| {
        u32::from_str_radix(text(name).trim().trim_start_matches("0x"), 16).expect("a hexadecimal number")
    };
    let id = |name: &str| u16::try_from(hex(name)).expect("16 bits");
    // Start, end and flags of each resource; bit 9 is IORESOURCE_MEM (linux/ioport.h).
    let resources = text("resource");
    let bars = resources.lines().take(6).filter_map(|line| {
        let mut numbers = line.split(' ').map(|word| {
            u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("a hexadecimal number")
        });
        let [start, end, flags] = [(); 3].map(|()| numbers.next().expect("three numbers"));
        (flags & 0x200 != 0).then_some((start, end - start + 1))
    });
    Device {
        class: hex("class"),
        ids: [id("vendor"), id("device"), id("subsystem_vendor"), id("subsystem_device")],
        numa_node: text("numa_node").trim().parse().expect("a number"),
        bars: bars.collect(),
    }
}

#[test]
fn spdk_reads_pci_devices_as_sysfs_describes_them() {
    let listed = fs::read_dir(SYSFS).expect("a PCI bus").flatten();
    let (left_out, mut expected): (Devices, Devices) = listed
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), from_sysfs(&entry.path())))
        .partition(|(_, device)| is_left_out(device));
    let left_out: Vec<String> = left_out.into_keys().collect();
    assert!(!expected.is_empty(), "this machine has no PCI device to compare");
    let seen = through_spdk(&left_out);
    for (name, device) in &mut expected {
        // DPDK may take a node that the firmware does not name for node 0.
        if device.numa_node < 0 && seen.get(name).is_some_and(|seen| seen.numa_node == 0) {
            device.numa_node = 0;
        }
    }
    assert_eq!(seen, expected);
    println!("{} PCI devices are alike, {} left out", seen.len(), left_out.len());
}
