"""Capture the packets of a node into a pcap, bounded, and say what is in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from testbed.cli import _options
from testbed.engine.lab import Lab
from testbed.errors import UsageError
from testbed.link.capture import Bounds, Capture
from testbed.link.lab_links import LabLinks
from testbed.link.pcap_summary import PcapSummary, summarise

_SHOWN = 5


@click.command("capture")
@_options.lab
@_options.runtime
@click.option("--network", metavar="NAME", help="Which interface, for a node on several networks.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="At most so long.")
@click.option(
    "--packets", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="At most so many."
)
@click.option("--snap", type=click.IntRange(64, 65_535), default=256, show_default=True, help="Bytes kept of each.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file.  [default: LAB-NODE-NETWORK.pcap]"
)
@_options.as_json
@click.argument("node")
def command(
    lab_name: str,
    runtime: str,
    network: str | None,
    seconds: float,
    packets: int,
    snap: int,
    out: Path | None,
    as_json: bool,
    node: str,
) -> None:
    """Capture the packets of NODE into a pcap, bounded, and say what is in it.

    tcpdump runs beside the node, not in it; Ctrl-C ends the capture. What the packet engine of a client sends passes
    no capture of the client: capture the server.
    """
    lab = Lab.attach(lab_name, runtime)
    endpoint = LabLinks(lab.runtime, lab.placed).endpoint(node, network)
    target = out or Path(f"{lab_name}-{node}-{endpoint.network}.pcap")
    if not target.parent.is_dir():
        raise UsageError(f"--out {target}: there is no folder {target.parent}")
    capture = Capture(endpoint, Bounds(seconds, packets, snap))
    with capture, suppress(KeyboardInterrupt):
        capture.wait()
    captured = capture.fetch()
    target.write_bytes(captured.pcap)
    summary = summarise(captured.pcap)
    blind = lab.placed.node(node).emulated_prefix is not None
    if as_json:
        facts = {"file": str(target), "dropped": captured.dropped, "without_engine_sends": blind}
        _options.print_json({**facts, **as_data(summary)})
        return
    click.echo(f"{target}: {describe(summary)}")
    if captured.dropped:
        click.echo(f"  {captured.dropped} more were dropped by the capture")
    if blind:
        click.echo("  what the packet engine's hosts on the node send is not in it: it passes the kernel's captures by")
    for conversation, count in summary.conversations.most_common(_SHOWN):
        click.echo(f"  {conversation}: {count}")


def describe(summary: PcapSummary) -> str:
    """In one line."""
    protocols = ", ".join(f"{count} {name}" for name, count in summary.protocols.most_common())
    flags = ", ".join(f"{count} {name}" for name, count in summary.tcp_flags.most_common())
    text = f"{summary.packets} packets, {summary.bytes} bytes in {summary.seconds:.3f} s"
    return text + (f" ({protocols}{'; ' + flags if flags else ''})" if protocols else "")


def as_data(summary: PcapSummary) -> dict[str, object]:
    """As plain data."""
    return {
        "packets": summary.packets,
        "bytes": summary.bytes,
        "seconds": summary.seconds,
        "protocols": dict(summary.protocols),
        "tcp_flags": dict(summary.tcp_flags),
        "conversations": dict(summary.conversations.most_common(_SHOWN)),
    }
