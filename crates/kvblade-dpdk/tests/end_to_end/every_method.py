"""Every aoe_* method through SPDK's client library, in rounds, on an export that an initiator uses meanwhile, and on others.

Arguments: the socket, the initiator's MAC address, the rounds, the methods that there are. Prints the calls that change something.
"""

import json
import sys

from spdk.rpc.client import JSONRPCClient

socket, mac, rounds, methods = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
LOADED = {"shelf": 1, "slot": 1}
OTHER = {"shelf": 1, "slot": 2}
called, changes = set(), 0


def check(what, expected):
    assert what == expected, f"{what} is not {expected}"


with JSONRPCClient(socket, timeout=60) as client:

    def asked(method, **params):
        called.add(method)
        return client.call(method, params)

    def changed(method, **params):
        global changes
        changes += 1
        return asked(method, **params)

    for turn in range(rounds):
        name = ("other", "one")[turn % 2]
        check(changed("aoe_replace_bdev", **LOADED, bdev_name=name)["bdev"]["name"], name)
        buffers = 16 + turn % 3
        check(changed("aoe_update_export", **LOADED, buffers=buffers, model=f"round {turn}")["buffers"], buffers)
        check(changed("aoe_set_qos", **LOADED, iops=100_000 + turn), True)
        check(asked("aoe_get_exports", **LOADED)[0]["iops"], 100_000 + turn)
        check(changed("aoe_set_qos", **LOADED), True)
        check(changed("aoe_set_config_string", **LOADED, config=f"round {turn}"), True)
        check(changed("aoe_set_mask_list", **LOADED, macs=[mac]), True)
        check(changed("aoe_set_reservation", **LOADED, macs=[mac]), True)
        check(asked("aoe_get_exports", **LOADED)[0]["initiator_state"]["config"], f"round {turn}")
        check(changed("aoe_clear_initiator_state", **LOADED), True)
        check(changed("aoe_create_export", **OTHER, bdev_name="m0", vlan=1 + turn)["state"], "online")
        check(len(asked("aoe_get_exports")), 2)
        check(changed("aoe_announce", shelf=1), True)
        check(changed("aoe_enable_histogram", **LOADED), True)
        assert "reads" in asked("aoe_get_histogram", **LOADED)
        check(changed("aoe_start_capture", name=f"round{turn}", **LOADED, max_bytes=4096)["name"], f"round{turn}")
        assert any(capture["name"] == f"round{turn}" for capture in asked("aoe_get_captures"))
        changed("aoe_stop_capture", name=f"round{turn}")
        changed("aoe_set_log_level", directives="warn")
        check(asked("aoe_get_log_level")["directives"], "warn")
        assert asked("aoe_get_health")["verdict"] and asked("aoe_get_ports") and asked("aoe_get_lcores")
        assert asked("aoe_get_initiators") and asked("aoe_get_stats")["exports"]
        check(changed("aoe_reset_stats"), True)
        check(changed("aoe_delete_export", **OTHER, vlan=1 + turn), True)
        assert json.loads(json.dumps(client.call("bdev_get_iostat", {"name": name})))["bdevs"]

missing = set(methods) - called
assert not missing, f"not called: {missing}"
print(changes)
