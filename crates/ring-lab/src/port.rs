//! The port queue of a ring port, and exports of bdevs.

use std::sync::Arc;

use aoe_target::{Export, ExportId, Identity, MacAddr, PortId, PortLimits, Ports, ShelfSlot};
use datapath::PortQueue;
use dpdk::{EalStarted, Mbuf, Mempool, Port, PortConfig};
use spdk::{AppThread, Bdev};

use crate::frames;

/// The proof that SPDK's app has started EAL.
///
/// # Panics
/// Outside [`crate::run`].
#[must_use]
pub fn eal() -> EalStarted {
    EalStarted::get().expect("the app has started EAL")
}

/// Opens a bdev to write, on the app's thread.
///
/// # Panics
/// On another thread, or without such a bdev.
#[must_use]
pub fn open(name: &str) -> Bdev {
    let opened = AppThread::with(|app| Bdev::open(app, name, true, |_| ())).expect("the app's thread");
    opened.unwrap_or_else(|error| panic!("bdev {name}: {error}"))
}

/// Ends the app, on its thread.
///
/// # Panics
/// On another thread.
pub fn stop(code: i32) {
    AppThread::with(|app| app.stop(code)).expect("the app's thread");
}

/// A mempool of so many mbufs, each with room for a frame of `room` bytes.
///
/// # Panics
/// Without memory for it.
#[must_use]
pub fn mempool(name: &str, mbufs: u32, room: u16) -> Arc<Mempool> {
    Mempool::new(eal(), name, mbufs, datapath::private_size(), room, None).expect("memory for mbufs")
}

/// Starts port `number` with a queue pair for each mempool.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn start(number: u16, mempools: Vec<Arc<Mempool>>) -> Port {
    let config = PortConfig { mempools, rx_descriptors: 256, tx_descriptors: 256, mtu: None };
    Port::start(eal(), number, &config).expect("a ring port starts")
}

/// The mbuf with these bytes. `None` if it has no room for them.
#[must_use]
pub fn filled(mut frame: Mbuf, bytes: &[u8]) -> Option<Mbuf> {
    if !frame.resize(bytes.len()) {
        return None;
    }
    frame.data_mut().copy_from_slice(bytes);
    Some(frame)
}

/// Starts port `number`, which has one queue pair, keeps it in `ports`, and returns its queue: with an MTU of 9000,
/// and [`frames::TARGET`] for its address.
///
/// # Panics
/// If the port does not start.
pub fn port_queue(ports: &mut Vec<Port>, number: u16, pool: &Arc<Mempool>) -> PortQueue {
    let port = start(number, vec![Arc::clone(pool)]);
    let queues = port.take_queues(0).expect("its one queue pair is there");
    assert!(port.take_queues(0).is_none(), "a queue pair is handed out once");
    ports.push(port);
    let limits = PortLimits::for_mtu(9000).expect("9000 is enough");
    PortQueue::new(PortId(number), MacAddr(frames::TARGET), limits, queues, true)
}

/// The whole of `bdev` as an export at `text`, on all ports.
///
/// # Panics
/// If `text` is not `SHELF.SLOT`.
#[must_use]
pub fn export(id: u32, text: &str, bdev: &Bdev) -> Box<Export> {
    let address: ShelfSlot = text.parse().expect("an address");
    let identity = Identity::new(text, "ring test", "1").expect("printable");
    Box::new(Export::new(ExportId(id), address, Ports::All, bdev.blocks(), identity))
}
