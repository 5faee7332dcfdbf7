//! `cargo bench -p kvblade-micro --bench target`: parse, route, and admit with emit, each by itself.

use std::hint::black_box;

use aoe_target::{
    Disposition, Export, ExportCounters, ExportId, Identity, IoOutcome, MacAddr, PortId, PortLimits, Ports,
    Reply, Request, Route, Shelf, ShelfSlot, Slot, Table, VlanId,
};
use criterion::{Criterion, criterion_group, criterion_main};
use kvblade_micro::Kind;
use ring_lab::frames::TARGET;

const PORT: PortId = PortId(0);
/// Exports of a shelf.
const SLOTS: u32 = 100;

fn limits() -> PortLimits {
    PortLimits::for_mtu(9000).expect("9000 is enough")
}

/// The address of the export that comes as number `nth`.
fn address(nth: u32) -> ShelfSlot {
    let shelf = u16::try_from(1 + nth / SLOTS).expect("few shelves");
    let slot = u8::try_from(nth % SLOTS).expect("below 100");
    ShelfSlot::new(Shelf(shelf), Slot(slot))
}

fn export(id: u32, address: ShelfSlot) -> Export {
    let identity = Identity::new("1", "bench", "1").expect("printable");
    Export::new(ExportId(id), address, Ports::All, 1 << 20, identity)
}

fn table(exports: u32) -> Table {
    let mut table = Table::new();
    for id in 0..exports {
        table.insert(export(id, address(id))).expect("a free address");
    }
    table
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for kind in Kind::ALL {
        let frame = kind.frame(1, 7, 8);
        group.bench_function(kind.name, |bencher| {
            bencher.iter(|| Request::parse(black_box(&frame), frame.len()));
        });
    }
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for exports in [1, 16, 10_000] {
        let mut table = table(exports);
        // Different ones, one after the other, so that neither the branch predictor nor the first cache has it easy; at
        // a distance that comes to all of them.
        let addresses: Vec<_> = (0..exports).map(|nth| address(nth * 7919 % exports)).collect();
        let mut next = addresses.iter().copied().cycle();
        group.bench_function(format!("hit, of {exports}"), |bencher| {
            bencher.iter(|| table.route(PORT, None, black_box(next.next().expect("a cycle"))));
        });
        let absent = ShelfSlot::new(Shelf(1000), Slot(200));
        assert_eq!(table.route(PORT, None, absent), Route::None);
        group.bench_function(format!("miss, of {exports}"), |bencher| {
            bencher.iter(|| table.route(PORT, None, black_box(absent)));
        });
        // One address outside of any VLAN and in one.
        let vlan = VlanId::new(100);
        table.insert(export(exports, address(0)).in_vlan(vlan)).expect("another VLAN");
        group.bench_function(format!("in a VLAN, of {exports}"), |bencher| {
            bencher.iter(|| table.route(PORT, black_box(vlan), black_box(address(0))));
        });
    }
}

fn admit_and_reply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit, complete, emit");
    let (export, limits) = (export(1, address(1)), limits());
    for kind in Kind::ALL {
        let original = kind.frame(1, 7, 8);
        let request = Request::parse(&original, original.len()).expect("a request");
        let mut frame = original.clone();
        frame.resize(9216, 0);
        let mut counters = ExportCounters::default();
        group.bench_function(kind.name, |bencher| {
            bencher.iter(|| {
                let request = black_box(&request);
                let disposition = export.admit(request, &frame, original.len(), limits);
                counters.admitted(request, &disposition);
                let Disposition::Submit(io) = disposition else {
                    panic!("not for the bdev: {disposition:?}")
                };
                counters.completed(&io, IoOutcome::Ok);
                Reply::completed(&io, IoOutcome::Ok).emit(
                    black_box(&mut frame),
                    MacAddr(TARGET),
                    &export,
                    limits,
                )
            });
        });
    }
}

criterion_group!(benches, parse, route, admit_and_reply);
criterion_main!(benches);
