//! Ports, queues and mbufs on a real EAL, in memory of the process's own: no hugepage, no device, no interface.
//!
//! EAL starts once in a process; each test has ports and pools of its own names.

mod aligned;
mod frame_rings;
mod mbufs;
mod memory;
mod ports;
mod queues;
#[path = "../start/mod.rs"]
mod start;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use dpdk::{EalStarted, Mbuf, Mempool, PeerRing, Port, PortConfig, RxQueue, TxQueue, eal, ring_port};

/// Lines that EAL and the PMDs logged.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(level: u32, text: &str) {
    assert!((1..=8).contains(&level), "level {level} of {text:?}");
    LOG.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
}

/// The lines logged so far.
fn logged() -> Vec<String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Starts EAL, the first time.
fn start_eal() -> EalStarted {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| eal::log_to(note).expect("a stream for the log"));
    start::start_eal_with(512)
}

/// A name that no other test has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A pool of `size` mbufs with rooms of `room` bytes.
fn pool(size: u32, room: u16) -> Arc<Mempool> {
    Mempool::new(start_eal(), &unique("pool"), size, 64, room, None).expect("memory for a small pool")
}

/// A frame with these bytes.
fn frame(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut frame = pool.alloc().expect("an mbuf");
    assert!(frame.resize(bytes.len()));
    frame.data_mut().copy_from_slice(bytes);
    frame
}

/// A started port of two rings that hold `size - 1` frames each, and its far end.
struct Wire {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
    peer: PeerRing,
    pool: Arc<Mempool>,
}

/// One queue pair with this pool.
fn one_queue(pool: &Arc<Mempool>) -> PortConfig {
    PortConfig { mempools: vec![Arc::clone(pool)], rx_descriptors: 64, tx_descriptors: 64, mtu: None }
}

fn wire(size: u32, mbufs: u32) -> Wire {
    let eal = start_eal();
    let (number, peer) = ring_port(eal, &unique("wire"), size).expect("a ring port");
    let pool = pool(mbufs, 2048);
    let port = Port::start(eal, number, &one_queue(&pool)).expect("a ring port starts");
    let (rx, tx) = port.take_queues(0).expect("its queue pair");
    Wire { port, rx, tx, peer, pool }
}
