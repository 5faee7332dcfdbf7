//! The first use, in one short line; and what it says of a configuration without serving it.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::Command;

use aoe_initiator::{ShelfSlot, load};
use lab::Namespace;
use nix::fcntl::{Flock, FlockArg};

use crate::lab::{Lab, PROGRAM, SECTORS, find, random_load, refuses};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const LOCK: &str = "/run/lock/kvblade-dpdk-hugepages";

/// The program with these words and nothing else but where this test's own files are, in the target's namespace, with a
/// hugetlbfs of its own.
fn short_line(lab: &Lab, words: &[&str]) -> Command {
    let mut command = lab.far.command("sh");
    command.args(["-c", "mount -t hugetlbfs -o pagesize=2M none /mnt && exec \"$@\"", "sh", PROGRAM]);
    command.arg("--rpc-socket").arg(lab.socket()).arg("--state-dir").arg(lab.state_dir());
    command.args(words).env_remove("RUST_LOG").current_dir(lab.directory.path());
    command
}

/// Gives back the hugepages that a program has reserved, as its log says.
struct Reserved(u64);

impl Reserved {
    fn by(log: &str) -> Self {
        let lines = log.lines().filter(|line| line.contains("hugepages reserved"));
        Self(
            lines
                .filter_map(|line| line.split_once("pages=")?.1.split(' ').next()?.parse::<u64>().ok())
                .sum(),
        )
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let lock = File::options().create(true).truncate(false).write(true).open(LOCK).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let path = format!("{POOL}/nr_hugepages");
        let now: u64 = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
        fs::write(path, now.saturating_sub(self.0).to_string()).unwrap();
    }
}

fn serves(mtu: u16, words: &[&str]) {
    let lab = Lab::new(mtu);
    let file = lab.file("disk.img");
    let words: Vec<String> = words.iter().map(|word| word.replace("FILE", &file)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let target = lab.start_command(short_line(&lab, &words));
    let log = target.log();
    let _reserved = Reserved::by(&log);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    // As many sectors as the interface's MTU has room for, written and read back.
    let sectors = u8::try_from((mtu - 36) / 512).unwrap().min(16);
    assert_eq!(export.sector_count, sectors);
    let spec = random_load(sectors);
    let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let report = load::run_verified(lab.link(0), &export, SECTORS, &spec, &stop, &mut ledger).unwrap();
    assert_eq!(report.failures(), 0, "{report:?}");
    assert!(report.verified.unwrap().writes_acknowledged > 0);
    let line = log.lines().find(|line| line.contains("this CPU polls"));
    assert_eq!(line.is_none(), words.contains(&"-l"), "{log}");
    assert!(
        line.is_none_or(|line| line.contains("lcore=") && line.contains("-l chooses others")),
        "{line:?}"
    );
    assert!(log.contains("name=net_af_packet_t0"), "{log}");
    target.stop();
}

#[test]
fn one_short_line_serves_a_file_on_an_interface() {
    lab::needs_root!();
    serves(1500, &["--hugepages", "auto", "--interface", "t0", "--export", "1.1=FILE"]);
}

#[test]
fn frames_of_9000_bytes_and_more_are_served_as_they_are() {
    lab::needs_root!();
    serves(9000, &["--hugepages", "auto", "-i", "t0", "-e", "1.1=FILE"]);
    serves(16_000, &["--hugepages", "auto", "-i", "t0", "-e", "1.1=FILE"]);
}

#[test]
fn several_lcores_share_an_interface() {
    lab::needs_root!();
    serves(9000, &["-l", "0-1", "--hugepages", "auto", "-i", "t0", "-e", "1.1=FILE"]);
}

#[test]
fn vblades_line_serves_too() {
    lab::needs_root!();
    serves(1500, &["--hugepages", "auto", "1", "1", "t0", "FILE"]);
}

#[test]
fn an_interface_that_is_not_there_is_named_beside_those_that_are() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let sentence = "--interface 'nosuch': there is no such network interface here: there are t0, t1";
    refuses(&lab, short_line(&lab, &["-i", "t0", "-i", "nosuch", "-e", "1.1=malloc:1M"]), 1, true, sentence);
    let sentence =
        "--interface 't1': --vdev=net_af_packet0,iface=t1 takes it already: leave out one of the two";
    let words = ["-i", "t1", "--vdev=net_af_packet0,iface=t1", "-e", "1.1=malloc:1M"];
    refuses(&lab, short_line(&lab, &words), 2, true, sentence);
}

/// Exit code, stdout and stderr of `--check` and `--reserve-hugepages`.
fn says(far: &Namespace, words: &[&str]) -> (Option<i32>, String, String) {
    let output = far.command(PROGRAM).args(words).env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_configuration_is_checked_without_serving_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk.img");
    let settings = lab.path("kvblade.toml");
    let path = settings.to_str().unwrap();
    let write = |text: &str| fs::write(&settings, text).unwrap();
    let export = format!("[[export]]\nshelf = 1\nslot = 1\npath = '{file}'\n");
    let right = format!("interfaces = ['t0']\nlcores = '0-1'\nhugepages = 'auto'\n{export}");

    write(&right);
    let (code, said, log) = says(&lab.far, &["--settings", path, "--check"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains("1 exports") && said.contains("interfaces t0, lcores 0-1"), "{said}");

    for (text, exit_code, part) in [
        (right.replace("'t0'", "'t9'"), 1, "--interface 't9'"),
        (right.replace("disk.img", "no.img"), 1, "no.img"),
        (right.replace("'0-1'", "'0,900'"), 1, "lcore 900"),
        (right.replace("slot = 1", "slot = 255"), 2, "kvblade.toml:5: shelf and slot: "),
        (right.replace("lcores", "cpus"), 2, "kvblade.toml:2: "),
        (format!("{right}{export}"), 2, "both serve 1.1"),
    ] {
        write(&text);
        let (code, said, log) = says(&lab.far, &["--settings", path, "--check"]);
        assert_eq!((code, said.as_str()), (Some(exit_code), ""), "{text}: {log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("kvblade-dpdk: ") && last.contains(part), "{text}: {log}");
    }

    // Beside a target that has all of it.
    write(&right);
    let target = lab.start(&["-e", &format!("1.1={file}")]);
    let socket = lab.socket();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let (code, _, log) =
        says(&lab.far, &["--settings", path, "--rpc-socket", socket.to_str().unwrap(), "--check"]);
    assert_eq!(code, Some(0), "{log}");
    target.stop();
}

#[test]
fn hugepages_are_reserved_as_configured() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let settings: PathBuf = lab.path("kvblade.toml");
    let path = settings.to_str().unwrap();
    let figure =
        |name: &str| -> u64 { fs::read_to_string(format!("{POOL}/{name}")).unwrap().trim().parse().unwrap() };
    fs::write(&settings, "hugepages = 'none'\n").unwrap();
    let (code, _, log) = says(&lab.far, &["--settings", path, "--reserve-hugepages"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("reserved"), "{log}");

    // Others may free some of theirs at the same time, so that none is missing.
    let reserved = (0..5).find_map(|_| {
        fs::write(&settings, format!("hugepages = '{}M'\n", 2 * figure("free_hugepages") + 32)).unwrap();
        let (code, _, log) = says(&lab.far, &["--settings", path, "--reserve-hugepages"]);
        assert_eq!(code, Some(0), "{log}");
        Some(Reserved::by(&log)).filter(|reserved| reserved.0 > 0)
    });
    let reserved = reserved.expect("pages were missing");
    assert!(figure("nr_hugepages") >= reserved.0);

    let (code, _, log) = says(&lab.far, &["--hugepages", "9000G", "--reserve-hugepages"]);
    assert_eq!(code, Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("9216000 MiB are to be free") && last.contains("the kernel can give none"),
        "{log}"
    );
}
