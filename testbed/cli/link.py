"""Shape the links of a lab that stands, show what is set, and measure what it really does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testbed.cli import _options
from testbed.engine.lab import Lab
from testbed.engine.timeline import put_back_unfinished
from testbed.errors import UsageError
from testbed.link.base import AUTO, Endpoint
from testbed.link.capture import Bounds, Capture
from testbed.link.choose import read_back, set_by
from testbed.link.lab_links import LabLinks
from testbed.model.link_report import LinkReport
from testbed.model.shape import DIRECTIONS, Direction
from testbed.model.shape_profiles import PROFILES
from testbed.model.shape_text import KEYS, parse_link
from testbed.units import format_duration_us, format_percent, format_rate_bps

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
    "--link", "backend", default=AUTO, metavar="BACKEND", show_default=True, help="auto, netem, userspace, tbf."
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
def show(lab_name: str, runtime: str, as_json: bool, node: str | None) -> None:
    """Show what was declared and what is set now, for NODE or for all that were ever shaped."""
    links = _links(lab_name, runtime)
    if node is not None:
        links.sidecar(node)
    rows = []
    for name, network in links.touched():
        if node not in (None, name):
            continue
        endpoint = links.endpoint(name, network)
        declared = links.declared(endpoint)
        for side in DIRECTIONS:
            found = read_back(endpoint, side)
            by = " + ".join(backend for backend, _ in set_by(endpoint, side)) or "none"
            rows.append((name, network, side, declared.toward(side), found, by))
    if as_json:
        names = ("node", "network", "direction", "declared", "read_back", "backend")
        _options.print_json(
            [
                dict(zip(names, (*row[:3], row[3].model_dump(), row[4].model_dump(), row[5]), strict=True))
                for row in rows
            ]
        )
        return
    for name, network, side, declared_side, found, by in rows:
        note = "" if found.text() == declared_side.text() else f", declared {declared_side.text()}"
        click.echo(f"{name} {network} {side}: {found.text()} [{by}]{note}")
    if not rows:
        click.echo("no link was shaped")


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
    click.echo(f"{count} links are unshaped" if count != 1 else "1 link is unshaped")


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

    A link that is off is measured once more under tcpdump, which keeps its pcap. Ends with status 1 when one is off.
    """
    links = _links(lab_name, runtime)
    wanted = [(name, network) for name in nodes] or [(name, of) for name, of in links.touched()]
    reports = []
    for name, of in wanted:
        endpoint = links.endpoint(name, of)
        found = links.test(endpoint, via)
        reports += found
        off = [report.direction for report in found if report.verdict == "off"]
        if off:
            kept = _keep(links, endpoint, via, off, keep / f"{lab_name}-{name}-{endpoint.network}-off.pcap")
            click.echo(f"{name} is off: measured again into {kept}", err=True)
    if as_json:
        _options.print_json([report.model_dump(mode="json") for report in reports])
    else:
        for report in reports:
            click.echo(describe(report))
        if not reports:
            click.echo("no link was shaped: name a node to measure it all the same")
    return 1 if any(report.verdict == "off" for report in reports) else 0


@command.command("profiles")
def profiles() -> None:
    """List the named links, with the publication that each comes from."""
    for name, profile in PROFILES.items():
        click.echo(f"{name}\n  {profile.shape.text()}\n  {profile.source}")


def _keep(links: LabLinks, endpoint: Endpoint, via: str | None, directions: list[Direction], target: Path) -> Path:
    """The pcap of one more measurement of what is off."""
    with Capture(endpoint, _KEPT) as capture:
        links.test(endpoint, via, directions)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(capture.fetch().pcap)
    return target


def describe(report: LinkReport) -> str:
    """A report in a few lines."""
    seen = report.measured
    parts = [f"delay {format_duration_us(round(seen.delay_us))}"]
    if seen.jitter_us > 100:
        parts.append(f"jitter {format_duration_us(round(seen.jitter_us))}")
    low, high = (format_percent(round(bound, 3)) for bound in (seen.lost.low_percent, seen.lost.high_percent))
    parts.append(f"loss {format_percent(round(seen.lost.percent, 3))} (99%: {low} to {high})")
    if seen.rate_bps is not None:
        parts.append(f"rate {format_rate_bps(round(seen.rate_bps, -3))}")
    counts = (("duplicates", seen.duplicated.count), ("corrupted", seen.corrupted.count), ("overtaken", seen.overtaken))
    parts += [f"{count} {name}" for name, count in counts if count]
    lines = [
        f"{report.node} {report.network} {report.direction} (with {report.via}, {report.backend}): {report.verdict}",
        f"  declared  {report.declared.text()}",
        f"  measured  {', '.join(parts)}; {seen.probes} probes",
        *(f"  {deviation}" for deviation in report.deviations),
        *(f"  (the first time: {deviation})" for deviation in report.first_deviations),
    ]
    return "\n".join(lines)


def _links(lab_name: str, runtime: str) -> LabLinks:
    lab = Lab.attach(lab_name, runtime)
    return LabLinks(lab.runtime, lab.placed)
