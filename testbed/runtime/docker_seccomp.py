"""Which system calls a node's programs may make: the engine's own seccomp profile, another one, or none."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.errors import InputError


def seccomp_option(node: str, profile: str | None) -> list[str] | None:
    """What the engine is told: None for its own profile, else the text of the file (the engine reads no files).

    Raises InputError for a file that cannot be read or is no seccomp profile.
    """
    if profile is None:
        return None
    if profile == "unconfined":
        return ["seccomp=unconfined"]
    try:
        text = Path(profile).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{profile}, seccomp profile of {node}", f"cannot be read: {error.strerror}") from None
    try:
        has_rules = "defaultAction" in json.loads(text)
    except (ValueError, TypeError):
        has_rules = False
    if not has_rules:
        raise InputError(f"{profile}, seccomp profile of {node}", "is not JSON with a defaultAction")
    return [f"seccomp={text}"]
