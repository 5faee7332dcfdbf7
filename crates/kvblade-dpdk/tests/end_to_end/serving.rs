//! The promises to initiators of a served disk.

use std::fs;
use std::sync::atomic::AtomicBool;

use aoe_initiator::initiator::{Export, Initiator};
use aoe_initiator::wire::{
    AtaRequest, Body, ConfigCommand, Envelope, Mac, Reply, SECTOR, ata, config_frame, opcode,
};
use aoe_initiator::{Error, ShelfSlot, load};

use crate::lab::{Lab, QUIET, SECTORS, answer, find, hear, random_load};

const MALLOC: ShelfSlot = ShelfSlot::new(1, 1);
const FILE: ShelfSlot = ShelfSlot::new(1, 2);

fn pattern(seed: usize, sectors: usize) -> Vec<u8> {
    let bytes = (0..u8::MAX).cycle().skip(seed);
    (0..sectors).flat_map(|sector| bytes.clone().skip(sector * 7).take(SECTOR)).collect()
}

/// Status and error register, and the data, of the answer to an ATA request.
fn registers(
    initiator: &mut Initiator,
    export: &Export,
    request: &AtaRequest,
    data: &[u8],
) -> (u8, u8, Vec<u8>) {
    let frame = request.frame(&initiator.envelope(export), data);
    let frame = answer(initiator, &frame);
    let reply = Reply::parse(&frame).unwrap();
    let Body::Ata(ata) = reply.body else { panic!("{reply:?}") };
    assert!(!reply.is_error(), "{reply:?}");
    (ata.status, ata.error, ata.data.to_vec())
}

fn every_command(initiator: &mut Initiator, export: &Export, sectors: u8) {
    let identity = initiator.identify(export).unwrap();
    assert_eq!((identity.lba48, identity.sectors, u64::from(identity.sectors28)), (true, SECTORS, SECTORS));
    assert!(identity.flush && identity.flush_ext, "{identity:?}");
    assert_eq!(
        (identity.serial, identity.model.as_str()),
        (format!("kvblade-{}", export.address), "kvblade-dpdk")
    );

    // Whole messages and a part, up to the disk's end; then with short addresses across what was written.
    let data = pattern(1, 40);
    let lba = SECTORS - 40;
    initiator.write(export, lba, &data).unwrap();
    let mut read = vec![0; data.len()];
    initiator.read(export, lba, &mut read).unwrap();
    assert!(read == data);
    let (lba28, some) = (u32::try_from(lba + 1).unwrap(), pattern(2, 2));
    initiator.write28(export, lba28, &some).unwrap();
    let mut read = vec![0; 2 * SECTOR];
    initiator.read28(export, lba28, &mut read).unwrap();
    assert!(read == some);
    initiator.read(export, lba + 1, &mut read).unwrap();
    assert!(read == some);
    initiator.write28(export, lba28, &data[SECTOR..3 * SECTOR]).unwrap();

    initiator.flush(export).unwrap();
    initiator.flush_ext(export).unwrap();
    assert_eq!(initiator.check_power_mode(export).unwrap(), 0xff);

    // The answer itself, rules and registers, and what a wrong request gets.
    for (request, data, expected, length) in [
        (AtaRequest::identify(), &[][..], (ata::DRDY, 0), SECTOR),
        (AtaRequest::read(0, 1), &[], (ata::DRDY, 0), SECTOR),
        (AtaRequest::read28(0, sectors), &[], (ata::DRDY, 0), usize::from(sectors) * SECTOR),
        (AtaRequest::write(3, 1), &pattern(3, 1), (ata::DRDY, 0), 24),
        (AtaRequest::bare(opcode::FLUSH), &[], (ata::DRDY, 0), 24),
        (AtaRequest::bare(opcode::CHECK_POWER_MODE), &[], (ata::DRDY, 0), 24),
        (AtaRequest::read(0, sectors + 1), &[], (ata::DRDY | ata::ERR, ata::ABRT), 24),
        (AtaRequest::read(SECTORS, 1), &[], (ata::DRDY | ata::ERR, ata::IDNF), 24),
        (AtaRequest::read(SECTORS - 1, 2), &[], (ata::DRDY | ata::ERR, ata::IDNF), 24),
        (AtaRequest::read((1 << 48) - 1, 2), &[], (ata::DRDY | ata::ERR, ata::IDNF), 24),
        (AtaRequest::read(0, 0), &[], (ata::DRDY | ata::ERR, ata::ABRT), 24),
        (AtaRequest::write(3, 2), &pattern(9, 1), (ata::DRDY | ata::ERR, ata::ABRT), 24),
        (AtaRequest::bare(0xb0), &[], (ata::DRDY | ata::ERR, ata::ABRT), 24),
    ] {
        let (status, error, got) = registers(initiator, export, &request, data);
        assert_eq!((status, error), expected, "{request}");
        assert_eq!(got.len(), length, "{request}");
    }
    initiator.read(export, 3, &mut read[..SECTOR]).unwrap();
    assert!(read[..SECTOR] == pattern(3, 1), "a write whose data was short changed the disk");

    let test = config_frame(&initiator.envelope(export), ConfigCommand::Test, b"");
    let frame = answer(initiator, &test);
    let Body::Config(config) = Reply::parse(&frame).unwrap().body else { panic!("{frame:?}") };
    assert_eq!((config.string.len(), config.sector_count), (0, sectors));
}

fn serves_with_an_mtu(mtu: u16, sectors: u8) {
    let lab = Lab::new(mtu);
    let file = lab.file("disk");
    let mut initiator = lab.initiator(0);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", &format!("1.2=aio:{file}")]);
    for heard in hear(&mut initiator, &[MALLOC, FILE]) {
        assert_eq!((heard.sector_count, heard.config.len()), (sectors, 0), "{heard:?}");
        assert!(heard.buffer_count >= 2, "{heard:?}");
    }
    for address in [MALLOC, FILE] {
        let export = find(&mut initiator, address);
        assert_eq!(export.sector_count, sectors);
        every_command(&mut initiator, &export, sectors);
    }
    let on_disk = fs::read(&file).unwrap();
    let end = on_disk.len() - 40 * SECTOR;
    assert!(on_disk[end..] == pattern(1, 40), "what was acknowledged and flushed is in the file");
    target.stop();
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

#[test]
fn a_malloc_disk_and_a_file_are_advertised_and_take_every_command_with_an_mtu_of_1500() {
    lab::needs_root!();
    serves_with_an_mtu(1500, 2);
}

#[test]
fn a_malloc_disk_and_a_file_are_advertised_and_take_every_command_with_an_mtu_of_9000() {
    lab::needs_root!();
    serves_with_an_mtu(9000, 16);
}

#[test]
fn a_wildcard_request_is_answered_once_by_every_export_it_means() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&[
        "-e",
        "1.1=malloc:1M",
        "-e",
        "1.2=malloc:1M",
        "-e",
        "7.1=malloc:1M",
        "-e",
        "65534.254=malloc:1M",
    ]);
    let mut initiator = lab.initiator(0);
    let last = ShelfSlot::new(65534, 254);
    find(&mut initiator, last);
    let every = [MALLOC, FILE, ShelfSlot::new(7, 1), last];
    for (asked, expected) in [
        (ShelfSlot::ANY, &every[..]),
        (ShelfSlot::new(1, 0xff), &every[..2]),
        (ShelfSlot::new(0xffff, 1), &[MALLOC, every[2]]),
        (ShelfSlot::new(7, 1), &every[2..3]),
        (ShelfSlot::new(2, 0xff), &[]),
    ] {
        let found = initiator.discover(asked, 5 * QUIET).unwrap();
        let addresses: Vec<ShelfSlot> = found.iter().map(|export| export.address).collect();
        assert_eq!(addresses, expected, "{asked}");
        assert!(found.iter().all(|export| export.breaches.is_empty()), "{found:?}");
    }

    // As WinAoE looks for disks.
    let tag = initiator.next_tag();
    let envelope =
        Envelope { dst: Mac::BROADCAST, src: initiator.link().mac(), address: ShelfSlot::ANY, tag };
    let frames = initiator.exchange_raw(&AtaRequest::identify().frame(&envelope, &[]), 5 * QUIET).unwrap();
    let mut answered: Vec<ShelfSlot> = frames
        .iter()
        .map(|frame| {
            let reply = Reply::parse(frame).unwrap();
            assert_eq!((reply.breaches().len(), frame.len(), reply.tag), (0, 36 + SECTOR, tag), "{reply:?}");
            reply.address
        })
        .collect();
    answered.sort();
    assert_eq!(answered, every);
    target.stop();
}

#[test]
fn a_read_only_export_refuses_writes_and_serves_reads() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    fs::write(&file, pattern(5, 64)).unwrap();
    let target = lab.start(&["-e", &format!("1.2=aio:{file},ro"), "-e", &format!("1.3=aio:{file},ro")]);
    let mut initiator = lab.initiator(0);
    for address in [FILE, ShelfSlot::new(1, 3)] {
        let export = find(&mut initiator, address);
        let error = initiator.write(&export, 0, &[0xee; SECTOR]).unwrap_err();
        assert!(matches!(error, Error::Ata { status: 0x41, error: ata::ABRT, .. }), "{error}");
        let mut read = vec![0; 2 * SECTOR];
        initiator.read(&export, 0, &mut read).unwrap();
        assert!(read == pattern(5, 64)[..2 * SECTOR]);
    }
    assert!(fs::read(&file).unwrap() == pattern(5, 64));
    target.stop();
}

#[test]
fn random_load_on_two_exports_at_once_reads_what_was_written_and_leaves_it_in_the_file() {
    lab::needs_root!();
    for (mtu, sectors) in [(9000, 16), (1500, 2)] {
        let lab = Lab::new(mtu);
        let file = lab.file("disk");
        let target = lab.start(&["-e", "1.1=malloc:8M", "-e", &format!("1.2=aio:{file}")]);
        let mut initiator = lab.initiator(0);
        let spec = random_load(sectors);
        let stop = AtomicBool::new(false);
        let exports = [MALLOC, FILE].map(|address| find(&mut initiator, address));
        let [_, in_file] = std::thread::scope(|scope| {
            let loads = exports.each_ref().map(|export| {
                let (link, lab, stop) = (lab.link(0), &lab, &stop);
                scope.spawn(move || {
                    let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
                    let report = load::run_verified(link, export, SECTORS, &spec, stop, &mut ledger).unwrap();
                    assert_eq!(report.failures(), 0, "{report:?}");
                    assert!(
                        report.verified.unwrap().writes_acknowledged > 0 && report.reads > 0,
                        "{report:?}"
                    );
                    // A new link, without queued answers to the load.
                    assert_eq!(load::sweep(lab.link(0), export, &ledger, &spec).unwrap(), ledger.written());
                    ledger
                })
            });
            loads.map(|load| load.join().unwrap())
        });
        target.stop();
        let on_disk = fs::read(&file).unwrap();
        let (mut lba, mut checked) = (0, 0);
        while let Some(range) = in_file.next_written(lba, 64) {
            let [start, end] = [range.start, range.end].map(|lba| usize::try_from(lba).unwrap() * SECTOR);
            checked += in_file.check(range.start, &on_disk[start..end]).unwrap().sectors;
            lba = range.end;
        }
        assert_eq!(checked, in_file.written());
    }
}
