"""The CPU time that containers have used, as of now: from their control groups, which are read where they are here.

The engine tells it too, but not every engine at once: up to 24.0.6 the answer waits for the engine's own round, which
comes once a second (https://github.com/moby/moby/pull/46448). Of a window of one second that may show nothing.
"""

from __future__ import annotations

import json
import time
from typing import Any

import docker

from testbed.errors import RuntimeFault
from testbed.runtime import control_groups
from testbed.runtime.docker_engine import faults

_LATE_S = 0.25
"""An engine that has to wait for nothing answers within some 10 ms, a busy one within some 100."""


class CpuAccounts:
    """Keeps which group is whose. It may be called from any thread."""

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api
        self._groups: dict[str, str | None] = {}

    def used_ns(self, container: str, node: str) -> int:
        """Of all processes of a container since its start. Raises RuntimeFault, also for what is told too late."""
        if container not in self._groups:
            with faults(f"CPU time of {node}"):
                pid = int(self._api.inspect_container(container)["State"]["Pid"])
            self._groups[container] = control_groups.container_group(pid, container)
        group = self._groups[container]
        if group is None:
            return self._told_ns(container, node)
        try:
            return control_groups.cpu_time_ns(group)
        except OSError as error:
            raise RuntimeFault(f"CPU time of {node}: its control group cannot be read ({error.strerror})") from None

    def forget(self, container: str) -> None:
        """It is gone."""
        self._groups.pop(container, None)

    def _told_ns(self, container: str, node: str) -> int:
        asked = time.monotonic()
        with faults(f"CPU time of {node}"):
            stats: Any = self._api.stats(container, stream=False, one_shot=True)
        took_s = time.monotonic() - asked
        if took_s > _LATE_S:
            raise RuntimeFault(
                f"CPU time of {node}: the engine told it {took_s:.1f} s late; run testbed on the engine's own machine, "
                "or with an engine from 25.0 on"
            )
        if isinstance(stats, bytes):
            stats = json.loads(stats)
        return int(stats["cpu_stats"]["cpu_usage"]["total_usage"])
