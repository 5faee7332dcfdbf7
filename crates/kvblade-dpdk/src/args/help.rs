//! The text of `--help`.

use control::ExportOptions;
use control::schema::{Fields, Kind};

pub(super) const ABOUT: &str =
    "Serves block devices over ATA over Ethernet, polling DPDK ports and SPDK bdevs";

pub(super) const USAGE: &str = "kvblade-dpdk [OPTIONS]\n       kvblade-dpdk [EAL OPTIONS] -- [OPTIONS]\n       kvblade-dpdk SHELF SLOT INTERFACE PATH";

pub(super) const LONG_ABOUT: &str = "\
Serves block devices over ATA over Ethernet (AoE), polling DPDK ports and SPDK bdevs.

A file is served on a Linux interface with --interface and --export; all else has a default. Without -l one lcore \
polls, on a CPU that the program chooses and names in its log: an isolated one, else one that serves no interrupts of \
what is served and is not CPU 0.

Options of DPDK's EAL are passed on unchanged: -l LIST for the lcores that poll (one queue of every port each), -a \
PCI-ADDRESS for the NICs and drives to use, --vdev for ports without hardware, -m MB, --file-prefix, --no-pci and so on; \
lcores cannot be mapped onto other CPUs, and no option may hold white space. A '--' after them is needed only for -c, -r \
and --log-level, which EAL has too: before it they are EAL's. Every option can also stand in a file (--settings).";

pub(super) const INTERFACE: &str = "\
Serve on this Linux interface, as it is; may be given several times.

It gets a port of DPDK's af_packet PMD, called net_af_packet_NAME, whose rings take the largest frames of the \
interface's MTU: set the MTU first (ip link set NAME mtu 9000), on every switch and initiator too. The port has a queue pair for \
each lcore. Other programs can use the interface meanwhile. PCI devices are not used then, except for drives that \
exports and --config name and devices of -a.";

pub(super) const SETTINGS: &str = "\
Read options from a TOML file. The command line takes precedence: a value replaces the value of the file; exports, \
interfaces and EAL options replace all of those in the file (-l replaces only 'lcores').

The keys have the names of the options: interfaces, lcores, pci-devices, eal-options, hugepages, config, rpc-socket, \
state-dir, mtu, mbufs, io-timeout, spread, idle, payload-alignment, log-level, log-format and log-target; each export is an \
[[export]] with shelf, slot, path or bdev, port, read-only and the options of --export. On SIGHUP the file is read again: exports and log-level are changed, \
and the log names the changes that need a restart.";

pub(super) const CHECK: &str = "\
Report whether all of this can be served, and exit: with 0 if it can, 1 if this machine, a file or --config does not \
allow it, 2 if the command line or --settings is wrong.

It can run beside a target: resources of a running target (the socket, the state directory, hugepages) are not checked.";

pub(super) const HUGEPAGES: &str = "\
Treatment of hugepages of 2 MiB that are missing at the start.

  none   nothing: the operator reserves them
  auto   reserve hugepages until about as much memory is free as this configuration needs
  SIZE   reserve hugepages until SIZE is free, such as 1G

The kernel's nr_hugepages is raised by the missing number, and stays so when the program has ended. If the kernel can't \
reserve them, the program does not start. EAL's option -m decides how much of the memory is used.";

pub(super) const RESERVE_HUGEPAGES: &str = "\
Reserve hugepages by --hugepages, and exit: with 0 if they are free, or none is to be reserved. For a step before a \
service.";

pub(super) const EXPORT_FORM: &str = "SHELF.SLOT[@PORT]=BDEV[,option...]";

/// `--export`, with the options as [`control::options`] defines them.
pub(super) fn export() -> String {
    let mut options = String::new();
    for option in ExportOptions::fields() {
        let default = option.default().map_or_else(String::new, |default| format!(" [default: {default}]"));
        let line = match option.kind() {
            Kind::Choice(choices) => {
                let forms = choices
                    .iter()
                    .map(|choice| (format!("{}={}", option.word(), choice.word), &choice.meaning));
                let summary = option.summary().to_lowercase();
                forms
                    .map(|(form, meaning)| {
                        format!("  {form:<26} {summary}: {}\n", meaning.trim_end_matches('.'))
                    })
                    .collect()
            }
            _ => format!("  {:<26} {}{default}\n", option.text_form(), option.summary()),
        };
        options.push_str(&line);
    }
    format!("{EXPORT}{options}{EXPORT_END}")
}

const EXPORT: &str = "\
Serve a file, block device or BDEV as AoE device eSHELF.SLOT; may be given several times.

SHELF is 0 to 65534 and SLOT 0 to 254, in decimal. (Linux ignores shelf 4095.)
PORT is a DPDK port number, a device name (net_af_packet0), the PCI address of a NIC or the Linux interface \
behind a port; without it the export is served on all ports.
BDEV is one of
  /PATH or ./PATH            a regular file or block device
  malloc:SIZE                memory, lost at exit; each export has its own
  file:PATH or aio:PATH      the same, of any path
  spdk-aio:PATH              the same under SPDK's own bdev, by Linux's aio
  nvme:PCI-ADDRESS[nNSID]    a namespace (1 if not given) of a drive bound to vfio-pci or uio_pci_generic
  rbd:POOL[/NAMESPACE]/IMAGE  an image of a Ceph cluster, with its exclusive lock; in programs built with Ceph
  NAME or bdev:NAME          a bdev that --config defines
SIZE is a positive multiple of 512 bytes; K, M, G and T stand for powers of 1024.
A comma inside PATH, NAME or TEXT is written twice (file:/a,,b); an '=' needs nothing.

Options, each once:
";

const EXPORT_END: &str = "  sync=group|each|none       with a file or block device: writes become durable by one sync for all that completed before it, \
each by itself, or by a flush only [default: each where the disk has no volatile cache or takes FUA, else group; none with \
cache=write-back]
  buffered, direct           with a file or block device: through the page cache, or past it [default: buffered for a file that \
is only read, else direct]
  user=ID, conf=PATH         with rbd: the Ceph user (admin if not given) and configuration file (CEPH_CONF, or \
/etc/ceph/ceph.conf)

One file or image may be served on several ports under one address, and under several addresses if all are ro or the \
parts they serve do not overlap.";

pub(super) const CONFIG: &str = "\
Load SPDK's configuration from a JSON file before the exports are created.

The form is that of SPDK's save_config: {\"subsystems\": [{\"subsystem\": \"bdev\", \"config\": [...]}, ...]}. \
Exports are in the subsystem \"aoe\", so a file of save_config starts the same exports again.";

pub(super) const STRICT: &str = "\
End the start with exit code 1 when disks are missing or entries of --config are refused, naming each of them.

Without it a missing or broken disk affects only its own exports: they are listed as 'waiting' with the reason, hold \
their addresses, are saved by save_config, and are served when the disk appears; it is looked for every 5 s. A \
mistake in the command line or in --config, such as an unknown method or a second export at one address, ends the start \
in any case.";

pub(super) const TAKE_OVER: &str = "\
Take the place of the kvblade-dpdk that listens at --rpc-socket, for an upgrade or for options that take effect at a start.

It serves on until this program has its memory and has started SPDK; then it answers its requests in flight and ends, and this \
program opens the state directory, ports and disks and advertises its exports. Initiators repeat what they have sent in between. If \
this program can't start, the other one serves on, unless the fault shows only after that. Both need memory at the same time. Not \
for PCI devices, which one program has at a time, so --no-pci is needed.";

pub(super) const STATE_DIR: &str = "\
Directory for initiator state: config strings, MAC mask lists, reservations. It is created for root alone, if it does not \
exist, and used by one kvblade-dpdk at a time.

Each export has a file in it with the name of the export: 1.2, or 1.2@PORT with the DPDK name of its port. \
Deleting an export keeps its file, and an export that is created again under the same name uses it. A damaged file is renamed \
to NAME.damaged-1 (-2, ...); its export answers nobody, after a restart too, until aoe_clear_initiator_state clears it.";

pub(super) const AUDIT_LOG: &str = "\
Append a JSON line to this file for each call at the management socket that changes something.

A line has the time (UTC), the user, group, process and program at the other end of the connection, the method, its parameters, \
and the result: 'done', or 'refused' with the error. Parameters that are keys or passwords of SPDK's methods are not written. The \
file is made with permissions for its owner alone, and anew when it was renamed or deleted. A call never waits for the file: lines \
without room are lost, and their number is written. Calls at the socket of SPDK's own server (PATH.spdk) are not in it.";

pub(super) const LOG_TARGET: &str = "\
Where the log goes: auto, stderr, file:PATH or journald.

auto is journald where the service manager has connected standard error to the journal (JOURNAL_STREAM), and stderr otherwise. journald \
gets records with fields: KVBLADE_MODULE and those of the line, such as KVBLADE_EXPORT; journald:SOCKET is another socket than \
/run/systemd/journal/socket. A file is appended to, and opened anew at SIGHUP, for logrotate. The last sentence of a program that fails \
is on standard error as well. Nothing waits for the target: lines without room, or that can't be written because a disk is full, are \
lost, and their number is written.";

pub(super) const MTU: &str = "\
MTU of ports that have no Linux interface behind them, in bytes of Ethernet payload; the default is that of the \
port.

It limits how many sectors a frame carries: (MTU - 36) / 512, at most 16. Every switch and initiator \
must carry frames of that size.";

pub(super) const EXAMPLES: &str = "\
Examples:
  A file on a Linux interface:
    kvblade-dpdk --interface eth1 --export 1.1=/srv/disk.img

  The same as vblade's users write it:
    kvblade-dpdk 1 1 eth1 /srv/disk.img

  A disk in memory besides, two lcores, and hugepages reserved if there are too few:
    kvblade-dpdk -l 2-3 --hugepages auto --interface eth1 \\
        --export 1.1=/srv/disk.img --export 1.2=malloc:64M

  An NVMe drive on one NIC, four lcores:
    kvblade-dpdk -l 0-3 -a 0000:03:00.0 -- --export 7.0@0000:03:00.0=nvme:0000:01:00.0

  The exports of an earlier run, and a read-only image besides:
    kvblade-dpdk -l 2 --interface eth1 --config saved.json --export 9.9=/srv/boot.img,ro

  A service:
    kvblade-dpdk --settings /etc/kvblade/kvblade.toml

  While it runs:
    kvadd 1 3 veth0 /dev/sdb; kvstat; kvdel 1 3 veth0

Signals: SIGINT and SIGTERM end the program when the requests in flight are answered; SIGHUP has it read --settings again.

Exit codes: 0 after SIGINT or SIGTERM; 1 when this machine, a file or the \
configuration does not allow the start; 2 when the command line is wrong.";

pub(super) const MBUFS: &str = "\
Mbufs in the mempool of each port on each lcore, 2559 to 1048576: those of its rx and tx ring (1024 each, if \
the NIC has that many) and those of requests in flight. A mempool takes this number times the port's largest \
frame (16 KiB for af_packet with framesz=16384) of hugepage memory. An lcore's af_packet, memif and vhost ports with \
frames of the same size share one mempool, with this number for each of them together. A port that --spread distributes as \
macs or software has one mempool with this number for each of its lcores: mbufs of its first queue are then on \
all of them, in their tx rings and caches (some 256 each). A port that some of the lcores have no queue pair of has as many \
mbufs for requests once more, which these lcores share, and 384 for each of them.";

pub(super) const IO_TIMEOUT: &str = "\
Seconds that a disk has for a request, of exports without io_timeout: 1 to 120.

Past them the initiator gets a device fault, and the export is 'degraded' until the disk answers. Linux's aoe driver gives \
a disk up that has not answered for 180 s, and then fails all of its requests until aoe-revalidate.";

pub(super) const SPREAD: &str = "\
How the frames of a port are distributed over lcores, if -l names several and the port has a queue pair for each; with \
:LCORES over at most so many of them (2 to 64). NICs do not hash AoE's EtherType by themselves: with 'off' they commonly put \
all frames in one queue.

  rss       the NIC does it by a hash of both Ethernet addresses (i40e, ice): each initiator has one lcore
  macs      the port answers under a MAC address for each lcore, its own and further, locally administered \
ones (16 at most). Initiators see one path per lcore to each disk: Linux distributes requests over paths and may have \
'buffers' messages in flight on each. The NIC steers frames to queues where it can, else the lcores do
  software  lcores hand requests to each other, by a hash of the initiator's address and the tag
  auto      rss if the PMD takes the rule for it, else software; neither for memif and vhost, whose peer decides \
the number of queues. 'macs' is visible to initiators, so only the operator chooses it
  off       each lcore serves its own queue

The log names the choice for each port and its reason. af_packet has several queue pairs with qpairs=N in \
its --vdev.";

pub(super) const IDLE: &str = "\
What lcores do after 1000 turns without work, while nothing is in flight on them.

  poll                 they poll on: each keeps a CPU busy, and nothing waits
  pause                they pause for 1 us at a time, without a system call: by TPAUSE where the CPU has WAITPKG, \
else by PAUSE, which gives the CPU's other thread more room and saves little power; adds up to 1 us
  sleep=MICROSECONDS   they sleep for 1 to 10000 us at a time; adds up to that and the kernel's timer slack (50 us)
  interrupt            they sleep until the NIC interrupts; adds the time of the interrupt, some tens of us, and to \
RPCs and other work up to 1 ms. For ports whose PMD has interrupts of rx queues (i40e, ixgbe, ice, mlx5, virtio, tap; \
not af_packet, memif); lcores that hand frames to each other (several queues of a port) pause instead

The added time affects the first request after a pause, and RPCs.";

pub(super) const ALIGNMENT: &str = "\
Alignment of the data in frames on each port: 4, 512 or 4096 bytes, or auto: that of the bdevs of the port's exports at the \
start, by --export and --config. Exports that are created later use the alignment that the port has.

SPDK copies each read and write whose data does not have the alignment of its bdev: 512, or the block size \
if that is larger, for a file or block device (aio, uring), which is opened with O_DIRECT; 4 for NVMe drives and memory. \
aoe_get_stats counts the copies as bounced.

A larger alignment takes memory: each mbuf is an odd multiple of it. One for an MTU of 9000 takes 9728 bytes with 512 \
and 12288 with 4096, one for 1500 takes 3584 and 4096, and one for af_packet's frames of 16 KiB 17920 and 20480. \
Data behind a VLAN tag is shifted by 4 bytes, \
unless the port strips the tag. Ports of the af_xdp PMD and of NICs with mempools in hardware always \
have 4.";
