"""Whether a saved run may be gone on with: what decides its numbers must be what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.analysis.comparable import differences, measured
from testbed.errors import UsageError
from testbed.model.manifest import Manifest


def check_same(folder: Path, there: Manifest, now: Manifest) -> None:
    """Raises UsageError that names the first thing in which the run in ``folder`` differs from what would go on.

    What a bring-up chooses anew may differ: subnets, addresses, the lab's name. Claims too: they only judge.
    """
    # Servers from images stand only while they are prepared; the first runs kept no more than declared names.
    known = {name for name, program in there.programs.items() if program.identity} & now.programs.keys()
    for field, was, is_now in differences(_deciding(there, known), _deciding(now, known)):
        raise UsageError(
            f"{folder} was started otherwise: {field} was {was!r} and is now {is_now!r}: "
            "its points and new ones cannot be compared"
        )


def _deciding(manifest: Manifest, nodes: set[str]) -> dict[str, Any]:
    found = measured(manifest)
    programs = {name: found["programs"][name] for name in sorted(nodes)}
    return {"seed": manifest.seed, **found, "profile": manifest.profile, "programs": programs}
