#!/usr/bin/env python3
"""Instructions of an lcore's turn per request, by callgrind, which comes to the same number each time for the same build.

    scripts/bench instructions            counts and prints
    scripts/bench instructions --check    compares our code's with baseline.json; exit code 1 if one is too high
    scripts/bench instructions --write    renews the counts of the rustc at hand in baseline.json
"""
import json, os, platform, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
COUNT = 20  # bursts of each load
# Bdev and kind with the requests of a burst, in the order in which benches/micro's `turns` goes through them.
KINDS = {"read-4k": 8, "write-4k": 8, "read-512": 32}
NEIGHBOURS = {"seq-read-4k": 8, "seq-write-4k": 8}
LOADS = [(bdev, kind) for bdev in ("null", "malloc") for kind in KINDS] + [("null", kind) for kind in NEIGHBOURS]


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit(f"instructions: {command[0]} is not installed: run scripts/setup --tests")
    if done.returncode:
        sys.exit(f"instructions: {' '.join(map(str, command))}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def owner(obj, name):
    """Our code's names are paths and SPDK's are not; DPDK is in libraries, and in shims with its inline functions."""
    file = obj.rsplit("/", 1)[-1]
    if file.startswith("librte_") or name.startswith("dpdk_shim_"):
        return "DPDK"
    if file.startswith(("lib", "ld-")):
        return "libc"
    return "ours" if "::" in name else "SPDK"


def shares(text, requests):
    """Instructions a request by owner, from a part of callgrind's output: the cost of a call is not the caller's own."""
    sums, obj, name, is_call = Counter(), "", "", False
    for line in text.splitlines():
        if line.startswith("ob="):
            obj = line[3:]
        elif line.startswith("fn="):
            name = line[3:]
        elif line.startswith("calls="):
            is_call = True  # the next line has the cost of the called function
        elif line[:1].isdigit() or line[:1] in "+-*" and " " in line:
            if not is_call:
                sums[owner(obj, name)] += int(line.split()[1])
            is_call = False
    if not sums["ours"] or not sums["SPDK"]:
        sys.exit(f"instructions: no turn was counted: {dict(sums)}")
    return {who: (sums[who] + requests // 2) // requests for who in ("ours", "DPDK", "SPDK", "libc")}


def count(turns):
    """Prints the counts; returns those of our code by load. The rest depends on how SPDK, DPDK and libc were built."""
    counts = {}
    with tempfile.TemporaryDirectory() as directory:
        out = f"{directory}/turns"
        run("valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={out}",
            "--toggle-collect=*measured_turn*", "--dump-before=*end_of_part*", turns, str(COUNT))
        print("instructions per request\n\nan lcore's turn          total   ours   DPDK   SPDK   libc")
        for number, (bdev, kind) in enumerate(LOADS, 1):
            # Parts count from 1: the odd ones lead up to the even ones, which are counted.
            part = shares(Path(f"{out}.{2 * number}").read_text(), COUNT * (KINDS | NEIGHBOURS)[kind])
            print(f"    {kind:<12} {bdev:<7} {sum(part.values()):6}", *(f"{one:6}" for one in part.values()))
            counts[f"turn with {bdev}, {kind}, ours"] = part["ours"]
    return counts


def check(baseline, compiler, counts):
    """Compares with the same compiler, a hundredth more being too much, else with the last of its architecture: a tenth."""
    alike = [name for name in sorted(baseline) if name.split()[1] == compiler.split()[1]]
    if not alike:
        return [f"FAIL no baseline for rustc {compiler}, nor for its architecture; there are: {', '.join(baseline)}"]
    whose = compiler if compiler in baseline else alike[-1]
    percent, reference = (1 if whose == compiler else 10), baseline[whose]
    lines = [f"rustc {compiler}, compared with rustc {whose}; {percent} % more is allowed"]
    for what in sorted(counts.keys() | reference.keys()):
        new, old = counts.get(what), reference.get(what)
        limit = None if old is None else old + max(old * percent // 100, 3)  # a hundredth of few is none
        verdict = "FAIL" if new is None or limit is None or new > limit else "ok  "
        lines.append(f"{verdict} {what}: {new}, in the baseline {old}, at most {limit}")
    return lines


def main():
    _, turns, *option = sys.argv
    if option not in ([], ["--check"], ["--write"]):
        sys.exit(f"instructions: '{' '.join(option)}': expected nothing, --check or --write")
    compiler = f"{run(os.environ.get('RUSTC', 'rustc'), '--version').split()[1]} {platform.machine()}"
    counts, baseline = count(turns), json.loads(BASELINE.read_text())
    if option == ["--check"]:
        lines = check(baseline, compiler, counts)
        print("", *lines, sep="\n")
        if any(line.startswith("FAIL") for line in lines):
            sys.exit("instructions: a request costs more than before; if it must, --write renews the baseline")
    elif option:
        BASELINE.write_text(json.dumps({**baseline, compiler: counts}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
