#!/usr/bin/env python3
"""Limits of a machine with many lcores, by the formulas of docs/scaling.md: nothing that this prints is measured.

    scripts/bench model [NAME=VALUE]...      other inputs than those below, such as lcores=8 or copies=1
"""
import sys

# Assumed: a server of one socket with 24 cores, 2 x 100 GbE, PCIe 4.0, eight channels of DDR4-3200 and eight NVMe drives.
INPUTS = {
    "lcores": 24, "hertz": 2.5e9,  # busy cores, cycles a second of each
    "ports": 2, "port_bits": 100e9, "port_pcie_bytes": 31.5e9,  # x16
    "drives": 8, "drive_pcie_bytes": 7.88e9,  # x4
    "drive_read_iops": 1.0e6, "drive_write_iops": 2.0e5, "drive_read_bytes": 6.8e9, "drive_write_bytes": 4.0e9,
    "memory_bytes": 164e9,  # four fifths of 204.8e9
    # Measured, cycles of an lcore a request (docs/scaling.md), and how often its data is copied, at so many bytes a cycle.
    "link": 338, "target": 150, "bdev": 124, "copies": 0, "copied_bytes": 7.5,
}
AROUND_FRAME = 8 + 4 + 12  # preamble and start delimiter, FCS, inter-frame gap
HEADERS, SHORTEST = 36, 60  # bytes of a frame before its data; of the shortest frame
DESCRIPTOR, COMMAND = 16 + 16, 64 + 16  # a frame's descriptor and write-back; a drive's command and completion
IN_FLIGHT = 64  # requests of an initiator: Linux's aoe_maxout
DRAWS = 200  # draws of initiators' addresses over which the second table averages


def on_pcie(size):
    """With 24 bytes around each transaction of 256."""
    return size + -(-size // 256) * 24


def limits(i, size, write):
    """Requests a second that each resource permits."""
    long, short = HEADERS + size, SHORTEST  # each direction has its own wire: which is the request makes no difference
    cycles = i["link"] + i["target"] + i["bdev"] + i["copies"] * size / i["copied_bytes"]
    moved = 2 * size + long - size + short + 2 * DESCRIPTOR + COMMAND + 2 * i["copies"] * size
    iops, rate = (i["drive_write_iops"], i["drive_write_bytes"]) if write else (i["drive_read_iops"], i["drive_read_bytes"])
    return {
        "lcores": i["lcores"] * i["hertz"] / cycles,
        "wire": i["ports"] * i["port_bits"] / 8 / (long + AROUND_FRAME),
        "PCIe, ports": i["ports"] * i["port_pcie_bytes"] / (on_pcie(long) + DESCRIPTOR),
        "PCIe, drives": i["drives"] * i["drive_pcie_bytes"] / (on_pcie(size) + COMMAND),
        "memory": i["memory_bytes"] / moved,
        "drives": i["drives"] * min(iops, rate / size),
    }


def mix(value):
    """SplitMix64 (Steele, Lea and Flood): stands for a good hash."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


RULES = {
    "addresses": lambda source, tag, lcores: mix(source) % lcores,
    "a MAC per queue": lambda source, tag, lcores: (mix(source) + tag) % lcores,
    "source and tag": lambda source, tag, lcores: mix(source ^ mix(tag)) % lcores,
}


def imbalance(rule, initiators, lcores, draws=DRAWS):
    """Load of the fullest lcore over the mean, averaged over draws of the initiators' addresses."""
    fullest = 0
    for draw in range(draws):
        loads = [0] * lcores
        for initiator in range(initiators):
            source = mix(draw << 20 | initiator)
            for tag in range(IN_FLIGHT):
                loads[rule(source, tag, lcores)] += 1
        fullest += max(loads)
    return fullest / draws / (initiators * IN_FLIGHT / lcores)


def main():
    inputs = dict(INPUTS)
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        number = float(value) if value.replace(".", "", 1).isdigit() else 0
        if name not in INPUTS or number == 0 and (name, value) != ("copies", "0"):
            sys.exit(f"model: '{word}': expected NAME=VALUE, a number above 0, with a name of {', '.join(INPUTS)}")
        inputs[name] = number
    print("Million requests a second that each resource permits:\n")
    names = list(limits(inputs, 512, False))
    print(f"| bytes | op | {' | '.join(names)} | least | GB/s |\n| ---: | --- |{' ---: |' * len(names)} --- | ---: |")
    for size in (512, 4096, 8192):
        for write in (False, True):
            found = limits(inputs, size, write)
            least = min(found, key=found.get)
            rates = " | ".join(f"{rate / 1e6:.2f}" for rate in found.values())
            print(f"| {size} | {'write' if write else 'read'} | {rates} | {least} | {found[least] * size / 1e9:.1f} |")
    print(f"\nLoad of the fullest lcore over the mean:\n\n| initiators | lcores | {' | '.join(RULES)} |\n| ---: |{' ---: |' * 4}")
    for initiators in (1, 10, 100):
        for lcores in (2, 8, 24):
            loads = " | ".join(f"{imbalance(rule, initiators, lcores):.2f}" for rule in RULES.values())
            print(f"| {initiators} | {lcores} | {loads} |")


if __name__ == "__main__":
    main()
