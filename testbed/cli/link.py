"""Shape the links of a lab that stands, show what is set, and measure what it really does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from testbed.cli import _options
from testbed.engine.lab import Lab
from testbed.engine.timeline import put_back_unfinished, unfinished
from testbed.errors import RunError, UsageError
from testbed.link.base import AUTO, Endpoint
from testbed.link.capture import Bounds, Capture
from testbed.link.choose import merged, set_by
from testbed.link.lab_links import LabLinks
from testbed.link.userspace_counters import described
from testbed.model.link_report import LinkReport
from testbed.model.shape import DIRECTIONS, Direction, Shape
from testbed.model.shape_profiles import PROFILES
from testbed.model.shape_text import KEYS, parse_link
from testbed.units import format_duration_us

_HELP = {
    "delay": "How long each packet travels: 20ms.",
    "jitter": "Spread around the delay: 5ms.",
    "distribution": "Of the jitter: uniform, normal, pareto.",
    "correlation": "Of a packet's jitter with the one before: 25%.",
    "loss": "Share lost, each packet for itself: 1%.",
    "gemodel": "Loss in bursts: 'p r [1-h [1-k]]', like '1% 25%'.",
    "duplicate": "Share that arrives twice.",
    "reorder": "Share that does not travel but arrives at once.",
    "corrupt": "Share in which one bit is flipped.",
    "rate": "10mbit, 1.5gbit.",
    "burst": "What may pass at once after a pause: 64kib.",
    "limit": "Packets that may wait for the rate.",
    "seed": "The same seed, the same fates.",
}

_KEPT = Bounds(seconds=120, packets=200_000, snap_bytes=96)
"""What is kept of a link that is off: all headers of one measurement."""

_HELD_BACK_US = 200
"""Shown when the rate keeps packets behind late ones for longer."""

_network = click.option("--network", metavar="NAME", help="Which interface, for a node on several networks.")


def _shape_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for key in reversed(KEYS):
        function = click.option(f"--{key}", f"words_{key}", metavar="VALUE", help=_HELP[key])(function)
    return function


@click.group("link")
def command() -> None:
    """Shape the links of a lab that stands, show what is set, and measure what it really does.

    A link has two directions, seen from its node: down is what it receives, up what it sends.
    """


@command.command("set")
@_options.lab
@_options.runtime
@_network
@click.option("--direction", type=click.Choice(["both", *DIRECTIONS]), default="both", show_default=True)
@click.option("--profile", metavar="NAME", help=f"A published link, to be changed in part: {', '.join(PROFILES)}.")
@click.option(
    "--link",
    "backend",
    default=AUTO,
    metavar="BACKEND",
    show_default=True,
    help="What shapes it; auto picks.",
)
@_shape_options
@_options.as_json
@click.argument("node")
def set_link(
    lab_name: str,
    runtime: str,
    network: str | None,
    direction: str,
    profile: str | None,
    backend: str,
    as_json: bool,
    node: str,
    **words: str | None,
) -> None:
    """Give NODE's link a shape, in place of the one that it has. `--delay 20ms` means 20 ms each way.

    With --direction the other direction stays as it is.
    """
    given = {key: words[f"words_{key}"] for key in KEYS if words[f"words_{key}"] is not None}
    if not given and profile is None:
        raise UsageError(
            "nothing to set: give a --profile, or --delay, --loss, --rate … (`link reset` removes a shape)"
        )
    written: dict[str, Any] = {**given, **({"profile": profile} if profile else {})}
    wanted = parse_link("link set", written)
    links = _links(lab_name, runtime)
    endpoint = links.endpoint(node, network)
    if direction != "both":
        chosen: Direction = "down" if direction == "down" else "up"
        wanted = links.declared(endpoint).model_copy(update={chosen: wanted.toward(chosen)})
    choices = links.shape(endpoint, wanted, backend)
    if as_json:
        facts = {side: {"backend": choice.names, "why": choice.reason} for side, choice in choices.items()}
        notes = links.blind_spots(endpoint, choices)
        shape = wanted.model_dump(mode="json")
        _options.print_json(
            {"node": node, "network": endpoint.network, "shape": shape, "by": facts, "blind_spots": notes}
        )
        return
    for side, choice in choices.items():
        click.echo(f"{node} {endpoint.network} {side}: {wanted.toward(side).text()} [{choice.names}: {choice.reason}]")
    for note in links.blind_spots(endpoint, choices):
        click.echo(f"note: {note}")


@command.command("show")
@_options.lab
@_options.runtime
@_options.as_json
@click.argument("node", required=False)
def show(lab_name: str, runtime: str, as_json: bool, node: str | None) -> int:
    """Show what was declared, what is set now and how late linkem was, for NODE or for all that were ever shaped.

    Ends with status 1 when a link is broken; the others are shown all the same.
    """
    lab = Lab.attach(lab_name, runtime)
    links = LabLinks(lab.runtime, lab.placed)
    if node is not None:
        links.sidecar(node)
    rows = []
    for name, network in links.touched():
        if node not in (None, name):
            continue
        endpoint = links.endpoint(name, network)
        declared = links.declared(endpoint)
        for side in DIRECTIONS:
            rows.append(_row(endpoint, side, declared.toward(side)))
            if not as_json:
                click.echo(_row_text(rows[-1]))
    if as_json:
        _options.print_json([{name: _plain(value) for name, value in row.items()} for row in rows])
    elif not rows:
        click.echo("no link was shaped")
    changed = sorted({change.link for change in unfinished(lab)})
    if changed:
        what = f"note: a run has changed {', '.join(changed)}; if it was killed, `testbed link reset` puts them back"
        click.echo(what, err=True)
    return 1 if any(row["broken"] for row in rows) else 0


def _row(endpoint: Endpoint, side: Direction, declared: Shape) -> dict[str, Any]:
    """One direction: what is set and by what, or why it is ``broken``."""
    row = {"node": endpoint.node, "network": endpoint.network, "direction": side, "declared": declared}
    try:
        parts = set_by(endpoint, side)
    except RunError as error:
        return {**row, "read_back": None, "backend": None, "lateness": [], "broken": str(error)}
    by = " + ".join(backend for backend, _ in parts) or "none"
    late = described(endpoint, side) if "userspace" in by else []
    return {**row, "read_back": merged(parts), "backend": by, "lateness": late, "broken": None}


def _row_text(row: Mapping[str, Any]) -> str:
    name, declared, found = f"{row['node']} {row['network']} {row['direction']}", row["declared"], row["read_back"]
    if row["broken"]:
        return f"{name}: broken: {row['broken']}, declared {declared.text()}"
    note = "" if found.text() == declared.text() else f", declared {declared.text()}"
    return "\n  ".join((f"{name}: {found.text()} [{row['backend']}]{note}", *row["lateness"]))


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Shape) else value


@command.command("reset")
@_options.lab
@_options.runtime
@_network
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
def reset(lab_name: str, runtime: str, network: str | None, nodes: tuple[str, ...]) -> None:
    """Remove the shapes of the NODEs, or all of the lab. What others made is not touched.

    Links that a killed run left down, or shaped by its timeline, are put back first.
    """
    lab = Lab.attach(lab_name, runtime)
    put_back_unfinished(lab)
    links = LabLinks(lab.runtime, lab.placed)
    for name in nodes:
        links.sidecar(name)
    count = 0
    for name, of in list(links.touched()):
        if (not nodes or name in nodes) and network in (None, of):
            links.reset(links.endpoint(name, of))
            count += 1
    click.echo({0: "no link was shaped", 1: "1 link is unshaped"}.get(count, f"{count} links are unshaped"))


@command.command("test")
@_options.lab
@_options.runtime
@_network
@click.option("--via", metavar="NODE", help="The other end of the probes.  [default: the server]")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    help="Where the capture of a link that is off goes.  [default: here]",
)
@_options.as_json
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
def test(
    lab_name: str,
    runtime: str,
    network: str | None,
    via: str | None,
    keep: Path,
    as_json: bool,
    nodes: tuple[str, ...],
) -> int:
    """Measure the links of the NODEs, or all that were shaped, each direction, and compare with what was declared.

    What is not as declared is measured once more, under tcpdump; of a link that is off both times the pcap is kept.
    Ends with status 1 when one is off, or broken; the others are measured all the same.
    """
    links = _links(lab_name, runtime)
    wanted = [(name, network) for name in nodes] or [(name, of) for name, of in links.touched()]
    reports: list[LinkReport] = []
    broken: list[str] = []
    for name, of in wanted:
        try:
            found = _tested(links, links.endpoint(name, of), via, keep / f"{lab_name}-{name}")
        except RunError as error:
            broken.append(f"{name} {of or ''}".rstrip() + f": broken: {error}")
            click.echo(broken[-1], err=True)
            continue
        reports += found
        if not as_json:
            for report in found:
                click.echo(describe(report))
    if as_json:
        _options.print_json([report.model_dump(mode="json") for report in reports])
    elif not wanted:
        click.echo("no link was shaped: name a node to measure it all the same")
    return 1 if broken or any(report.verdict == "off" for report in reports) else 0


def _tested(links: LabLinks, endpoint: Endpoint, via: str | None, kept_as: Path) -> list[LinkReport]:
    """The reports of both directions; of what is off a capture is kept under that name, the network's and its own."""
    captures: dict[Direction, Capture] = {}

    def captured(direction: Direction) -> Capture:
        return captures.setdefault(direction, Capture(endpoint, _KEPT))

    reports = links.test(endpoint, via, second=captured)
    for report in reports:
        if report.direction in captures:
            target = kept_as.with_name(f"{kept_as.name}-{endpoint.network}-{report.direction}-off.pcap")
            _keep(report, captures[report.direction], target)
    return reports


@command.command("profiles")
def profiles() -> None:
    """List the named links, with the publication that each comes from."""
    for name, profile in PROFILES.items():
        click.echo(f"{name}\n  {profile.shape.text()}\n  {profile.source}")


def _keep(report: LinkReport, capture: Capture, target: Path) -> None:
    """The pcap of the second measurement, if that was off as well."""
    if report.verdict != "off":
        capture.discard()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(capture.fetch().pcap)
    click.echo(f"{report.node} is off: its second measurement is in {target}", err=True)


def describe(report: LinkReport) -> str:
    """A report in a few lines."""
    held_back_us = report.measured.delay_foreseen_us - report.declared.delay_us - report.beside.delay_us
    foreseen = format_duration_us(round(report.measured.delay_foreseen_us))
    lines = [
        f"{report.node} {report.network} {report.direction} (with {report.via}, {report.backend}): {report.verdict}",
        f"  declared  {report.declared.text()}",
        *([f"  foreseen  delay {foreseen}: the rate keeps packets behind late ones"] * (held_back_us > _HELD_BACK_US)),
        f"  measured  {report.measured.text()}",
        *(f"  {deviation}" for deviation in report.deviations),
        *(f"  (the first time: {deviation})" for deviation in report.first_deviations),
    ]
    return "\n".join(lines)


def _links(lab_name: str, runtime: str) -> LabLinks:
    lab = Lab.attach(lab_name, runtime)
    return LabLinks(lab.runtime, lab.placed)
