//! The text of `--help`.

pub(super) const ABOUT: &str =
    "Serves block devices over ATA over Ethernet, polling DPDK ports and SPDK bdevs";

pub(super) const USAGE: &str = "kvblade-dpdk [EAL OPTIONS] -- [OPTIONS]\n       kvblade-dpdk [OPTIONS]";

pub(super) const LONG_ABOUT: &str = "\
Serves block devices over ATA over Ethernet (AoE), polling DPDK ports and SPDK bdevs.

What stands before '--' goes to DPDK's EAL unchanged: -l LIST for the lcores that poll (one queue of every \
port each), -a PCI-ADDRESS for the NICs to use, --vdev for ports without hardware, -m MB, --file-prefix, \
--no-pci and so on; lcores cannot be mapped onto other CPUs, and no option may hold white space. Without a \
'--' every word is an option of kvblade-dpdk itself.";

pub(super) const EXPORT_FORM: &str = "SHELF.SLOT[@PORT]=BDEV[,option...]";

pub(super) const EXPORT: &str = "\
Serve BDEV as AoE device eSHELF.SLOT; may be given several times.

SHELF is 0 to 65534 and SLOT 0 to 254, in decimal. (Linux ignores shelf 4095.)
PORT is a DPDK port number, a device name (net_af_packet0), the PCI address of a NIC or the Linux interface \
behind a port; without it the export is served on all ports.
BDEV is one of
  malloc:SIZE                memory, lost at exit; each export has its own
  aio:PATH                   a regular file or block device
  nvme:PCI-ADDRESS[nNSID]    a namespace (1 if not given) of a drive bound to vfio-pci or uio_pci_generic
  rbd:POOL[/NAMESPACE]/IMAGE  an image of a Ceph cluster, with its exclusive lock; in programs built with Ceph
  NAME or bdev:NAME          a bdev that --config defines
SIZE is a positive multiple of 512 bytes; K, M, G and T stand for powers of 1024.
A comma inside PATH, NAME or TEXT is written twice (aio:/a,,b); an '=' needs nothing.

Options, each once:
  ro                         refuse writes
  offset=SECTORS             serve the bdev from that sector (512 bytes) on
  length=SECTORS             serve so many sectors; without it, to the bdev's end, also when it grows
  vlan=ID                    serve it in this VLAN only, 1 to 4094, by tagged frames
  cache=write-through        answer a write when it is on stable media; so it is if nothing is said
  cache=write-back           answer it from the bdev's volatile cache: a power failure may lose it until FLUSH CACHE
  buffers=N                  messages initiators may have under way, 2 to 512; 16 if not given
  allow=MAC[+MAC...]         answer these initiators only
  deny=MAC[+MAC...]          never answer these, whatever allow says
  user=ID, conf=PATH         with rbd: the Ceph user (admin if not given) and configuration file (CEPH_CONF, or \
/etc/ceph/ceph.conf)
  serial=, model=, firmware=TEXT  names of the disk: up to 20, 40 and 8 printable ASCII characters

One file or image may be served on several ports under one address, and under several addresses if all are ro or the \
parts they serve do not overlap.";

pub(super) const CONFIG: &str = "\
Load SPDK's configuration from a JSON file before the exports are made.

The form is that of SPDK's save_config: {\"subsystems\": [{\"subsystem\": \"bdev\", \"config\": [...]}, ...]}. \
Exports are in the subsystem \"aoe\", so what save_config wrote starts the same exports again.";

pub(super) const STATE_DIR: &str = "\
Directory for what initiators keep on the target: config strings, MAC mask lists, reservations. It is made, for \
root alone, if it is not there, and used by one kvblade-dpdk at a time.

Each export has a file in it called as the export is written: 1.2, or 1.2@PORT with the DPDK name of its port. \
Deleting an export keeps its file, and an export made again under the same name finds it. A damaged file is renamed \
to NAME.damaged-1 (-2, ...); its export answers nobody, after a restart too, until aoe_clear_claims opens it.";

pub(super) const MTU: &str = "\
MTU of ports that have no Linux interface behind them, in bytes of Ethernet payload; the default is what the \
port says.

It limits how many sectors a frame carries: (MTU - 36) / 512, at most 16. Every switch and initiator on the way \
must carry frames of that size.";

pub(super) const EXAMPLES: &str = "\
Examples:
  A 64 MiB disk in memory and a file, on a veth interface, without hardware:
    kvblade-dpdk --no-pci --vdev=net_af_packet0,iface=veth0 -- \\
        --export 1.1=malloc:64M --export 1.2=aio:/srv/disk.img

  An NVMe drive on one NIC, four lcores:
    kvblade-dpdk -l 0-3 -a 0000:03:00.0 -- --export 7.0@0000:03:00.0=nvme:0000:01:00.0

  The exports of an earlier run, and a read-only image besides:
    kvblade-dpdk -l 2 -- --config saved.json --export 9.9=aio:/srv/boot.img,ro

  While it runs:
    kvadd 1 3 veth0 /dev/sdb; kvstat; kvdel 1 3 veth0

Exit codes: 0 after SIGINT or SIGTERM, with what was in flight answered; 1 when this machine, a file or the \
configuration stands in the way; 2 when the command line is wrong.";

pub(super) const MBUFS: &str = "\
Mbufs in the mempool of each port on each lcore, 2559 to 1048576: those its rx and tx ring hold (1024 each, if \
the NIC has that many) and those of requests under way. A mempool takes this number times the port's largest \
frame (16 KiB for af_packet with framesz=16384) of hugepage memory. An lcore's af_packet, memif and vhost ports with \
frames of the same size share one mempool, with this number for each of them together. A port that --spread spreads as \
macs or software has one mempool of this number for each of its lcores together: its first queue's mbufs are then in \
the hands, the tx rings and the caches (256 and some) of all of them.";

pub(super) const SPREAD: &str = "\
How a port's frames are spread over lcores, if -l names several and the port has a queue pair for each; with :LCORES \
over so many of them at most (2 to 64). NICs do not hash AoE's EtherType by themselves: with 'off' they put all frames \
in one queue, commonly.

  rss       the NIC does it by a hash of both Ethernet addresses (i40e, ice): each initiator has one lcore
  macs      the port answers under a station address for each lcore, its own and further, locally administered \
ones (16 at most), which initiators see as so many paths to each disk: Linux spreads over them by itself and may have \
'buffers' messages under way on each. The NIC steers frames to queues where it can, else the lcores do
  software  lcores hand requests to each other, by a hash of the initiator's address and the tag
  auto      rss if the PMD takes the rule for it, else software; neither for memif and vhost, whose other end decides \
which queues there are. 'macs' is seen by initiators, so it is for the operator to ask for
  off       each lcore serves what is in its queue

A line in the log says for each port which way it went and why. af_packet has several queue pairs with qpairs=N in \
its --vdev.";

pub(super) const IDLE: &str = "\
What lcores do after 1000 turns without work, while nothing is under way on them.

  poll                 they poll on: a CPU each is busy always, and nothing waits
  pause                they pause for 1 us at a time, without a system call: by TPAUSE where the CPU has WAITPKG, \
else by PAUSE, which gives the CPU's other thread more room and saves little power; adds up to 1 us
  sleep=MICROSECONDS   they sleep for 1 to 10000 us at a time; adds up to that and the kernel's timer slack (50 us)
  interrupt            they sleep until the NIC interrupts; adds what the interrupt takes, some tens of us, and to \
RPCs and other work up to 1 ms. For ports whose PMD has interrupts of rx queues (i40e, ixgbe, ice, mlx5, virtio, tap; \
not af_packet, memif); lcores that hand frames to each other (--spread) pause instead

What is added comes to the first request after a silence, and to RPCs.";

pub(super) const ALIGNMENT: &str = "\
What the addresses of frames' data are a multiple of on each port: 4, 512 or 4096 bytes, or auto: what the bdevs want \
that the port's exports serve at the start, by --export and --config. Exports made later find what there is then.

SPDK copies each read and write whose data does not lie as its bdev wants: at a multiple of 512, or of the block size \
if that is larger, for a file or block device (aio, uring), which is opened with O_DIRECT. NVMe drives and memory are \
content with 4. aoe_get_stats counts the copies as bounced.

A larger alignment takes memory: each mbuf is an odd multiple of it. One for an MTU of 9000 takes 9728 bytes with 512 \
and 12288 with 4096, one for 1500 takes 3584 and 4096, and one for af_packet's frames of 16 KiB 17920 and 20480. \
Data that comes behind a VLAN tag lies 4 bytes further, \
unless the port takes the tag out by itself. Ports of the af_xdp PMD and of NICs with mempools in hardware always \
have 4.";
