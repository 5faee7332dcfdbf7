//! The initiator against a target that is not ours: Debian's vblade, each test with a fresh one in namespaces of
//! its own. Needs root; without `ip` or vblade the tests fail and say so.

use aoe_initiator::initiator::{Export, Initiator};
use aoe_initiator::load::{self, LoadSpec, Waiting, Workload};
use aoe_initiator::wire::{
    AtaRequest, ConfigCommand, ETHERTYPE, Envelope, Identity, Mac, Reply, SECTOR, ata, command, config_frame,
};
use aoe_initiator::{Error, Link, Retransmit, ShelfSlot};
use lab::{Namespace, Vblade, Veth};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

const ADDRESS: ShelfSlot = ShelfSlot::new(7, 2);
const SECTORS: u64 = 64 * 1024;
/// How long silence is listened to.
const QUIET: Duration = Duration::from_millis(100);
/// How long an answer may take on a machine that is busy with other things; the wait ends with the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A vblade at one end of a veth pair. Fields are dropped in this order.
struct Lab {
    vblade: Vblade,
    file: NamedTempFile,
    near: Namespace,
    far: Namespace,
}

impl Lab {
    fn start(mtu: u16) -> Self {
        let near = Namespace::create("near").unwrap();
        let far = Namespace::create("far").unwrap();
        Veth::create(&near, "i0", &far, "t0", mtu).unwrap();
        let file = NamedTempFile::new_in("/dev/shm").unwrap();
        file.as_file().set_len(SECTORS * SECTOR as u64).unwrap();
        let vblade = Vblade::start(&far, "t0", (ADDRESS.shelf, ADDRESS.slot), file.path(), None).unwrap();
        Self { vblade, file, near, far }
    }

    fn link(&self) -> Link {
        self.near.enter(|| Link::open("i0")).unwrap().unwrap()
    }

    /// An initiator that has found the export.
    fn attach(&self) -> (Initiator, Export, Identity) {
        let mut initiator = Initiator::new(self.link(), Retransmit::default());
        let export = initiator.find(ADDRESS).unwrap();
        let identity = initiator.identify(&export).unwrap();
        initiator.drain().unwrap();
        (initiator, export, identity)
    }
}

fn pattern(seed: usize, sectors: usize) -> Vec<u8> {
    let bytes = (0..u8::MAX).cycle().skip(seed);
    (0..sectors).flat_map(|sector| bytes.clone().skip(sector * 7).take(SECTOR)).collect()
}

fn load(workload: Workload, sectors_per_io: u8) -> LoadSpec {
    LoadSpec {
        workload,
        sectors_per_io,
        depth: 16,
        duration: Duration::from_millis(500),
        waiting: Waiting::Sleep,
        seed: 0xa0e,
        ..LoadSpec::default()
    }
}

#[test]
fn discovery_finds_it_and_says_what_it_does_wrong() {
    lab::needs_root!();
    let lab = Lab::start(9000);
    let (mut initiator, export, identity) = lab.attach();
    assert_eq!((export.address, export.buffer_count, export.sector_count), (ADDRESS, 256, 17));
    assert_eq!((export.max_sectors(), export.config.len()), (16, 0));
    let wrong = export.breaches.join("; ");
    assert!(wrong.contains("32 bytes") && wrong.contains("17 sectors"), "{wrong}");
    assert_eq!((identity.lba48, identity.sectors, u64::from(identity.sectors28)), (true, SECTORS, SECTORS));
    for (address, answers) in [
        (ShelfSlot::ANY, 1),
        (ShelfSlot { slot: 0xff, ..ADDRESS }, 1),
        (ShelfSlot { shelf: 0xffff, ..ADDRESS }, 1),
        (ShelfSlot::new(7, 3), 0),
        (ShelfSlot::new(8, 2), 0),
    ] {
        let mut rounds = if answers == 0 { 0..3 } else { 0..100 };
        let most = rounds.find_map(|_| {
            let found = initiator.discover(address, QUIET).unwrap().len();
            (found > 0).then_some(found)
        });
        assert_eq!(most.unwrap_or(0), answers, "{address}");
    }
}

#[test]
fn its_advertisement_is_heard() {
    lab::needs_root!();
    let mut lab = Lab::start(1500);
    lab.attach();
    lab.vblade.daemon().signal(Signal::SIGKILL).unwrap();
    let mut initiator = Initiator::new(lab.link(), Retransmit::default());
    lab.vblade = Vblade::start(&lab.far, "t0", (ADDRESS.shelf, ADDRESS.slot), lab.file.path(), None).unwrap();
    let heard = initiator.advertisements(PATIENCE, |heard| !heard.is_empty()).unwrap();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].address, heard[0].sector_count), (ADDRESS, 2));
    assert!(heard[0].breaches.iter().any(|breach| breach.contains("version nibble 0")), "{heard:?}");
}

#[test]
fn what_is_written_is_in_the_file_and_is_read() {
    lab::needs_root!();
    let lab = Lab::start(9000);
    let (mut initiator, export, _) = lab.attach();
    // 40 sectors: two whole messages and a part.
    let data = pattern(1, 40);
    initiator.write(&export, 1000, &data).unwrap();
    let mut on_disk = vec![0; data.len()];
    lab.file.as_file().read_exact_at(&mut on_disk, 1000 * SECTOR as u64).unwrap();
    assert!(on_disk == data);
    let mut read = vec![0; data.len()];
    initiator.read(&export, 1000, &mut read).unwrap();
    assert!(read == data);
    let data = pattern(2, 3);
    initiator.write28(&export, 1001, &data).unwrap();
    let mut read = vec![0; data.len()];
    initiator.read28(&export, 1001, &mut read).unwrap();
    assert!(read == data);
    initiator.flush(&export).unwrap();
    assert_eq!(initiator.check_power_mode(&export).unwrap(), 0xff);
    assert_eq!(initiator.retransmits(), 0);
}

#[test]
fn failures_are_errors_that_name_the_request() {
    lab::needs_root!();
    let lab = Lab::start(1500);
    let (mut initiator, export, _) = lab.attach();
    let error = initiator.flush_ext(&export).unwrap_err();
    assert!(
        matches!(error, Error::Ata { status, error: ata::ABRT, .. } if status & ata::ERR != 0),
        "{error}"
    );
    let error = initiator.read(&export, SECTORS, &mut [0; SECTOR]).unwrap_err();
    assert!(matches!(error, Error::Ata { error: ata::IDNF, .. }), "{error}");
    assert!(error.to_string().contains("READ SECTORS EXT of 1 at LBA 65536"), "{error}");
    let oversize = Export { sector_count: 16, ..export.clone() };
    let error = initiator.write(&oversize, 0, &pattern(0, 16)).unwrap_err();
    assert!(matches!(error, Error::FrameTooLong { .. }), "{error}");
    let error = initiator.write(&export, 0, &[0; 100]).unwrap_err();
    assert!(error.to_string().contains("100 bytes"), "{error}");
    let missing = Export { address: ShelfSlot::new(7, 9), ..export };
    initiator.set_timing(Retransmit { give_up: Duration::from_secs(2), ..Retransmit::default() });
    let error = initiator.identify(&missing).unwrap_err();
    assert!(error.to_string().starts_with("7.9 did not answer IDENTIFY DEVICE within"), "{error}");
    assert!(initiator.retransmits() > 0);
}

#[test]
fn raw_frames_get_what_they_deserve() {
    lab::needs_root!();
    let lab = Lab::start(1500);
    let (mut initiator, export, _) = lab.attach();
    let envelope = initiator.envelope(&export);
    let identify = AtaRequest::identify().frame(&envelope, &[]);
    initiator.send_raw(&identify).unwrap();
    let reply = initiator.receive_raw(PATIENCE).unwrap().unwrap();
    assert_eq!(reply[20..24], identify[20..24]);

    let silent: [(&str, Vec<u8>); 3] = [
        ("a response", [&identify[..14], &[0x18], &identify[15..]].concat()),
        ("another EtherType", [&identify[..12], &[0x88, 0xa3], &identify[14..]].concat()),
        ("no whole header", [&identify[..20]].concat()),
    ];
    for (what, frame) in silent {
        assert_eq!(initiator.exchange_raw(&frame, QUIET).unwrap(), Vec::<Vec<u8>>::new(), "{what}");
    }

    let unknown = initiator.envelope(&export).frame(0x42, &[0; 36]);
    initiator.send_raw(&unknown).unwrap();
    let frame = initiator.receive_raw(PATIENCE).unwrap().unwrap();
    let reply = Reply::parse(&frame).unwrap();
    assert!(reply.is_error() && reply.error == 1 && reply.command == 0x42, "{reply:?}");

    let query = Envelope { dst: Mac::BROADCAST, address: ShelfSlot::ANY, ..envelope };
    initiator.send_raw(&config_frame(&query, ConfigCommand::Read, b"")).unwrap();
    let frame = initiator.receive_raw(PATIENCE).unwrap().unwrap();
    assert_eq!((frame[12..14].to_vec(), frame[19]), (ETHERTYPE.to_be_bytes().to_vec(), command::CONFIG));
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None, "one answer to one query");
}

fn verified_load(mtu: u16, sectors_per_io: u8) {
    let lab = Lab::start(mtu);
    let (_, export, identity) = lab.attach();
    let spec = load(Workload::RandomMixed(50), sectors_per_io);
    let mut ledger = load::ledger_for(&spec, identity.sectors).unwrap();
    let stop = AtomicBool::new(false);
    let report =
        load::run_verified(lab.link(), &export, identity.sectors, &spec, &stop, &mut ledger).unwrap();
    let verified = report.verified.unwrap();
    assert_eq!((report.failures(), report.unexpected_replies), (0, 0), "{report:?}");
    let sectors_read = verified.sectors_checked + verified.sectors_unwritten;
    assert!(verified.writes_acknowledged > 0 && sectors_read > 0, "{report:?}");
    let swept = load::sweep(lab.link(), &export, &ledger, &spec).unwrap();
    assert_eq!(swept, ledger.written());
    assert!(swept > 0);

    // One bit of one written sector changes on the disk: the sweep finds it and says where.
    let lba = ledger.next_written(0, 1).unwrap().start;
    let mut byte = [0];
    lab.file.as_file().read_exact_at(&mut byte, lba * SECTOR as u64 + 400).unwrap();
    lab.file.as_file().write_all_at(&[byte[0] ^ 4], lba * SECTOR as u64 + 400).unwrap();
    let error = load::sweep(lab.link(), &export, &ledger, &spec).unwrap_err();
    assert!(matches!(error, Error::WrongData(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("LBA {lba} has")) && text.contains("damaged from byte 400 on"), "{text}");
}

#[test]
fn a_verified_load_with_jumbo_frames() {
    lab::needs_root!();
    verified_load(9000, 16);
}

#[test]
fn a_verified_load_with_plain_frames() {
    lab::needs_root!();
    verified_load(1500, 2);
}

#[test]
fn a_load_finds_data_that_changed_behind_its_back() {
    lab::needs_root!();
    let lab = Lab::start(9000);
    let (_, export, identity) = lab.attach();
    let stop = AtomicBool::new(false);
    let mut spec = LoadSpec { sectors: Some(1024), ..load(Workload::Write, 8) };
    let mut ledger = load::ledger_for(&spec, identity.sectors).unwrap();
    load::run_verified(lab.link(), &export, identity.sectors, &spec, &stop, &mut ledger).unwrap();
    // The load ends as soon as it comes across the sector, however long that takes.
    let lba = ledger.next_written(5, 1).unwrap().start;
    lab.file.as_file().write_all_at(&[0; SECTOR], lba * SECTOR as u64).unwrap();
    spec.workload = Workload::RandomRead;
    spec.duration = PATIENCE;
    let error =
        load::run_verified(lab.link(), &export, identity.sectors, &spec, &stop, &mut ledger).unwrap_err();
    let wanted = format!("wrong data: LBA {lba} has zeroes; expected generation");
    assert!(error.to_string().starts_with(&wanted), "{error}");
}

#[test]
fn a_target_that_stalls_is_asked_again_and_no_data_is_lost() {
    lab::needs_root!();
    let mut lab = Lab::start(9000);
    let (_, export, identity) = lab.attach();
    let mut spec = load(Workload::RandomMixed(50), 8);
    spec.duration = 4 * PATIENCE;
    spec.timing.first = Duration::from_millis(50);
    spec.timing.give_up = 4 * PATIENCE;
    let mut ledger = load::ledger_for(&spec, identity.sectors).unwrap();
    let link = lab.link();
    let stop = AtomicBool::new(false);
    // Requests as they arrive at the target's interface.
    let mut tap = Initiator::new(lab.far.enter(|| Link::open("t0")).unwrap().unwrap(), Retransmit::default());
    let mut next_tag = || {
        let frame = tap.receive_raw(PATIENCE).unwrap().expect("requests keep coming");
        Reply::parse(&frame).unwrap().tag
    };
    lab.vblade.daemon().signal(Signal::SIGSTOP).unwrap();
    let report = std::thread::scope(|scope| {
        let load =
            scope.spawn(|| load::run_verified(link, &export, identity.sectors, &spec, &stop, &mut ledger));
        let mut seen = HashSet::new();
        while seen.insert(next_tag()) {}
        lab.vblade.daemon().signal(Signal::SIGCONT).unwrap();
        // vblade answers in order: once requests have gone round twice, both answers to the first were received.
        let mut new = 0;
        while new < 3 * spec.depth {
            new += usize::from(seen.insert(next_tag()));
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap().unwrap()
    });
    assert_eq!(report.failures(), 0, "{report:?}");
    assert!(report.retransmits > 0 && report.duplicate_replies > 0, "{report:?}");
    assert_eq!(load::sweep(lab.link(), &export, &ledger, &spec).unwrap(), ledger.written());
}

#[test]
fn a_target_that_is_gone_ends_the_load_with_every_request_accounted_for() {
    lab::needs_root!();
    let mut lab = Lab::start(9000);
    let (_, export, identity) = lab.attach();
    lab.vblade.daemon().signal(Signal::SIGKILL).unwrap();
    let mut spec = load(Workload::RandomRead, 8);
    spec.timing =
        Retransmit { first: Duration::from_millis(50), longest: Duration::from_millis(100), give_up: QUIET };
    spec.duration = QUIET / 2;
    let stop = AtomicBool::new(false);
    let report = load::run(lab.link(), &export, identity.sectors, &spec, &stop).unwrap();
    assert_eq!((report.reads, report.unanswered, report.failures()), (0, 16, 16), "{report:?}");
}

#[test]
fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
    lab::needs_root!();
    let near = Namespace::create("names").unwrap();
    let far = Namespace::create("names").unwrap();
    Veth::create(&near, "here0", &far, "there0", 1500).unwrap();
    let error = near.enter(|| Link::open("eth9")).unwrap().unwrap_err().to_string();
    assert!(error.contains("\"eth9\"") && error.contains("here0") && !error.contains("there0"), "{error}");
}
