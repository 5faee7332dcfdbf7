"""The methods of kvblade-dpdk as commands of SPDK's rpc.py.

    PYTHONPATH=/usr/share/kvblade-dpdk rpc.py --plugin kvblade_rpc aoe_get_exports

The commands and their help are made from schema.json, which lies beside this file and comes from the program itself. Parameters
that a method needs are given in their order; all others are options. The answer is printed as JSON.
"""

import argparse
import json
import os

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema.json")


def spdk_rpc_plugin_initialize(subparsers):
    """Called by rpc.py: adds a command for each method."""
    with open(SCHEMA, encoding="utf-8") as schema:
        methods = json.load(schema)["methods"]
    for method in methods:
        add_command(subparsers, method)


def add_command(subparsers, method):
    """Adds the command of one method."""
    name, params = method["name"], method["params"]
    description = escaped(method["description"])
    command = subparsers.add_parser(name, help=description.split("\n")[0], description=description)
    for param in params:
        add_argument(command, param)

    def call(args):
        values = {param["name"]: getattr(args, param["name"]) for param in params}
        given = {name: value for name, value in values.items() if value is not None}
        print(json.dumps(args.client.call(name, given), indent=2))

    command.set_defaults(func=call)


def add_argument(command, param):
    """Adds one parameter: in its place if it is needed, else as an option."""
    name, kind = param["name"], param["type"]
    options = {"help": escaped(param["description"])}
    if kind == "boolean":
        options["action"] = argparse.BooleanOptionalAction
    elif kind == "array":
        options["nargs"] = "*"
    elif kind.startswith("uint"):
        options["type"] = int
    if param.get("required"):
        command.add_argument(name, **options)
    else:
        # argparse's own default would be shown as that of the method.
        command.add_argument("--" + name.replace("_", "-"), dest=name, default=None, **options)


def escaped(text):
    """A % begins a placeholder in argparse's help."""
    return text.replace("%", "%%")
