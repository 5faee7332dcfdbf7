//! What each resource permits, in requests a second.

use anyhow::{Result, ensure};
use serde::Deserialize;

/// On the wire, around each frame: preamble and start delimiter, FCS, inter-frame gap (IEEE 802.3).
const AROUND_FRAME: f64 = 8.0 + 4.0 + 12.0;
/// Bytes of a frame before its data, and of the shortest frame.
const HEADERS: f64 = 36.0;
const SHORTEST: f64 = 60.0;
/// A PCIe transaction: the data it carries at most, and what is around that.
const TRANSACTION: f64 = 256.0;
const AROUND_TRANSACTION: f64 = 24.0;
/// A frame's descriptor and its write-back; a drive's command and completion.
const DESCRIPTOR: f64 = 16.0 + 16.0;
const COMMAND: f64 = 64.0 + 16.0;

/// The file of inputs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inputs {
    pub(crate) machine: Machine,
    pub(crate) cycles: Cycles,
}

/// The hardware. Rates are by second and, but for memory, by port or drive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    lcores: f64,
    hertz: f64,
    ports: f64,
    port_bits: f64,
    port_pcie_bytes: f64,
    drive_pcie_bytes: f64,
    memory_bytes: f64,
    drives: f64,
    drive_read_iops: f64,
    drive_write_iops: f64,
    drive_read_bytes: f64,
    drive_write_bytes: f64,
}

/// What a request costs an lcore.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cycles {
    link: f64,
    target: f64,
    bdev: f64,
    copies: f64,
    copied_bytes: f64,
}

/// Requests of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) bytes: u32,
    pub(crate) write: bool,
}

/// What a resource permits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) resource: &'static str,
    /// Requests a second.
    pub(crate) rate: f64,
}

impl Inputs {
    /// Refuses what can't be reckoned with.
    pub(crate) fn check(&self) -> Result<()> {
        let (machine, cycles) = (&self.machine, &self.cycles);
        for (name, value) in [
            ("lcores", machine.lcores),
            ("hertz", machine.hertz),
            ("ports", machine.ports),
            ("port_bits", machine.port_bits),
            ("port_pcie_bytes", machine.port_pcie_bytes),
            ("drive_pcie_bytes", machine.drive_pcie_bytes),
            ("memory_bytes", machine.memory_bytes),
            ("drives", machine.drives),
            ("drive_read_iops", machine.drive_read_iops),
            ("drive_write_iops", machine.drive_write_iops),
            ("drive_read_bytes", machine.drive_read_bytes),
            ("drive_write_bytes", machine.drive_write_bytes),
            ("target", cycles.target),
            ("copied_bytes", cycles.copied_bytes),
        ] {
            ensure!(value.is_finite() && value > 0.0, "{name} = {value}: expected a number above 0");
        }
        for (name, value) in [("link", cycles.link), ("bdev", cycles.bdev), ("copies", cycles.copies)] {
            ensure!(value.is_finite() && value >= 0.0, "{name} = {value}: expected 0 or a number above it");
        }
        Ok(())
    }
}

/// With PCIe's transactions around it.
fn on_pcie(bytes: f64) -> f64 {
    bytes + (bytes / TRANSACTION).ceil() * AROUND_TRANSACTION
}

/// All resources, in the order of the README.
pub(crate) fn limits(inputs: &Inputs, load: Load) -> [Limit; 6] {
    let Inputs { machine, cycles } = inputs;
    let data = f64::from(load.bytes);
    // Which of the two is the request makes no difference: each direction has its own wire.
    let (long, short) = (HEADERS + data, SHORTEST);
    let cycles_each = cycles.link + cycles.target + cycles.bdev + cycles.copies * data / cycles.copied_bytes;
    let moved = 2.0 * data + HEADERS + SHORTEST + 2.0 * DESCRIPTOR + COMMAND + 2.0 * cycles.copies * data;
    let (iops, bytes) = if load.write {
        (machine.drive_write_iops, machine.drive_write_bytes)
    } else {
        (machine.drive_read_iops, machine.drive_read_bytes)
    };
    let limit = |resource, rate| Limit { resource, rate };
    [
        limit("lcores", machine.lcores * machine.hertz / cycles_each),
        limit("wire", machine.ports * machine.port_bits / 8.0 / (long.max(short) + AROUND_FRAME)),
        limit(
            "PCIe, ports",
            machine.ports * machine.port_pcie_bytes / (on_pcie(long.max(short)) + DESCRIPTOR),
        ),
        limit("PCIe, drives", machine.drives * machine.drive_pcie_bytes / (on_pcie(data) + COMMAND)),
        limit("memory", machine.memory_bytes / moved),
        limit("drives", machine.drives * iops.min(bytes / data)),
    ]
}

/// The one that saturates first.
pub(crate) fn least(limits: &[Limit; 6]) -> Limit {
    limits.iter().copied().fold(limits[0], |least, limit| if limit.rate < least.rate { limit } else { least })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Round figures, so that the expected ones can be reckoned by hand.
    fn inputs() -> Inputs {
        let machine = Machine {
            lcores: 4.0,
            hertz: 2e9,
            ports: 2.0,
            port_bits: 1e10,
            port_pcie_bytes: 1e10,
            drive_pcie_bytes: 1e9,
            memory_bytes: 1e10,
            drives: 3.0,
            drive_read_iops: 1e6,
            drive_write_iops: 1e5,
            drive_read_bytes: 2.048e9,
            drive_write_bytes: 1e9,
        };
        let cycles = Cycles { link: 100.0, target: 200.0, bdev: 700.0, copies: 1.0, copied_bytes: 4.096 };
        Inputs { machine, cycles }
    }

    fn rates(bytes: u32, write: bool) -> [f64; 6] {
        limits(&inputs(), Load { bytes, write }).map(|limit| limit.rate)
    }

    fn assert_near(got: f64, expected: f64) {
        assert!((got / expected - 1.0).abs() < 1e-9, "{got}, expected {expected}");
    }

    #[test]
    fn each_limit_of_a_read_of_4096_bytes_by_hand() {
        let [lcores, wire, port_pcie, drive_pcie, memory, drives] = rates(4096, false);
        // 100 + 200 + 700 and 4096 / 4.096 = 1000 for the copy.
        assert_near(lcores, 8e9 / 2000.0);
        // 36 + 4096 + 24 bytes at 2 x 1.25 GB/s.
        assert_near(wire, 2.5e9 / 4156.0);
        // 4132 bytes in 17 transactions of 24 bytes more, and 32.
        assert_near(port_pcie, 2e10 / (4132.0 + 408.0 + 32.0));
        // 16 transactions, and 80.
        assert_near(drive_pcie, 3e9 / (4096.0 + 384.0 + 80.0));
        // 8192 by port and drive, 96 of headers, 64 of descriptors, 80 of commands, 8192 by the copy.
        assert_near(memory, 1e10 / 16624.0);
        // 2.048e9 / 4096 = 500 000, fewer than the drive's million.
        assert_near(drives, 1.5e6);
    }

    #[test]
    fn short_requests_are_bounded_by_iops_and_long_ones_by_bytes() {
        assert_near(rates(512, false)[5], 3e6);
        assert_near(rates(512, true)[5], 3e5);
        assert_near(rates(8192, false)[5], 3.0 * 250_000.0);
        // 1e9 / 8192 is 122 070: still the write's IOPS.
        assert_near(rates(8192, true)[5], 3e5);
    }

    #[test]
    fn the_least_is_found() {
        let limits = limits(&inputs(), Load { bytes: 4096, write: false });
        assert_eq!(least(&limits).resource, "wire");
        let limits = super::limits(&inputs(), Load { bytes: 4096, write: true });
        assert_eq!(least(&limits).resource, "drives");
    }

    #[test]
    fn what_cannot_be_reckoned_with_is_refused() {
        let mut zero = inputs();
        zero.machine.lcores = 0.0;
        assert_eq!(zero.check().unwrap_err().to_string(), "lcores = 0: expected a number above 0");
        let mut negative = inputs();
        negative.cycles.copies = -1.0;
        assert!(negative.check().is_err());
        assert!(inputs().check().is_ok());
        assert!(toml::from_str::<Inputs>("[machine]\nspeed = 1\n").is_err(), "a name that is none");
    }

    #[test]
    fn the_inputs_in_the_tree_are_good() {
        let inputs: Inputs = toml::from_str(include_str!("../inputs.toml")).unwrap();
        inputs.check().unwrap();
    }
}
