//! Sets of EAL options: each starts a target that serves, or gets one sentence of ours, never EAL's usage text.

use aoe_initiator::ShelfSlot;
use nix::sys::signal::Signal;

use crate::lab::{Lab, find, refuses};

/// The memory of most sets: none of hugepages, which a machine may not have to spare.
const MEMORY: &str = "--no-huge -m 1024";

/// Sets beside the lab's `--no-pci` and its port.
const START: [&str; 9] = [
    "--no-huge --legacy-mem -m 1024",
    "--no-huge -m 1024 --iova-mode=va --no-shconf --no-telemetry",
    "--no-huge -m 1024 --match-allocations --huge-unlink=existing",
    "--no-huge -m 1024 --huge-unlink=never --proc-type=auto --main-lcore 0 -l 0",
    "--no-huge -m 1024 --huge-unlink --proc-type primary -n 4 -r 2",
    "--no-hug -m 1024 --base-virtaddr=0x200000000000 --force-max-simd-bitwidth=256",
    "--no-huge -m 1024 --telemetry --vfio-intr=msix -c 1",
    "--no-huge -m 1024 --mbuf-pool-ops-name=ring_mp_mc --log-level=pmd:6 --log-level lib.eal:3 --lcores 0",
    "--no-huge -m 1024 -d librte_net_null.so",
];

macro_rules! about_hugepages {
    ($option:literal) => {
        concat!(
            "EAL option ",
            $option,
            " is about hugepages, and --no-huge does without them: leave out one of the two"
        )
    };
}
/// Sets with what is said of them.
const REFUSED: [(&str, &str); 27] = [
    (
        "--no-huge",
        "EAL option --no-huge needs -m, the memory to take in place of hugepages, in MiB: for example -m 1024",
    ),
    (
        "--no-huge -m 1024 --iova-mode=pa",
        "EAL options --no-huge and --iova-mode=pa exclude each other: memory outside of hugepages has no physical \
         address that stays the same; leave out one of the two",
    ),
    ("--no-huge -m 1024 --in-memory", about_hugepages!("--in-memory")),
    ("--no-huge -m 1024 --single-file-segments", about_hugepages!("--single-file-segments")),
    ("--no-huge --socket-mem=1024", about_hugepages!("--socket-mem=1024")),
    ("--no-huge -m 1024 --huge-worker-stack", about_hugepages!("--huge-worker-stack")),
    (
        "-m 64 --socket-mem 64",
        "EAL options -m and --socket-mem=64 exclude each other: both say how much memory to reserve; leave out one of \
         the two",
    ),
    (
        "-a 0000:00:00.0 -b 0000:00:00.1",
        "EAL options --allow=0000:00:00.0 and --block=0000:00:00.1 exclude each other: the first names the only devices \
         to take, the second the only ones to leave; leave out one of the two",
    ),
    (
        "--legacy-mem --in-memory",
        "EAL options --legacy-mem and --in-memory exclude each other: the first keeps files in a hugetlbfs, the second \
         makes none; leave out one of the two",
    ),
    (
        "--in-memory --huge-unlink=never",
        "EAL options --in-memory and --huge-unlink=never exclude each other: the first makes no file that could be kept; \
         leave out one of the two",
    ),
    (
        "--single-file-segments --huge-unlink",
        "EAL options --single-file-segments and --huge-unlink=always exclude each other: EAL can't unlink a file that it is \
         still to enlarge; leave out one of the two",
    ),
    ("--iova-mode=xx", "EAL option --iova-mode has 'xx': it takes pa or va"),
    ("--huge-unlink=soon", "EAL option --huge-unlink has 'soon': it takes existing, always or never"),
    (
        "--proc-type=secondary",
        "EAL option --proc-type has 'secondary': it takes primary or auto: the program shares its memory with no other \
         process",
    ),
    ("--vfio-intr=x", "EAL option --vfio-intr has 'x': it takes legacy, msi or msix"),
    ("--file-prefix a%b", "EAL option --file-prefix has 'a%b': it takes a name without '%'"),
    (
        "--base-virtaddr=zero",
        "EAL option --base-virtaddr has 'zero': it takes an address other than 0, such as 0x200000000000",
    ),
    (
        "--force-max-simd-bitwidth=7",
        "EAL option --force-max-simd-bitwidth has '7': it takes 0 for no limit, or a power of two from 64 to 32768",
    ),
    ("-n 0", "EAL option -n has '0': it takes a number from 1 to 2147483647"),
    ("-r 17", "EAL option -r has '17': it takes a number from 1 to 16"),
    ("-m 1G", "EAL option -m has '1G': it takes a number from 0 to 2147483647"),
    ("-l 0 -c 1", "-c chooses the lcores a second time: give one of -l, -c and --lcores, once"),
    (
        "--lcores 0@1",
        "--lcores '0@1' maps lcores onto other CPUs, which SPDK's reactors cannot do: give a plain list such as 0-3,8",
    ),
    ("-l 0 --main-lcore 1", "--main-lcore 1 is none of the lcores given: it must be one of 0"),
    ("--no-h", "'--no-h' is ambiguous among EAL's options: it could be --no-hpet or --no-huge"),
    ("--vdev", "EAL option '--vdev' lacks its value: put the value after it"),
    ("-x", "'-x' is no EAL option: the options of kvblade-dpdk itself stand after '--'"),
];

const EXPORT: [&str; 2] = ["-e", "1.1=malloc:8M"];

/// The set in words, after `--no-pci` and the lab's port.
fn words(set: &str) -> Vec<String> {
    let vdev = Lab::vdev(0);
    ["--no-pci", &vdev].into_iter().chain(set.split(' ')).map(str::to_owned).collect()
}

#[test]
fn these_sets_start_a_target_that_serves() {
    lab::needs_root!();
    for set in START {
        let lab = Lab::new(1500);
        let target = lab.start_command(lab.command(&words(set), &EXPORT));
        find(&mut lab.initiator(0), ShelfSlot::new(1, 1));
        let (status, log) = target.end(Signal::SIGTERM);
        assert_eq!(status.code(), Some(0), "{set}: {log}");
    }
}

#[test]
fn these_sets_are_refused_in_one_sentence() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    for (set, sentence) in REFUSED {
        refuses(&lab, lab.command(&words(set), &EXPORT), 2, true, sentence);
    }
}

#[test]
fn an_option_of_another_dpdk_is_refused_by_name() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let words = words(&format!("{MEMORY} --nosuch-option"));
    let output = lab.command(&words, &EXPORT).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), log.lines().count()), (Some(2), 1), "{log}");
    assert!(log.starts_with("kvblade-dpdk: '--nosuch-option' is no EAL option of DPDK 2"), "{log}");
    assert_eq!(output.stdout, b"", "EAL's usage text is not shown");
}
