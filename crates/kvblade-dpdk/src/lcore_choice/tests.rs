//! A made-up machine for what `/proc` and `/sys` tell.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use nix::sys::stat::{major, minor};
use tempfile::TempDir;

use super::interrupts::OnLcore;
use super::*;

struct Machine(TempDir);

impl Machine {
    /// `cpus` CPUs, all of them allowed, two threads a core: 0 and 1, 2 and 3, ...
    fn new(cpus: u32) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("sys/devices/system/cpu/online", &format!("0-{}\n", cpus - 1));
        machine.affinity(&format!("0-{}", cpus - 1));
        for cpu in 0..cpus {
            let first = cpu & !1;
            let list = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            machine.write(&list, &format!("{first}-{}\n", first + 1));
            machine.write(&format!("sys/devices/system/cpu/cpu{cpu}/node{}/x", cpu / 4), "");
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn affinity(&self, list: &str) {
        self.write(
            "proc/self/status",
            &format!("Name:\tkvblade\nCpus_allowed:\tf\nCpus_allowed_list:\t{list}\n"),
        );
    }

    fn isolate(&self, list: &str) {
        self.write("sys/devices/system/cpu/isolated", &format!("{list}\n"));
    }

    /// A NIC whose interrupts go to these CPUs; its interface is of a virtio device on a PCI function.
    fn nic(&self, name: &str, cpus: &[u32]) {
        for cpu in cpus {
            let number = 40 + cpu;
            self.write(&format!("sys/devices/pci0/0000:01:00.0/msi_irqs/{number}"), "msix\n");
            self.write(&format!("proc/irq/{number}/effective_affinity_list"), &format!("{cpu}\n"));
            self.write(&format!("proc/irq/{number}/smp_affinity_list"), "0-7\n");
        }
        self.write("sys/devices/pci0/0000:01:00.0/virtio0/vendor", "x");
        self.link("sys/devices/pci0/0000:01:00.0/virtio0", &format!("sys/class/net/{name}/device"));
    }

    fn link(&self, to: &str, at: &str) {
        let at = self.0.path().join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(self.0.path().join(to), at).unwrap();
    }

    fn choose(&self, served: &Served) -> Choice {
        choose(&Host::at_root(self.0.path()), served).unwrap()
    }

    #[track_caller]
    fn chooses(&self, cpu: u32, part: &str) {
        let served = Served { interfaces: vec!["eth1".into()], files: Vec::new() };
        let choice = self.choose(&served);
        assert_eq!(choice.cpu, cpu, "{choice:?}");
        assert!(choice.why.contains(part), "{choice:?}");
    }
}

#[test]
fn cpu_0_is_used_only_where_it_is_alone() {
    Machine::new(1).chooses(0, "only CPU");
    Machine::new(4).chooses(1, "not CPU 0");
    let machine = Machine::new(4);
    machine.affinity("0,3");
    machine.chooses(3, "not CPU 0");
    machine.affinity("0");
    machine.chooses(0, "only CPU that this process may use");
}

#[test]
fn an_isolated_cpu_comes_first() {
    let machine = Machine::new(8);
    machine.isolate("5-6");
    // Linux leaves isolated CPUs out of everybody's affinity.
    machine.affinity("0-4,7");
    machine.chooses(5, "isolated");
    // By its cpuset it may not use 5.
    machine.write("proc/self/cgroup", "0::/system.slice/kvblade.service\n");
    machine.write("sys/fs/cgroup/system.slice/cpuset.cpus.effective", "0-4,6-7\n");
    machine.chooses(6, "isolated");
    machine.isolate("");
    machine.write("sys/devices/system/cpu/nohz_full", "7\n");
    machine.chooses(7, "isolated");
}

#[test]
fn an_affinity_given_by_hand_is_kept_to() {
    let machine = Machine::new(8);
    machine.isolate("6");
    machine.affinity("2,4");
    machine.chooses(2, "not CPU 0");
    machine.affinity("4,6");
    machine.chooses(6, "isolated");
}

#[test]
fn a_cpu_that_serves_interrupts_is_avoided_and_its_sibling_too() {
    let machine = Machine::new(6);
    machine.nic("eth1", &[1, 2]);
    machine.chooses(4, "no interrupts of eth1, as CPUs 1-2 do, nor does the other thread");
    machine.affinity("0-3");
    machine.chooses(3, "no interrupts of eth1, as CPUs 1-2 do;");
    machine.affinity("0-1");
    machine.chooses(0, "no interrupts of eth1");
    machine.affinity("1-2");
    machine.chooses(1, "every CPU that this process may use serves interrupts of eth1");
}

#[test]
fn a_cpu_on_the_nics_node_is_better_than_another() {
    let machine = Machine::new(8);
    machine.nic("eth1", &[]);
    machine.write("sys/devices/pci0/0000:01:00.0/virtio0/numa_node", "1\n");
    machine.chooses(4, "not CPU 0");
    machine.write("sys/devices/pci0/0000:01:00.0/virtio0/numa_node", "-1\n");
    machine.chooses(1, "not CPU 0");
}

#[test]
fn a_files_disk_is_found_through_what_lies_on_it() {
    let machine = Machine::new(4);
    let file = machine.0.path().join("disk.img");
    fs::write(&file, "").unwrap();
    let device = fs::metadata(&file).unwrap().dev();
    // A logical volume on a partition of an NVMe drive with a line interrupt.
    machine.write("sys/devices/virtual/block/dm-0/size", "1");
    machine.link(
        "sys/devices/virtual/block/dm-0",
        &format!("sys/dev/block/{}:{}", major(device), minor(device)),
    );
    machine.write("sys/devices/pci0/0000:02:00.0/irq", "11\n");
    machine.write("sys/devices/pci0/0000:02:00.0/nvme/nvme0/nvme0n1/nvme0n1p1/size", "1");
    machine.link(
        "sys/devices/pci0/0000:02:00.0/nvme/nvme0/nvme0n1/nvme0n1p1",
        "sys/devices/virtual/block/dm-0/slaves/nvme0n1p1",
    );
    machine.write("proc/irq/11/smp_affinity_list", "1\n");
    let choice = machine.choose(&Served { interfaces: Vec::new(), files: vec![file.clone()] });
    assert_eq!(choice.cpu, 2, "{choice:?}");
    assert!(choice.why.contains(&format!("interrupts of {}, as CPUs 1 do", file.display())), "{choice:?}");
}

/// A machine with two CPUs whose disk, of a PCI device, has these interrupts: number, CPU, how often each CPU had it. And a
/// file on it.
fn with_disk(interrupts: &[(u32, u32, [u32; 2])]) -> (Machine, std::path::PathBuf) {
    let machine = Machine::new(2);
    let file = machine.0.path().join("disk.img");
    fs::write(&file, "").unwrap();
    let device = fs::metadata(&file).unwrap().dev();
    machine.write("sys/devices/system/cpu/online", "0-1\n");
    machine.write("sys/devices/pci0/0000:00:02.0/virtio1/block/vda/size", "1");
    machine.link(
        "sys/devices/pci0/0000:00:02.0/virtio1/block/vda",
        &format!("sys/dev/block/{}:{}", major(device), minor(device)),
    );
    let mut table = "           CPU0       CPU1\n".to_owned();
    for (number, cpu, [first, second]) in interrupts {
        machine.write(&format!("sys/devices/pci0/0000:00:02.0/msi_irqs/{number}"), "msix\n");
        machine.write(&format!("proc/irq/{number}/effective_affinity_list"), &format!("{cpu}\n"));
        table += &format!(" {number}:  {first}  {second} PCI-MSIX-0000:00:02.0 1-edge virtio1-req.0\n");
    }
    machine.write("proc/interrupts", &(table + "NMI:  5  5  Non-maskable interrupts\n"));
    (machine, file)
}

#[test]
fn an_interrupt_of_a_disk_on_an_lcores_cpu_is_found_if_it_can_be_elsewhere() {
    let found = |interrupts: &[_], lcores: &[u32]| {
        let (machine, file) = with_disk(interrupts);
        on_lcores(&Host::at_root(machine.0.path()), &file, lcores)
    };
    let one = [(35, 0, [0, 0]), (36, 1, [0, 139_702])];
    assert_eq!(found(&one, &[1]), [OnLcore { interrupt: 36, cpu: 1 }]);
    assert_eq!(found(&one, &[0]), [], "35 never comes");
    assert_eq!(found(&one, &[]), []);
    // A queue for each CPU.
    assert_eq!(found(&[(36, 0, [7, 0]), (37, 1, [0, 7])], &[1]), []);
    // Two queues, both on one CPU.
    let both = found(&[(36, 1, [0, 7]), (37, 1, [0, 7])], &[0, 1]);
    assert_eq!(both.iter().map(|found| found.interrupt).collect::<Vec<_>>(), [36, 37]);
}

#[test]
fn cpus_that_are_no_lcores_are_left_out() {
    let machine = Machine::new(4);
    machine.affinity("128-130");
    machine.write("sys/devices/system/cpu/online", "0-200\n");
    let error = choose(&Host::at_root(machine.0.path()), &Served::default()).unwrap_err();
    assert!(error.to_string().contains("128-130") && error.to_string().contains("below 128"), "{error}");
}

#[test]
fn this_machine_has_a_cpu_for_us() {
    let choice = choose(&Host::this(), &Served::default()).unwrap();
    assert!(!choice.why.is_empty(), "{choice:?}");
}
