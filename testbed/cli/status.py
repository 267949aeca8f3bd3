"""Show the nodes of a lab, their addresses and CPUs, and how frames travel; --all lists the labs."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from testbed.cli import _options
from testbed.cli._runtimes import asked
from testbed.engine.lab import Lab, leftovers
from testbed.link.sidecar import sidecar_name
from testbed.model.placed import cpu_numbers
from testbed.runtime.base import Paths


@click.command("status")
@_options.lab
@_options.runtime
@click.option("--all", "everything", is_flag=True, help="One line for each lab on this machine.")
@_options.as_json
def command(lab_name: str, runtime: str, everything: bool, as_json: bool) -> None:
    """Show the nodes of a lab, their addresses and CPUs, and how frames travel between them."""
    if everything:
        _list_labs(runtime, as_json)
        return
    lab = Lab.attach(lab_name, runtime)
    if as_json:
        _options.print_json(lab_data(lab))
    else:
        print_lab(lab)


def lab_data(lab: Lab) -> dict[str, Any]:
    """A lab as plain data."""
    states = {made.name: made.state for made in lab.runtime.made(lab.name) if made.kind == "node"}
    return {
        "lab": lab.name,
        "runtime": lab.runtime.name,
        "placed_by": lab.runtime.describe().get("placed_by", "the engine"),
        "networks": {network.name: network.subnet for network in lab.placed.networks},
        "nodes": [
            {
                "name": node.name,
                "role": node.node.role,
                "state": states.get(node.name, "gone"),
                "addresses": dict(node.addresses),
                "cpus": node.cpuset,
                "emulated_hosts": node.emulated_prefix,
            }
            for node in lab.placed.nodes
        ],
        "links": _links(lab) if any(sidecar_name(node.name) in states for node in lab.placed.nodes) else [],
        "paths": {**dataclasses.asdict(lab.paths), "text": describe_paths(lab.paths)},
    }


def _links(lab: Lab) -> list[dict[str, Any]]:
    """What each link that was ever shaped was last told to be, by what and why, and who does not see it."""
    from testbed.link.lab_links import LabLinks  # late: most labs have plain links, and it takes a while

    return [
        {"link": name, "declared": kept.shape.text(), "by": dict(kept.by), "notes": list(kept.missed)}
        for name, kept in LabLinks(lab.runtime, lab.placed).kept()
    ]


def print_lab(lab: Lab) -> None:
    """A lab as a table, with a line on its paths."""
    data = lab_data(lab)
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "role", "state", "addresses", "CPUs", "emulated hosts"):
        table.add_column(heading, no_wrap=True)
    for node in data["nodes"]:
        addresses = "  ".join(f"{network} {address}" for network, address in node["addresses"].items())
        table.add_row(
            node["name"], node["role"], node["state"], addresses, node["cpus"] or "all", node["emulated_hosts"] or ""
        )
    networks = ", ".join(f"{name} {subnet}" for name, subnet in data["networks"].items())
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    console.print(f"lab {lab.name} ({lab.runtime.name}): {networks}")
    console.print(table)
    console.print(f"fast path: {data['paths']['text']}", soft_wrap=True)
    console.print(f"CPUs: nodes are placed by {data['placed_by']}")
    for link in data["links"]:
        by = "; ".join(f"{side} {why}" for side, why in link["by"].items()) or "none"
        click.echo(f"link {link['link']}: {link['declared']} [{by}]")
        for note in link["notes"]:
            click.echo(f"note: {link['link']} {note}")
    if not _cpus(lab, "server").isdisjoint(_cpus(lab, "client")):
        console.print("note: server and clients share CPUs, so no point shows the server alone")


def describe_paths(paths: Paths) -> str:
    """How frames travel, in one line."""
    if paths.switched and paths.steered:
        but = f"; but {paths.reason}" if paths.reason else ""
        return f"on (frames pass the lab's own switch, receivers pay for receiving{but})"
    if paths.switched:
        return f"half: frames pass the lab's own switch, receiving is not steered ({paths.reason})"
    return f"off: {paths.reason or 'not asked for'}"


def _cpus(lab: Lab, role: str) -> set[int]:
    """A node without CPUs of its own may run on any that another has."""
    every = {cpu for node in lab.placed.nodes for cpu in cpu_numbers(node.cpuset or "0")}
    placed = [set(cpu_numbers(node.cpuset)) if node.cpuset else every for node in lab.placed.with_role(role)]
    return set().union(*placed)


def _list_labs(runtime: str, as_json: bool) -> None:
    there = asked(runtime)
    there.name_others()
    labs: dict[str, dict[str, int]] = {}
    for made in leftovers(there.runtimes):
        counts = labs.setdefault(made.lab, {"nodes": 0, "networks": 0})
        counts["nodes" if made.kind == "node" else "networks"] += 1
    if as_json:
        _options.print_json(labs)
        there.insist()
        return
    for name, counts in sorted(labs.items()):
        click.echo(f"{name}: {counts['nodes']} nodes, {counts['networks']} networks")
    if not labs:
        click.echo(f"no lab stands{there.where}")
    there.insist()
