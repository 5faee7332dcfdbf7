//! Frames and exports that the tests start from. The initiator's codec makes the frames, not `aoe-wire`.

use std::sync::Arc;

use aoe_initiator::wire::{Envelope, Mac};
use aoe_target::{
    ConfigString, Export, ExportId, Identity, InitiatorState, MacAddr, PortLimits, Ports, Shelf, ShelfSlot,
    Slot,
};

/// The initiator's address.
pub(crate) const INITIATOR: [u8; 6] = [0x52, 0x54, 0x00, 0x00, 0x00, 0x01];

/// The address of the target's port.
pub(crate) const PORT: MacAddr = MacAddr([0x52, 0x54, 0x00, 0x00, 0x00, 0x02]);

/// Size of the disk of [`export`], in sectors.
pub(crate) const SECTORS: u64 = 1000;

/// A writable disk of [`SECTORS`] at 258.3, on every port.
pub(crate) fn export() -> Export {
    let identity = Identity::new("serial-1", "kvblade-dpdk test", "0.1").unwrap();
    Export::new(ExportId(0), ShelfSlot::new(Shelf(258), Slot(3)), Ports::All, SECTORS, identity)
}

/// The same export with this config string.
pub(crate) fn with_config(export: Export, string: &[u8]) -> Export {
    let state = InitiatorState {
        config: ConfigString::new(string).unwrap(),
        ..InitiatorState::clone(export.initiator_state())
    };
    export.with_initiator_state(Arc::new(state))
}

/// Limits of a port of MTU 9000: 16 sectors.
pub(crate) fn jumbo() -> PortLimits {
    PortLimits::for_mtu(9000).unwrap()
}

/// A request to 258.3 with tag c0ffee01: headers and argument.
pub(crate) fn request(command: u8, argument: &[u8]) -> Vec<u8> {
    let address = aoe_initiator::ShelfSlot::new(258, 3);
    Envelope { dst: Mac(PORT.0), src: Mac(INITIATOR), address, tag: 0xc0ff_ee01 }.frame(command, argument)
}

/// An ATA request of 36 bytes.
pub(crate) fn ata(command: u8, count: u8, lba: u64) -> Vec<u8> {
    let mut argument = vec![0x40, 0x00, count, command];
    argument.extend(&lba.to_le_bytes()[..6]);
    argument.extend([0, 0]);
    request(0, &argument)
}

/// An ATA request with `sectors` of data, a byte ramp.
pub(crate) fn ata_write(command: u8, count: u8, lba: u64, sectors: usize) -> Vec<u8> {
    let mut frame = ata(command, count, lba);
    frame.extend((0..=255).cycle().take(sectors * 512));
    frame
}

/// A query/config request.
pub(crate) fn config(command: u8, string: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(string.len()).unwrap().to_be_bytes();
    let mut argument = vec![0, 0, 0, 0, 0, 0x10 | command, high, low];
    argument.extend(string);
    request(1, &argument)
}
