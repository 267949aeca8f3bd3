"""Say what this machine has and lacks for the testbed, with a fix for each lack."""

from __future__ import annotations

import dataclasses

import click
from rich.console import Console
from rich.text import Text

from testbed.cli import _options
from testbed.engine.doctor import examine
from testbed.engine.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "lack": "red"}
_ENVIRONMENT_LACKS = 3


@click.command("doctor")
@_options.as_json
def command(as_json: bool) -> int:
    """Say what this machine has and lacks for the testbed, with a one-line fix for each lack.

    Ends with 3 only if the main job cannot run here.
    """
    findings = examine()
    if as_json:
        _options.print_json([{**dataclasses.asdict(finding), "blocks": finding.blocks} for finding in findings])
    else:
        _print(findings)
    return _ENVIRONMENT_LACKS if any(finding.blocks for finding in findings) else 0


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.state:<5}", style=_STYLES[finding.state])
        line.append(f"{finding.name:<{width}}  {finding.what}", style="default")
        console.print(line, soft_wrap=True)
        if finding.fix:
            console.print(f"{'':5}{'':{width}}  fix: {finding.fix}", soft_wrap=True, markup=False)
    blocking = [finding.name for finding in findings if finding.blocks]
    verdict = f"the main job cannot run here: {', '.join(blocking)}" if blocking else "the main job can run here"
    console.print(verdict)
