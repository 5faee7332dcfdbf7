use aoe_wire::MacAddr;
use ata::{AddressWidth, Lba, SectorCount};
use proptest::prelude::*;

use super::{Entry, OrderTable, Place};
use crate::export::ExportId;
use crate::io::{BdevIo, BdevOp};

const CAPACITY: usize = 100;

fn lbas((first, end): (u64, u64)) -> (Lba, Lba) {
    (Lba(first), Lba(end))
}

fn io(op: BdevOp, lba: u64, sectors: u16) -> BdevIo {
    BdevIo { op, lba: Lba(lba), sectors: SectorCount(sectors), width: AddressWidth::Lba48 }
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// What a test parks: the number of the request, and its data.
type Parked = (usize, u8);

/// A request that has not left, in the naive model: a list in the order of arrival.
#[derive(Clone, Debug)]
struct Known {
    id: usize,
    export: u32,
    source: u8,
    op: BdevOp,
    sectors: u16,
    range: (u64, u64),
    data: u8,
    place: Place,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs,
    /// A copy of a read, which has its original's place in the order.
    CopiesRead(usize),
}

impl Known {
    fn conflicts(&self, other: &Self) -> bool {
        self.export == other.export
            && (self.op != BdevOp::Read || other.op != BdevOp::Read)
            && self.range.0 < other.range.1
            && other.range.0 < self.range.1
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.export, self.source, self.op, self.sectors, self.range)
            == (other.export, other.source, other.op, other.sectors, other.range)
    }

    fn has_order(&self) -> bool {
        !matches!(self.state, State::CopiesRead(_))
    }
}

struct Model {
    table: OrderTable<Parked>,
    /// In the order of arrival.
    known: Vec<Known>,
    next_id: usize,
}

impl Model {
    fn new() -> Self {
        Self { table: OrderTable::new(CAPACITY), known: Vec::new(), next_id: 0 }
    }

    fn index(&self, id: usize) -> usize {
        self.known.iter().position(|known| known.id == id).expect("a request that has not left")
    }

    /// Whether an earlier request keeps this one, which is or would be at `index`, from starting.
    fn is_blocked(&self, index: usize, new: &Known) -> bool {
        self.known[..index].iter().any(|earlier| earlier.has_order() && earlier.conflicts(new))
    }

    fn enter(&mut self, mut new: Known) {
        let request = io(new.op, new.range.0, new.sectors);
        let fast = self.table.enter(ExportId(new.export), &request, mac(new.source));
        let entry = match fast {
            Some(place) => Entry::Start(place),
            None => self.table.enter_slowly(ExportId(new.export), &request, lbas(new.range), mac(new.source)),
        };
        let is_copy = self.known.iter().any(|known| known.has_order() && known.is_like(&new));
        let is_blocked = self.is_blocked(self.known.len(), &new);
        (new.place, new.state) = match entry {
            Entry::Full => {
                assert_eq!(self.known.len(), CAPACITY, "full with {} requests", self.known.len());
                return;
            }
            Entry::Start(place) => {
                assert!(!is_blocked && !is_copy, "{new:?} starts");
                (place, State::Runs)
            }
            Entry::Wait(place) => {
                assert!(is_blocked && !is_copy, "{new:?} waits");
                (place, State::Waits)
            }
            Entry::Copy(place) if new.op == BdevOp::Read => (place, State::CopiesRead(0)),
            Entry::Copy(place) => (place, State::Waits),
        };
        assert_eq!(matches!(entry, Entry::Copy(_)), is_copy, "{new:?}");
        if new.state == State::CopiesRead(0) {
            // There may be several like it, after a withdrawal.
            let original = Place(self.table.rare[new.place.0 as usize].original);
            let like = self.known.iter().find(|known| known.place == original && known.is_like(&new));
            new.state = State::CopiesRead(like.expect("an original").id);
        }
        if new.state != State::Runs {
            let superseded = self.table.park(new.place, (new.id, new.data), 0, |_, _| true, |_, _| false);
            assert_eq!(superseded, None, "both came at the same time");
        }
        self.known.push(new);
        assert_eq!(self.table.pop_ready(), None);
    }

    /// Answers the copies of a request that has its outcome, then the request.
    fn complete(&mut self, index: usize) {
        let original = self.known[index].clone();
        let mut before = usize::MAX;
        while let Some((id, data)) = self.table.pop_copy(original.place, |(_, data)| *data == original.data) {
            let copy = self.known.remove(self.index(id));
            assert!(copy.is_like(&original), "{copy:?} of {original:?}");
            assert!(copy.op == BdevOp::Read || data == original.data, "{copy:?} of {original:?}");
            assert!(id < before, "the newest comes first");
            before = id;
        }
        let stays = |known: &Known| known.state == State::CopiesRead(original.id);
        assert!(!self.known.iter().any(stays), "every copy of a read is one");
        let index = self.index(original.id);
        if !self.table.leave_unmet(original.place) {
            self.table.leave(original.place);
        }
        self.known.remove(index);
        self.start_ready();
    }

    /// Takes a request out that waits.
    fn withdraw(&mut self, index: usize) {
        let gone = self.known.remove(index);
        assert_eq!(self.table.withdraw(gone.place), Some((gone.id, gone.data)));
        // Its copies, if it was a read, are requests of their own from now on, the newest first.
        let copies: Vec<Known> =
            self.known.extract_if(.., |known| known.state == State::CopiesRead(gone.id)).collect();
        self.known.extend(copies.into_iter().rev().map(|copy| Known { state: State::Waits, ..copy }));
        self.start_ready();
    }

    /// Starts what may start: that, and nothing else, is what the model lets start.
    fn start_ready(&mut self) {
        while let Some((place, export, (id, data))) = self.table.pop_ready() {
            let index = self.index(id);
            let known = &self.known[index];
            assert_eq!((known.place, known.export, known.data), (place, export.0, data));
            assert_eq!(known.state, State::Waits);
            assert!(!self.is_blocked(index, known), "{known:?} before its turn");
            self.known[index].state = State::Runs;
        }
        for (index, known) in self.known.iter().enumerate() {
            assert_eq!(
                known.state == State::Waits,
                known.has_order() && self.is_blocked(index, known),
                "{known:?}"
            );
        }
    }

    fn step(&mut self, step: &Step) {
        let pick = |state: State, nth: usize, known: &[Known]| {
            let of: Vec<usize> = (0..known.len()).filter(|index| known[*index].state == state).collect();
            (!of.is_empty()).then(|| of[nth % of.len()])
        };
        match *step {
            Step::Enter { export, source, op, first, sectors, data } => {
                let op = [BdevOp::Read, BdevOp::Write, BdevOp::Trim][usize::from(op)];
                let length = if op == BdevOp::Trim { u64::from(sectors) * 7 } else { u64::from(sectors) };
                let new = Known {
                    id: self.next_id,
                    export,
                    source,
                    op,
                    sectors: if op == BdevOp::Trim { 1 } else { sectors },
                    range: (first, first + length),
                    data,
                    place: Place::NONE,
                    state: State::Runs,
                };
                self.next_id += 1;
                self.enter(new);
            }
            Step::Complete(nth) => {
                if let Some(index) = pick(State::Runs, nth, &self.known) {
                    self.complete(index);
                }
            }
            Step::Withdraw(nth) => {
                if let Some(index) = pick(State::Waits, nth, &self.known) {
                    self.withdraw(index);
                }
            }
        }
    }

    /// Completes what is left; then the table holds as many requests as at first.
    fn end(&mut self) {
        while !self.known.is_empty() {
            let index = self.known.iter().position(|known| known.state == State::Runs);
            self.complete(index.expect("the oldest request runs"));
        }
        for lba in 0..CAPACITY as u64 {
            assert!(self.table.enter(ExportId(9), &io(BdevOp::Write, lba * 64, 8), mac(1)).is_some());
        }
        assert_eq!(self.table.enter(ExportId(9), &io(BdevOp::Write, 1 << 40, 8), mac(1)), None);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter { export: u32, source: u8, op: u8, first: u64, sectors: u16, data: u8 },
    Complete(usize),
    Withdraw(usize),
}

/// Steps among `exports` exports, on so many sectors.
fn steps(exports: u32, sectors: u64) -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![4 => Just(0u8), 4 => Just(1u8), 1 => Just(2u8)];
    // Few lengths, so that copies come; 40 fits no granule.
    let length = prop_oneof![Just(1u16), Just(8u16), Just(16u16), Just(40u16)];
    let enter = (0..exports, 0..2u8, op, 0..sectors, length, 0..2u8).prop_map(
        |(export, source, op, first, sectors, data)| Step::Enter { export, source, op, first, sectors, data },
    );
    let step = prop_oneof![
        12 => enter,
        9 => any::<usize>().prop_map(Step::Complete),
        1 => any::<usize>().prop_map(Step::Withdraw),
    ];
    prop::collection::vec(step, 0..200)
}

fn check(steps: &[Step]) {
    let mut model = Model::new();
    steps.iter().for_each(|step| model.step(step));
    model.end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_on_few_sectors_start_in_the_order_of_a_naive_list(steps in steps(2, 60)) {
        check(&steps);
    }

    #[test]
    fn requests_on_many_sectors_start_in_the_order_of_a_naive_list(steps in steps(3, 100_000)) {
        check(&steps);
    }

    #[test]
    fn requests_for_one_sector_start_in_the_order_of_a_naive_list(steps in steps(1, 1)) {
        check(&steps);
    }
}

#[test]
fn a_retransmission_supersedes_the_copy_before_it() {
    let mut table: OrderTable<Parked> = OrderTable::new(8);
    let read = io(BdevOp::Read, 5, 3);
    let range = (5, 8);
    let place = table.enter(ExportId(0), &read, mac(1)).unwrap();
    let mut copy = |data, now, is_same_tag| {
        let Entry::Copy(place) = table.enter_slowly(ExportId(0), &read, lbas(range), mac(1)) else {
            panic!("a copy")
        };
        table.park(place, (0, data), now, |old, new| old.1 / 10 == new.1 / 10, |_, _| is_same_tag)
    };
    assert_eq!(copy(1, 1000, false), None);
    assert_eq!(copy(2, 1099, false), None, "both may be wanted");
    assert_eq!(copy(3, 1199, false), Some((0, 2)), "a retransmission");
    assert_eq!(copy(4, 1199, true), Some((0, 3)), "the same tag");
    assert_eq!(copy(10, 2000, true), None, "other data");
    let copies: Vec<u8> =
        std::iter::from_fn(|| table.pop_copy(place, |_| false)).map(|(_, data)| data).collect();
    assert_eq!(copies, [10, 4, 1], "the newest first");
    table.leave(place);
    assert!(!table.has_ready());
}

#[test]
fn a_flush_has_no_order() {
    let mut table: OrderTable<Parked> = OrderTable::new(8);
    let write = table.enter(ExportId(0), &io(BdevOp::Write, 0, 8), mac(1)).unwrap();
    let flush = io(BdevOp::Flush, 0, 0);
    assert_eq!(table.enter(ExportId(0), &flush, mac(1)), None);
    let entry = table.enter_slowly(ExportId(0), &flush, lbas((0, 0)), mac(1));
    assert_eq!(entry, Entry::Start(Place::NONE));
    assert!(!table.leave_unmet(Place::NONE));
    table.leave(Place::NONE);
    assert!(table.leave_unmet(write));
}

#[test]
fn without_room_a_newer_copy_takes_the_place_of_an_older_one() {
    let mut table = OrderTable::new(4);
    let (export, read) = (ExportId(0), io(BdevOp::Read, 8, 8));
    let place = table.enter(export, &read, mac(1)).expect("it meets nobody");
    let replace = |table: &mut OrderTable<Parked>, source, parked: Parked, now| {
        table.replace(export, &read, mac(source), parked, now, |_, _| true, |old, new| old.1 == new.1)
    };
    assert_eq!(replace(&mut table, 2, (1, 1), 0), Err(((1, 1), Place::NONE)), "another initiator's");
    assert_eq!(replace(&mut table, 1, (1, 1), 0), Err(((1, 1), place)), "its original runs");
    table.retag(place, [1; 4]);
    assert_eq!(table.tag(place), Some([1; 4]));

    let Entry::Copy(copy) = table.enter_slowly(export, &read, lbas((8, 16)), mac(1)) else {
        panic!("a copy")
    };
    assert_eq!(table.park(copy, (2, 2), 0, |_, _| true, |_, _| false), None);
    assert_eq!(replace(&mut table, 1, (3, 3), 99), Err(((3, 3), Place::NONE)), "both may be waited for");
    assert_eq!(replace(&mut table, 1, (4, 2), 99), Ok(((2, 2), copy)), "the same tag");
    assert_eq!(replace(&mut table, 1, (5, 5), 198), Err(((5, 5), Place::NONE)), "that one came at 99");
    assert_eq!(replace(&mut table, 1, (5, 5), 199), Ok(((4, 2), copy)));

    assert!(!table.leave_unmet(place));
    assert_eq!(table.pop_copy(place, |_| true), Some((5, 5)));
    assert_eq!(table.pop_copy(place, |_| true), None);
    table.leave(place);
    assert_eq!(table.enter(export, &read, mac(1)), Some(place));
    assert_eq!(table.tag(place), None, "it went with the request");
}

#[test]
fn neighbours_start_and_leave_in_any_order() {
    for op in [BdevOp::Read, BdevOp::Write] {
        let mut table: OrderTable<Parked> = OrderTable::new(CAPACITY);
        let request = |nth: u64| io(op, nth * 2, 2);
        let mut places: Vec<Place> = (0..CAPACITY as u64)
            .map(|nth| table.enter(ExportId(0), &request(nth), mac(1)).expect("it overlaps none"))
            .collect();
        assert_eq!(table.enter(ExportId(0), &request(200), mac(1)), None, "there is no room");
        assert!(table.leave_unmet(places.remove(50)));
        assert_eq!(table.enter(ExportId(0), &io(op, 9, 2), mac(1)), None, "it overlaps two");
        // From the middle of each granule outwards.
        while !places.is_empty() {
            assert!(table.leave_unmet(places.remove(places.len() / 2)));
        }
        assert!(table.buckets.iter().all(|bucket| bucket.head == 0 && bucket.changes == 0));
    }
}
