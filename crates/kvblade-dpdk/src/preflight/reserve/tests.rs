//! A made-up machine, whose kernel gives as many pages as it is told to.

use tempfile::TempDir;

use super::*;
use crate::args::command_line;

struct Machine(TempDir);

impl Machine {
    fn new(reserved: u64, free: u64) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write(&format!("{POOL}/nr_hugepages"), &reserved.to_string());
        machine.write(&format!("{POOL}/free_hugepages"), &free.to_string());
        machine.write("/proc/mounts", "none /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n");
        machine.write("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  102400 kB\n");
        machine.write("/proc/sys/vm/compact_memory", "");
        machine.write(LOCK, "");
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn host(&self) -> Host {
        Host::at_root(self.0.path())
    }

    fn reserved(&self) -> u64 {
        figure(&self.host(), "nr_hugepages").unwrap()
    }

    fn see_to(&self, line: &str, needed: u64) -> Result<(), LaunchError> {
        see_to(&command_line(line), needed, &self.host())
    }
}

#[test]
fn it_is_none_auto_or_a_size() {
    for (text, meant) in [
        ("none", Hugepages::None),
        ("auto", Hugepages::Auto),
        ("2M", Hugepages::Size(2 << 20)),
        ("1G", Hugepages::Size(1 << 30)),
    ] {
        assert_eq!(Hugepages::parse(text), Ok(meant));
    }
    for text in ["", "0", "1M", "Auto", "lots", "-1G", "1.5G"] {
        let refused = Hugepages::parse(text).expect_err(text);
        assert!(refused.contains(&format!("'{text}'")) && refused.contains("none, auto"), "{refused}");
    }
}

#[test]
fn what_is_missing_is_added_to_what_there_is() {
    for (line, pages) in [
        ("", 300),
        ("--hugepages none", 300),
        // 100 of 300 are free, and 150 needed.
        ("--hugepages auto", 350),
        ("--hugepages 200M", 300),
        ("--hugepages 202M", 301),
        ("--hugepages 201M", 301),
        ("--no-huge -m 1024 --hugepages auto", 300),
    ] {
        let machine = Machine::new(300, 100);
        assert_eq!(machine.see_to(line, 300 << 20), Ok(()), "{line}");
        assert_eq!(machine.reserved(), pages, "{line}");
    }
}

#[test]
fn too_few_pages_are_noticed() {
    let machine = Machine::new(300, 100);
    let shortage = |line: &str, needed: u64| shortage(&command_line(line), needed, &machine.host());
    assert_eq!(shortage("", 200 << 20), None);
    assert_eq!(shortage("", (200 << 20) + 1), Some(200 << 20));
    assert_eq!(shortage("--no-huge -m 1024", 300 << 20), None);
}

#[test]
fn pages_promised_to_others_are_not_free_and_larger_ones_are() {
    let machine = Machine::new(300, 100);
    machine.write(&format!("{POOL}/resv_hugepages"), "40");
    assert_eq!(machine.see_to("--hugepages 200M", 0), Ok(()));
    assert_eq!(machine.reserved(), 340);
    let machine = Machine::new(300, 100);
    machine.write("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "1");
    machine.write(
        "/proc/mounts",
        "none /a hugetlbfs rw,pagesize=2M 0 0\nnone /b hugetlbfs rw,pagesize=1024M 0 0\n",
    );
    assert_eq!(machine.see_to("--hugepages 1G", 0), Ok(()));
    assert_eq!(machine.reserved(), 300);
}

#[test]
fn what_the_kernel_does_not_give_is_one_sentence_with_the_figures() {
    let machine = Machine::new(300, 100);
    let stingy = |path: &Path, pages: u64| fs::write(path, pages.min(320).to_string());
    let error = reserve(&machine.host(), 300 << 20, stingy).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    for part in
        ["300 MiB", "200 MiB are", "of 50 more the kernel can give 20", "100 MiB of memory", "hugepages=350"]
    {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    assert_eq!(machine.reserved(), 300, "as it was");
    assert_eq!(host_text(&machine, "/proc/sys/vm/compact_memory"), "1");
    // What can't be had is not even tried.
    let machine = Machine::new(300, 100);
    let error = machine.see_to("--hugepages 1G", 0).unwrap_err();
    assert!(error.to_string().contains("of 412 more the kernel can give none of them"), "{error}");
    assert_eq!(machine.reserved(), 300);
    assert_eq!(host_text(&machine, "/proc/sys/vm/compact_memory"), "");
    // Some kernels give them once memory is compacted.
    let machine = Machine::new(300, 100);
    let compacted = || host_text(&machine, "/proc/sys/vm/compact_memory") == "1";
    let late = |path: &Path, pages: u64| {
        let given = if compacted() { pages } else { pages.min(320) };
        fs::write(path, given.to_string())
    };
    assert_eq!(reserve(&machine.host(), 300 << 20, late), Ok(()));
    assert_eq!(machine.reserved(), 350);
}

fn host_text(machine: &Machine, path: &str) -> String {
    machine.host().read(path).unwrap()
}

#[test]
fn a_kernel_without_hugepages_and_a_lock_that_cannot_be_are_named() {
    let machine = Machine::new(0, 0);
    fs::remove_dir_all(machine.0.path().join("sys")).unwrap();
    let error = machine.see_to("--hugepages auto", 1 << 30).unwrap_err();
    assert!(error.to_string().contains("nr_hugepages can't be read"), "{error}");
    let machine = Machine::new(0, 0);
    fs::remove_dir_all(machine.0.path().join("run")).unwrap();
    let error = machine.see_to("--hugepages auto", 1 << 30).unwrap_err();
    assert!(error.to_string().contains("kvblade-dpdk-hugepages"), "{error}");
}

#[test]
fn it_waits_for_others_that_change_the_number() {
    let machine = Machine::new(300, 100);
    let held = lock(&machine.host()).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| machine.see_to("--hugepages auto", 300 << 20));
        // Another one adds pages meanwhile.
        machine.write(&format!("{POOL}/nr_hugepages"), "400");
        machine.write(&format!("{POOL}/free_hugepages"), "200");
        drop(held);
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
    assert_eq!(machine.reserved(), 400, "nothing is missing any more");
}

#[test]
fn what_is_needed_grows_with_ports_lcores_mbufs_and_memory() {
    let needed = |line: &str, frames: &[u32]| {
        let command = command_line(line);
        needed(&command, &LaunchConfig::build(&command.exports, None).unwrap(), frames)
    };
    let idle = needed("", &[]);
    let one = needed("--interface eth1", &[9216]) - idle;
    assert!((40 << 20..80 << 20).contains(&one), "{one}");
    assert_eq!(needed("--interface eth1 --interface eth2", &[9216, 9216]) - idle, 2 * one);
    assert_eq!(needed("-l 1-2 --interface eth1", &[9216]) - needed("-l 1-2", &[]), 2 * one);
    assert!(needed("-l 1-2", &[]) > idle);
    assert_eq!(needed("--vdev=net_af_packet0,iface=eth1,framesz=9216", &[]) - idle, one);
    assert_eq!(needed("--vdev=net_af_packet_eth1,iface=eth1,framesz=9216 -l 1", &[]) - idle, one);
    assert_eq!(needed("-a 0000:03:00.0", &[]) - idle, one);
    assert_eq!(needed("-a 01:00.0 -e 1.1=nvme:0000:01:00.0", &[]), idle);
    assert_eq!(needed("-e 1.1=malloc:64M", &[]) - idle, 64 << 20);
    assert_eq!(needed("-m 4096", &[]), 4096 << 20);
}
