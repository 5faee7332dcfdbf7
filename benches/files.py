#!/usr/bin/env python3
"""Exports of files on a real file system, beside fio on the same file system, vblade, and SPDK's own aio bdev.

    scripts/bench files [OPTION]...            9 rounds, 7 minutes; --rounds 1 shows that it works
    scripts/bench files --loop                 loop devices over the files
    scripts/bench files --device DEV           pieces of a block device, whose data is lost
    scripts/bench files --profile file         the kernel's events of durable writes, and the time from each to the next

One kvblade-dpdk has all exports and lives as long as the run. It is stopped (SIGSTOP) while others are measured, so its lcore
leaves them the CPU. Each row is sampled once a round, those of one load right after each other; every second round goes
backwards. fio has all CPUs; the initiator of vblade sleeps until replies come, that of an export sleeps or polls.
"""
import argparse, collections, contextlib, datetime, json, os, pathlib, re, signal, socket, stat, statistics, subprocess, sys, tempfile, time

SIZE, TEN_SIZE = 128, 32  # MiB of a file, and of each of ten
DURABLE, WRITE_BACK, CACHED, TEN = 1, 2, 3, 10  # slots on the shelf of a kind
SHELVES = {"file": 1, "aio": 2}
MEMORY, OTHER_MEMORY = "9.1", "9.2"  # exports of memory
WARMUP = 0.05
# name: fio's options, those of aoe-load and aoeperf, vblade's (-s is O_SYNC, -d O_DIRECT, none the page cache), the slot, the
# goal as a part of fio's rate and as one of vblade's.
LOADS = {
    "durable write": ("--rw=randwrite --direct=1 --sync=dsync", "-w randwrite", "-s", DURABLE, 0.8, 1.5),
    "write-back write": ("--rw=randwrite --direct=1", "-w randwrite", "", WRITE_BACK, 0.9, None),
    "direct read": ("--rw=randread --direct=1", "-w randread", "-d", DURABLE, 0.9, None),
    "cached read": ("--rw=randread --direct=0 --invalidate=0", "-w randread", "", CACHED, None, 1.0),
    "mixed 70/30 durable": ("--rw=randrw --rwmixread=70 --direct=1 --sync=dsync", "-w rw --read-percent 70", "-s", DURABLE,
                             0.8, None),
}
CASES = [("durable write", 1), ("durable write", 32), ("durable write", 128), ("write-back write", 1), ("write-back write", 32),
         ("direct read", 1), ("direct read", 32), ("cached read", 1), ("cached read", 32), ("mixed 70/30 durable", 32)]
MEMIF_GOAL = 300_000  # cached reads a second at depth 32
# what: the goal for the second figure as a part of the first, and whether more is better.
SUM = "durable writes a second, QD 30: one export; ten with QD 3"
ALONE = "p99 in us of writes to memory, QD 4: alone; beside a file with QD 32 of durable writes"
# Both have a second initiator on the initiators' CPU.
AS_MEMORY = "p99 in us of writes to memory, QD 4: beside QD 32 of writes to other memory; of durable writes to a file"
PAIRS = {SUM: (1.0, True), ALONE: (1.1, False), AS_MEMORY: (1.1, False)}
# The kernel's events on the way of a durable write, and the filter of each.
EVENTS = {"syscalls/sys_enter_io_submit": "", "block/block_rq_issue": "", "block/block_rq_complete": "",
          "workqueue/workqueue_queue_work": "", "workqueue/workqueue_execute_start": "", "workqueue/workqueue_execute_end": "",
          "io_uring/io_uring_submit_req": "", "io_uring/io_uring_queue_async_work": "", "io_uring/io_uring_complete": "",
          "sched/sched_switch": 'next_comm ~ "iou-wrk*"'}
WORK = "aio_fsync_work", "iomap_dio_complete_work"  # work items that are of interest


class Failed(Exception):
    """One sentence: why the run ended."""


def sh(*words, **how):
    """What a command prints."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **how)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def json_of(*words):
    printed = sh(*words)
    return json.loads(printed[printed.index("{"):])


def needed(kinds):
    """MiB of all files."""
    return 3 * SIZE + len(kinds) * (2 * SIZE + 10 * TEN_SIZE)


def check_device(path, kinds, destroy):
    """Refuses what is no block device, is in use, is too small, or has data that Linux knows, unless it may be destroyed."""
    try:
        if not stat.S_ISBLK(os.stat(path).st_mode):
            raise Failed(f"--device {path} is no block device: a file of its own file system is measured with --directory")
        # Linux refuses this for a device that is mounted, swapped to, or below another one, its partitions included.
        descriptor = os.open(path, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        raise Failed(f"--device {path}: {error.strerror}: it has to be there, and neither mounted nor otherwise in use") from None
    size = os.lseek(descriptor, 0, os.SEEK_END) >> 20
    os.close(descriptor)
    if size < needed(kinds):
        raise Failed(f"--device {path} has {size} MiB: {needed(kinds)} MiB are needed")
    found = sorted(set(sh("wipefs", "--no-act", "--noheadings", "--output", "TYPE", path).split()))
    if found and not destroy:
        raise Failed(f"--device {path} has {', '.join(found)} on it, which would be lost: --destroy if it may be")


class Place:
    """Namespace, files, the server with all exports, and one sample of each kind."""

    def __init__(self, args, stack):
        self.args, self.stack, self.commands = args, stack, {}
        self.scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        self.files = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.directory, prefix="bench-files-")))
        self.space = f"bench-files-{os.getpid()}"
        self.offset = 0
        sh("ip", "netns", "add", self.space)
        stack.callback(sh, "ip", "netns", "del", self.space)
        for pair in ("from", "to"), ("v-from", "v-to"):  # the stopped server gets none of vblade's frames
            sh("ip", "-n", self.space, "link", "add", "name", pair[0], "mtu", 9000, "type", "veth", "peer", "name", pair[1], "mtu", 9000)
            for end in pair:
                sh("ip", "-n", self.space, "link", "set", end, "addrgenmode", "none", "up")
        self.disks = {name: self.disk(name, SIZE) for name in ("fio", "vblade", "cached")}
        sh("fio", "--name=warm", f"--filename={self.disks['cached']}", "--rw=read", "--bs=1M", "--invalidate=0")
        self.log = open(self.scratch / "log", "w+b")
        self.server = self.start(self.program("kvblade-dpdk"), *self.eal(args.target_cpu, "server", True, True), "--mtu", 9000,
                                 "--rpc-socket", self.scratch / "rpc", "--state-dir", self.scratch / "state",
                                 "--config", self.config(), out=self.log)
        self.wait_for(lambda: b" ready " in (self.scratch / "log").read_bytes(), "the target is not ready")
        self.wait_for((self.scratch / "rpc").exists, "the target does not listen")
        self.server.send_signal(signal.SIGSTOP)

    def disk(self, name, mib):
        """A file without holes, written past the page cache, or a device."""
        path, unit = self.files / name, self.files.name
        if self.args.device:
            sectors, path = mib << 11, f"/dev/mapper/{unit}-{name}"
            sh("dmsetup", "create", f"{unit}-{name}", "--table", f"0 {sectors} linear {self.args.device} {self.offset}")
            self.stack.callback(sh, "dmsetup", "remove", "--retry", f"{unit}-{name}")
            self.offset += sectors
        sh("fio", "--name=lay-out", f"--filename={path}", "--rw=write", "--bs=1M", "--direct=1", "--end_fsync=1", f"--size={mib}M")
        if self.args.loop:
            path = sh("losetup", "--find", "--show", "--direct-io=on", path).strip()
            self.stack.callback(sh, "losetup", "--detach", path)
        return path

    def config(self):
        """The target's configuration: on each kind's shelf a durable export, one that is not, ten, and one that is cached."""
        bdevs, exports = [], []

        def add(kind, slot, disk, **options):
            params = {"name": f"{kind}{slot}", "filename": str(disk)}
            if kind == "aio":
                params["block_size"] = 512
            else:
                params["buffered"] = slot == CACHED
            if slot == CACHED:
                params["readonly"] = options["read_only"] = True
            bdevs.append({"method": f"bdev_{kind}_create", "params": params})
            export = {"shelf": SHELVES[kind], "slot": slot, "bdev_name": params["name"], "buffers": 256, **options}
            exports.append({"method": "aoe_create_export", "params": export})

        for kind in self.args.kinds:
            add(kind, DURABLE, self.disk(f"{kind}-durable", SIZE))
            add(kind, WRITE_BACK, self.disk(f"{kind}-back", SIZE), cache="write-back")
            if kind == "file":
                bdevs[-1]["params"]["sync"] = "none"
            for slot in range(TEN, TEN + 10):
                add(kind, slot, self.disk(f"{kind}-{slot}", TEN_SIZE))
            if kind == "file":
                add(kind, CACHED, self.disks["cached"])
        for slot in 1, 2:
            name = f"memory{slot}"
            bdevs.append({"method": "bdev_malloc_create", "params": {"name": name, "num_blocks": 65536, "block_size": 512}})
            exports.append({"method": "aoe_create_export",
                            "params": {"shelf": 9, "slot": slot, "bdev_name": name, "buffers": 256}})
        path = self.scratch / "config.json"
        path.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": bdevs},
                                                   {"subsystem": "aoe", "config": exports}]}))
        return path

    def program(self, name):
        path = pathlib.Path(self.args.programs) / name
        if not path.exists():
            raise Failed(f"{path} does not exist: cargo build --release")
        return path

    def eal(self, cpu, name, veth, memif):
        side = "to" if name == "server" else "from"
        role = "server" if name == "server" else "client"
        words = ["-l", cpu, "--no-pci", "--in-memory", f"--file-prefix={self.space}-{name}"]
        if veth:
            words.append(f"--vdev=net_af_packet0,iface={side},framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1")
        if memif:
            words.append(f"--vdev=net_memif0,role={role},socket={self.scratch}/memif,socket-abstract=no,bsize=16384,rsize=10")
        return words

    def words(self, *words):
        """In the namespace, and not longer than this process."""
        words = ["ip", "netns", "exec", self.space, "setpriv", "--pdeathsig", "KILL", *map(str, words)]
        name = pathlib.Path(words[7] if words[7] != "taskset" else words[10]).name
        self.commands.setdefault(name, " ".join(pathlib.Path(word).name if word[0] == "/" else word for word in words[7:]))
        return words

    def start(self, *words, out=subprocess.DEVNULL):
        process = subprocess.Popen(self.words(*words), stdout=out, stderr=out)
        self.stack.callback(process.kill)
        return process

    def wait_for(self, look, otherwise, limit=60):
        begun = time.monotonic()
        while not look():
            self.check()
            if time.monotonic() - begun > limit:
                raise Failed(f"{otherwise} after {limit} s: {(self.scratch / 'log').read_text()}")
            time.sleep(0.01)

    def check(self):
        if self.server.poll() is not None:
            raise Failed(f"the target ended with {self.server.returncode}: {(self.scratch / 'log').read_text()}")

    @contextlib.contextmanager
    def serving(self):
        """Meanwhile the target runs. A target that crashes fails the run."""
        self.server.send_signal(signal.SIGCONT)
        yield
        self.check()
        self.server.send_signal(signal.SIGSTOP)

    def fio(self, load, depth):
        engine = "psync" if depth == 1 else "io_uring"
        name = "cached" if load == "cached read" else "fio"
        job = json_of("fio", "--name=files", "--thread", "--output-format=json", f"--filename={self.disks[name]}", "--bs=4k",
                      f"--ioengine={engine}", f"--iodepth={depth}", "--time_based", f"--runtime={self.args.seconds * 1000:.0f}ms",
                      "--ramp_time=50ms", *LOADS[load][0].split())["jobs"][0]
        sides = [job[side] for side in ("write", "read") if job[side]["iops"]]
        at = sides[0]["clat_ns"]["percentile"]
        return {"iops": sum(side["iops"] for side in sides), "p50": at["50.000000"] / 1e3, "p99": at["99.000000"] / 1e3}

    def aoe_load(self, interface, target, load, depth, polled, seconds):
        return [self.program("aoe-load"), "--interface", interface, "--target", target, *LOADS[load][1].split(), "-q", depth,
                "--cpu", self.args.initiator_cpu, "--time", seconds, "--warmup", WARMUP, "--json", *(() if polled else ("--sleep",))]

    def loaded(self, *how):
        report = json_of(*self.words(*self.aoe_load(*how, self.args.seconds)))
        latency = report["latency_us"]
        return {"iops": report["iops"], "p50": latency["p50"], "p99": latency["p99"], "resent": report["retransmits"]}

    def busy(self):
        """Seconds that the lcore was at work."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.scratch / "rpc"))
            stream.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "thread_get_stats"}')
            answer = b""
            while True:
                answer += stream.recv(65536)
                with contextlib.suppress(json.JSONDecodeError):
                    stats = json.loads(answer)["result"]
                    break
        return sum(one["busy"] for one in stats["threads"] if one["name"].startswith("aoe_lcore")) / stats["tick_rate"]

    def export(self, kind, polled, load, depth):
        with self.serving():
            before = self.busy()
            sample = self.loaded("from", f"{SHELVES[kind]}.{LOADS[load][3]}", load, depth, polled)
            sample["lcore_us"] = 1e6 * (self.busy() - before) / (sample["iops"] * (self.args.seconds + WARMUP))
        return sample

    def vblade(self, load, depth):
        name = "cached" if load == "cached read" else "vblade"
        with open(self.scratch / "vblade", "w+b") as log:
            process = self.start("taskset", "-c", self.args.target_cpu, "vblade", "-b", 256, *LOADS[load][2].split(), 1, 1, "v-to",
                                 self.disks[name], out=log)
            self.wait_for(lambda: b"sectors" in (self.scratch / "vblade").read_bytes(), "vblade is not ready")
            sample = self.loaded("v-from", "1.1", load, depth, False)
            process.terminate()
            process.wait()
        return sample

    def aoeperf(self, link, target, depth, workload):
        """The report of aoeperf, which polls."""
        return json_of(*self.words(self.program("aoeperf"), *self.eal(self.args.initiator_cpu, "initiator", link == "veth",
                                   link == "memif"), "--", "--target", target, "-q", depth, "-w", workload, "-t",
                                   self.args.seconds, "--warmup", WARMUP, "--mtu", 9000, "--no-progress", "--json", "-"))

    def memif(self, kind, _load, depth):
        with self.serving():
            total = self.aoeperf("memif", f"{SHELVES[kind]}.{CACHED}", depth, "randread")["total"]
        return {"iops": total["iops"], "p50": total["latency_us"]["p50"], "p99": total["latency_us"]["p99"]}

    def pair(self, what, kind):
        shelf = SHELVES[kind]
        with self.serving():
            if what == SUM:
                targets = (f"{shelf}.{TEN}", 30), (f"{shelf}.{TEN}-{TEN + 9}", 3)
                return [self.aoeperf("veth", target, depth, "randwrite")["total"]["iops"] for target, depth in targets]
            beside = [None if what == ALONE else OTHER_MEMORY, f"{shelf}.{DURABLE}"]
            return [self.p99_of_memory(target) for target in beside]

    def p99_of_memory(self, beside):
        """In us, of writes at depth 4, while an export has durable writes at depth 32, if one is named."""
        load = beside and self.start(*self.aoe_load("from", beside, "durable write", 32, False, 60))
        p99 = self.aoeperf("veth", MEMORY, 4, "randwrite")["total"]["latency_us"]["p99"]
        if load:
            if load.poll() is not None:
                raise Failed("aoe-load ended early")
            load.kill()
            load.wait()
        return p99

    def profile(self, kind):
        """Events of durable writes at depth 1, the count of each succession, and its time in us."""
        tracing = pathlib.Path("/sys/kernel/tracing")
        if not (tracing / "trace").exists():
            sh("mount", "-t", "tracefs", "nodev", tracing)
            self.stack.callback(sh, "umount", tracing)
        for name, only in EVENTS.items():
            event = tracing / "events" / name
            if event.exists():
                self.stack.callback((event / "enable").write_text, "0")
                (event / "filter").write_text(only or "0")
                (event / "enable").write_text("1")
        (tracing / "buffer_size_kb").write_text("16384")
        (tracing / "trace").write_text("")
        self.export(kind, False, "durable write", 1)
        text = (tracing / "trace").read_text()
        line = re.compile(r"\s*(.+)-\d+\s+\[\d+\]\s+\S+\s+([\d.]+): (\w+)(?:: |\()(.*)")
        steps, last = collections.defaultdict(list), None
        for found in filter(None, map(line.match, text.splitlines())):
            _, at, name, rest = found.groups()
            if name.startswith("workqueue"):
                work = next((work for work in WORK if work in rest), None)
                if work is None:
                    continue
                name += f" {work}"
            elif name.startswith("block"):
                name += f" {rest.split()[1]}"
            if last:
                steps[last[0], name].append(1e6 * (float(at) - last[1]))
            last = name, float(at)
        most = max(map(len, steps.values()), default=0)
        print("| from | to | times | us, median | p99 |\n| --- | --- | ---: | ---: | ---: |")
        for (one, other), times in sorted(steps.items(), key=lambda step: -len(step[1])):
            if len(times) * 10 >= most:
                times.sort()
                print(f"| {one} | {other} | {len(times)} | {statistics.median(times):.0f} | {times[len(times) * 99 // 100]:.0f} |")

    def end(self):
        self.server.send_signal(signal.SIGCONT)
        self.server.terminate()
        if self.server.wait(60):
            raise Failed(f"the target ended with {self.server.returncode}: {(self.scratch / 'log').read_text()}")


def over(figures, digits=0):
    return f"{statistics.median(figures):.{digits}f} ({min(figures):.{digits}f} - {max(figures):.{digits}f})"


def thousands(rates):
    return over([rate / 1000 for rate in rates], 0 if statistics.median(rates) >= 1e5 else 1) + " k"


def report(rows, pairs):
    """Prints the tables. Returns the goals that are missed."""
    names = list(dict.fromkeys(name for _, _, name in rows))
    names.sort(key=lambda name: name == "vblade")
    head = "| | QD | " + " | ".join(names) + " |\n| --- | ---: |" + " ---: |" * len(names)

    def ratio(load, depth, name, other):
        return statistics.median(one["iops"] / two["iops"] for one, two in zip(rows[load, depth, name], rows[load, depth, other]))

    def table(cell):
        print(head)
        for load, depth in dict.fromkeys((load, depth) for load, depth, _ in rows):
            cells = [cell(load, depth, name) if (load, depth, name) in rows else "" for name in names]
            print(f"| {load} | {depth} | " + " | ".join(cells) + " |")

    def rate(load, depth, name):
        text = thousands([sample["iops"] for sample in rows[load, depth, name]])
        return text if name == "fio" else f"{text} x{ratio(load, depth, name, 'fio'):.2f}"

    def latency(load, depth, name):
        of = lambda what: statistics.median(sample[what] for sample in rows[load, depth, name])
        text = f"{of('p50'):.0f}, {of('p99'):.0f}"
        return text + f"; {of('lcore_us'):.2f}" if "lcore_us" in rows[load, depth, name][0] else text

    print("Requests a second; x: by fio's, the median of the rounds' ratios.\n")
    table(rate)
    print("\nLatency in us, p50 and p99 (medians of the rounds); the lcore's time in us for a request.\n")
    table(latency)
    print("\n| | kind | first | second | second / first |\n| --- | --- | ---: | ---: | ---: |")
    missed = []
    for (what, kind), figures in pairs.items():
        by = statistics.median(second / first for first, second in figures)
        print(f"| {what} | {kind} | {over([first for first, _ in figures])} | {over([second for _, second in figures])} | {by:.2f} |")
        goal, more = PAIRS[what]
        if by < goal if more else by > goal:
            missed.append(f"{kind}: {what}: {by:.2f}, goal {goal}")
    for load, depth, name in rows:
        if name == "vblade" or name == "fio":
            continue
        *_, by_fio, by_vblade = LOADS[load]
        # Each goal beside those whose initiator waits alike.
        by_vblade = by_vblade if name.endswith("sleeps") else None
        for other, goal in ("fio", by_fio), ("vblade", by_vblade):
            if goal and ratio(load, depth, name, other) < goal:
                missed.append(f"{load} {depth}, {name}: {ratio(load, depth, name, other):.2f} of {other}, goal {goal}")
        if name.endswith("memif") and statistics.median(sample["iops"] for sample in rows[load, depth, name]) < MEMIF_GOAL:
            missed.append(f"{load} {depth}, {name}: less than {MEMIF_GOAL} a second")
    print("\nGoals that are missed:" if missed else "\nEvery goal is reached.", *missed, sep="\n- ")
    return missed


def machine():
    read = lambda path: pathlib.Path(path).read_text()
    cpu = next(line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name"))
    revision = sh("git", "describe", "--always", "--dirty", "--abbrev=12").strip()
    return {"command": "scripts/bench files " + " ".join(sys.argv[1:]), "cpu": cpu, "cpus": os.cpu_count(),
            "kernel": read("/proc/sys/kernel/osrelease").strip(), "revision": revision,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "load_before": read("/proc/loadavg").strip()}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench files", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rounds", type=int, default=9, help="samples of each row")
    add("--seconds", type=float, default=0.3, help="measured for each sample")
    add("--directory", default="/var/tmp", help="on the file system to measure, with 2 GiB of room")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--loop", action="store_true", help="loop devices over the files")
    kind.add_argument("--device", metavar="DEV", help="a block device of 2 GiB, whose data is lost, in place of files; one that is in"
                      " use is refused")
    add("--destroy", action="store_true", help="take a --device on which a file system, a partition table or the like is found")
    add("--profile", choices=SHELVES, metavar="KIND", help="only the profile of durable writes at depth 1: file or aio")
    add("--loads", default=",".join([*LOADS, "pairs"]), help="those to measure, separated by commas; pairs: the comparisons of two loads")
    add("--kinds", default="file,aio", type=lambda text: text.split(","), help="bdevs of the exports")
    add("--target-cpu", type=int, default=0)
    add("--initiator-cpu", type=int, default=1)
    add("--programs", default="target/release", help="directory of kvblade-dpdk, aoe-load and aoeperf")
    add("--results", default="benches/results", help="directory for files.json")
    args = parser.parse_args()
    if unknown := set(args.kinds) - set(SHELVES):
        parser.error(f"--kinds has '{unknown.pop()}': it takes {' and '.join(SHELVES)}, separated by commas")
    args.loads = args.loads.split(",")
    if unknown := set(args.loads) - {*LOADS, "pairs"}:
        parser.error(f"--loads has '{unknown.pop()}': it takes {', '.join([*LOADS, 'pairs'])}")
    if args.destroy and not args.device:
        parser.error("--destroy is for --device")
    if args.rounds < 1 or not 0.1 <= args.seconds <= 60:
        parser.error("--rounds takes a number from 1 on, --seconds one from 0.1 to 60")
    if args.device:
        check_device(args.device, args.kinds, args.destroy)
    about, rows, pairs = machine(), {}, {}
    with contextlib.ExitStack() as stack:
        place = Place(args, stack)
        if args.profile:
            return place.profile(args.profile)
        plan = []
        for load, depth in CASES:
            if load not in args.loads:
                continue
            who = {"fio": place.fio}
            for kind in args.kinds:
                if load == "cached read" and kind != "file":
                    continue
                for polled in False, True:
                    sample = lambda load, depth, kind=kind, polled=polled: place.export(kind, polled, load, depth)
                    who[f"{kind}, initiator {'polls' if polled else 'sleeps'}"] = sample
                if load == "cached read" and depth > 1:
                    who[f"{kind}, memif"] = lambda load, depth, kind=kind: place.memif(kind, load, depth)
            who["vblade"] = place.vblade
            plan += [(load, depth, name, sample) for name, sample in who.items()]
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
            for load, depth, name, sample in plan[::-1] if number % 2 else plan:
                rows.setdefault((load, depth, name), []).append(sample(load, depth))
            for what in PAIRS if "pairs" in args.loads else ():
                for kind in args.kinds:
                    pairs.setdefault((what, kind), []).append(place.pair(what, kind))
        place.end()
    about["load_after"] = pathlib.Path("/proc/loadavg").read_text().strip()
    print(f"`{about['command']}`: {about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}; revision {about['revision']}, "
          f"{about['date']}; load before {about['load_before']}, after {about['load_after']}; medians (lowest - highest) of "
          f"{args.rounds} interleaved rounds of {args.seconds} s.\n")
    rows = {(load, depth, name): rows[load, depth, name] for load, depth, name, _ in plan}
    missed = report(rows, pairs)
    record = {"machine": about, "commands": place.commands, "missed": missed,
              "rows": [{"load": load, "depth": depth, "who": name, "samples": samples} for (load, depth, name), samples in rows.items()],
              "pairs": [{"what": what, "kind": kind, "figures": figures} for (what, kind), figures in pairs.items()]}
    path = pathlib.Path(args.results) / "files.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f'  "{key}": ' + ("[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]" if isinstance(value, list) else json.dumps(value))
             for key, value in record.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    # The end takes back what the run made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
