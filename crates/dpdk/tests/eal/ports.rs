//! What is known of a port, and what a port that can't be started says.

use dpdk::{PortConfig, eal, port};

use crate::{logged, one_queue, pool, start_eal, unique, wire};

#[test]
fn eal_says_its_version_and_starts_once() {
    start_eal();
    let (year, month) = eal::release();
    assert!((22..100).contains(&year) && (1..=12).contains(&month), "{year}.{month}");
    assert!(eal::version().starts_with(&format!("DPDK {year}.{month:02}.")), "{}", eal::version());
    let again = eal::init(&["test".to_owned()]).expect_err("EAL runs already");
    assert_eq!(again.call, "rte_eal_init");
    let nul = eal::init(&["a\0b".to_owned()]).expect_err("no C string");
    assert_eq!(nul.errno, 22);
}

#[test]
fn what_dpdk_logs_reaches_the_sink_line_by_line() {
    start_eal();
    // A ring's size must be a power of two.
    let refused = dpdk::ring_port(crate::start_eal(), &unique("odd"), 100).expect_err("100 is none");
    assert_eq!((refused.call, refused.errno), ("rte_ring_create", 22));
    let lines = logged();
    let line = lines.iter().find(|line| line.contains("power of 2")).expect("DPDK says why");
    assert!(!line.contains('\n'), "{line:?}");
}

#[test]
fn a_ring_port_is_listed_and_known_by_its_name() {
    let eal = crate::start_eal();
    let wire = wire(64, 31);
    let number = wire.port.number();
    let info = port::list(eal).into_iter().find(|info| info.number == number).expect("it is there");
    assert_eq!(port::info(eal, number).as_ref(), Ok(&info));
    assert_eq!(port::by_name(eal, &info.name), Some(number));
    assert!(info.name.starts_with("net_ring_wire"), "{}", info.name);
    assert_eq!(info.driver, "net_ring");
    assert_eq!((info.max_queues, info.interface_index), (1, None));
    assert!(wire.port.link().expect("a port").up);
    assert_eq!(port::by_name(eal, "no such port"), None);
    assert_eq!(port::by_name(eal, "a\0b"), None);
}

#[test]
fn a_port_counts_what_goes_through_it() {
    let mut wire = wire(64, 127);
    for _ in 0..5 {
        wire.peer.send(crate::frame(&wire.pool, &[1; 60])).expect("room");
    }
    let mut burst = dpdk::Burst::new();
    assert_eq!(wire.rx.poll(&mut burst), 5);
    for frame in burst.by_ref().take(2) {
        let frame = frame.into_exclusive().expect("nobody shares it");
        wire.tx.push(frame.into_tx().expect("one segment")).expect("room");
    }
    assert_eq!(wire.tx.flush(), 2);
    let stats = wire.port.stats().expect("counters");
    assert_eq!((stats.rx_frames, stats.tx_frames, stats.tx_errors), (5, 2, 0));
}

#[test]
fn a_number_without_a_port_is_no_device() {
    start_eal();
    for errno in [
        port::info(crate::start_eal(), 31).map(|_| ()).map_err(|error| error.errno),
        port::Port::start(crate::start_eal(), 31, &config(1)).map(|_| ()).map_err(|error| error.errno),
    ] {
        assert_eq!(errno, Err(19));
    }
}

fn config(queues: usize) -> PortConfig {
    let one = one_queue(&pool(31, 2048));
    PortConfig { mempools: one.mempools.iter().cycle().take(queues).cloned().collect(), ..one }
}

#[test]
fn more_queues_than_the_port_has_are_refused_and_it_can_be_started_with_less() {
    let eal = crate::start_eal();
    start_eal();
    let (number, _peer) = dpdk::ring_port(eal, &unique("few"), 64).expect("a ring port");
    let refused = port::Port::start(eal, number, &config(2)).expect_err("it has one of each");
    assert_eq!((refused.call, refused.errno), ("rte_eth_dev_configure", 22));
    let port = port::Port::start(eal, number, &config(1)).expect("one is what it has");
    assert!(port.take_queues(1).is_none());
    assert!(port.take_queues(0).is_some());
    assert!(port.take_queues(0).is_none(), "each once");
}
