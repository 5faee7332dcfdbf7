# SPDX-License-Identifier: BSD-3-Clause
"""An endpoint of dpdk-telemetry-exporter.py: kvblade-dpdk's exports, ports, lcores and health.

The exporter loads this file from /usr/share/dpdk/telemetry-endpoints. Its metrics begin with dpdk_kvblade_.
"""

EXPORT = {
    "reads": "READ commands",
    "writes": "WRITE commands",
    "read_bytes": "Bytes of successful reads",
    "written_bytes": "Bytes of successful writes",
    "flushes": "FLUSH CACHE commands",
    "write_flushes": "Flushes after a write or TRIM, before its answer",
    "fua_writes": "Writes with Force Unit Access",
    "identifies": "IDENTIFY DEVICE commands",
    "power_checks": "CHECK POWER MODE commands",
    "trims": "DATA SET MANAGEMENT commands with TRIM",
    "health_checks": "SMART commands",
    "settings": "SET FEATURES and power commands",
    "unsupported": "ATA commands that are not supported",
    "configs": "Query/config messages that were answered",
    "masks": "MAC mask messages",
    "reserves": "Reserve/release messages",
    "unknown_commands": "AoE commands that are not known",
    "order_waits": "Requests that waited for an earlier one on the same sectors",
    "copies": "Copies of requests in flight",
    "ata_errors": "Replies that reported a failed ATA command",
    "aoe_errors": "Replies with an AoE error",
    "export_full": "Requests dropped because too many were in flight",
    "rate_waits": "Requests that waited for a limit on rates",
    "rate_limited": "Requests dropped for a limit on rates",
    "timeouts": "Requests that the bdev did not answer in time",
    "late_completions": "Requests that the bdev answered after that",
    "aborts": "Requests that the bdev was asked to abort after that",
}

PORT = {
    "rx_frames": "Frames received, dropped ones included",
    "tx_frames": "Frames sent",
    "rx_bytes": "Bytes received",
    "tx_bytes": "Bytes sent",
    "advertisements": "Unsolicited advertisements sent",
}

PORT_NOW = {
    "mtu": "MTU in bytes",
    "tx_waiting": "Replies that wait for room in the NIC's ring",
}

LCORE = {
    "turns": "Turns of the loop",
    "busy_turns": "Turns in which there was work",
    "bdev_waits": "Requests postponed to the next turn for want of SPDK's memory",
    "bounced": "Reads and writes that SPDK copied for their bdev's alignment",
    "compare_faults": "Writes of a part of a block that failed at a bdev's compare",
    "rx_frames": "Frames that this lcore has served",
    "tx_frames": "Frames that this lcore has sent",
    "handed_over": "Frames handed to other lcores",
    "taken_over": "Frames handed by other lcores",
    "returned": "Replies of other lcores that this one sent",
    "return_ring_full": "Turns at whose end replies waited for room in a ring",
}

LCORE_NOW = {"in_flight": "Requests that bdevs have"}

HEALTH = ("failures", "warnings", "notes")


def info():
    """Each metric with its description and type."""
    metrics = {
        "export_online": ("1 if the export is online", "gauge"),
        "port_drops": ("Frames without an answer, by reason", "counter"),
        "port_changes": ("Changes of link and interface", "counter"),
        "healthy": ("1 if the verdict of health is ok", "gauge"),
        "health_reasons": ("Reasons of the verdict, by severity", "gauge"),
    }
    for group, prefix, kind in (
        (EXPORT, "export", "counter"),
        (PORT, "port", "counter"),
        (PORT_NOW, "port", "gauge"),
        (LCORE, "lcore", "counter"),
        (LCORE_NOW, "lcore", "gauge"),
    ):
        for name, description in group.items():
            metrics[f"{prefix}_{name}"] = (description, kind)
    return metrics


def metrics(sock):
    """The values, as (name, value, labels). What was deleted since it was listed is left out."""
    values = []
    for name in export_names(sock):
        export = sock.cmd("/kvblade/export", name)
        if export is not None:
            labels = {"export": name, "bdev": export["bdev_name"]}
            add(values, "export", EXPORT, export, labels)
            values.append(("export_online", int(export["state"] == "online"), labels))
    for number in sock.cmd("/kvblade/ports") or []:
        port = sock.cmd("/kvblade/port", number)
        if port is not None:
            labels = {"port": port["name"]}
            add(values, "port", {**PORT, **PORT_NOW}, port, labels)
            add_by(values, "port_drops", "drops_", "reason", port, labels)
            add_by(values, "port_changes", "changes_", "change", port, labels)
    for number in sock.cmd("/kvblade/lcores") or []:
        lcore = sock.cmd("/kvblade/lcore", number)
        if lcore is not None:
            add(values, "lcore", {**LCORE, **LCORE_NOW}, lcore, {"lcore": number})
    health = sock.cmd("/kvblade/health")
    if health is not None:
        values.append(("healthy", int(health["verdict"] == "ok"), {}))
        for severity in HEALTH:
            values.append(("health_reasons", health[severity], {"severity": severity[:-1]}))
    return values


def export_names(sock):
    """All names, which come in pages."""
    names = []
    while page := sock.cmd("/kvblade/exports", len(names)):
        names += page
    return names


def add(values, prefix, group, answer, labels):
    """The fields of an answer that are in a group."""
    for name in group:
        if name in answer:
            values.append((f"{prefix}_{name}", answer[name], labels))


def add_by(values, metric, prefix, label, answer, labels):
    """The fields of an answer that begin so, as one metric with the rest of their names as a label."""
    for name, value in answer.items():
        if name.startswith(prefix):
            values.append((metric, value, {**labels, label: name[len(prefix) :]}))
