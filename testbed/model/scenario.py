"""An experiment as plain data: which servers, which rates, which workload, how many idle connections, how long."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from testbed.model.access import AccessLink, check_access, parse_access
from testbed.model.claim import Claim
from testbed.model.server import Server
from testbed.model.timeline import LinkChange, check_timeline
from testbed.model.value import Value
from testbed.model.workload import Workload

AUTO = "auto"
"""As ``rates_per_s``: rates are found when it runs."""

Idle = Annotated[int, Field(ge=0, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Lifetime = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
IdleMode = Literal["silent", "heartbeat", "slow-reader"]

SLOW_FILE = "slow.bin"
"""What slow readers ask for, beside the workload's own documents."""

_SLOW_FILE_BYTES = 1024 * 1024


class Profile(Value):
    """How long and how often: everything of a scenario that only costs time.

    ``rates_per_s`` are offered requests a second over all clients; "auto" (kept as an empty tuple) finds the
    knee of every server with a few short trials and places rates around it. ``cool_down_s`` None watches the
    server's sockets drain after each point; a number waits that long instead (the paper: 120 s, so that TIME_WAIT
    clears). ``workload`` holds fields of the scenario's workload that take another value in this profile.
    """

    rates_per_s: tuple[Rate, ...]
    repetitions: int = Field(default=1, ge=1, le=1000)
    warm_up_s: float = Field(default=0.4, ge=0, le=600)
    window_s: float = Field(default=1.0, gt=0, le=3600)
    client_timeout_s: float = Field(default=1.0, gt=0, le=120)
    cool_down_s: float | None = Field(default=None, ge=0, le=3600)
    workload: dict[str, Any] = {}

    @field_validator("rates_per_s", mode="before")
    @classmethod
    def _auto(cls, rates: Any) -> Any:
        if rates == AUTO:
            return ()
        if isinstance(rates, list | tuple) and not rates:
            raise ValueError('at least one rate, or "auto"')
        return rates

    @field_validator("rates_per_s")
    @classmethod
    def _distinct(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) != len(rates):
            raise ValueError("a rate stands twice: use repetitions")
        return rates

    @property
    def load_s(self) -> float:
        """How long requests are started: the warm-up and the window."""
        return self.warm_up_s + self.window_s


class Scenario(Value):
    """One experiment. A scenario file exports it as ``SCENARIO``.

    ``name`` names the result folder; ``title`` is the figure's heading; ``sentence`` says what the paper (or the
    author) expects. ``idle_connections`` are held by the idle nodes together; several numbers are swept over.
    ``idle_mode``: they say nothing, send a byte a second of a request that never ends, or read a large file slowly,
    ``idle_read_bytes_per_s`` each. ``timeline`` changes links while the load runs, in every point.
    ``access`` gives each emulated host of the clients a link of its own: kinds of link, as profiles' names or words of
    a shape, with their shares of the hosts ({"dsl": 0.6, "delay 40ms, loss 1%": 0.4}; the shares sum to 1). Beside each
    point with access links ``idle_stand_ins_s`` puts points without: as many idle connections stand in for the open
    ones as there would be at a time if each lasted so many seconds (0: none).
    ``arrival`` is an arrival process of loadgen (httperf's default is deterministic, and so it is here). ``figures``
    are kinds of figure by name; ``claims`` are what the sentence means in numbers, judged after each run.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    sentence: str
    servers: tuple[SerializeAsAny[Server], ...] = Field(min_length=1)
    workload: SerializeAsAny[Workload]
    idle_connections: Idle | tuple[Idle, ...] = 0
    idle_mode: IdleMode = "silent"
    idle_read_bytes_per_s: int = Field(default=512, ge=1, le=2**30)
    timeline: tuple[LinkChange, ...] = ()
    access: tuple[AccessLink, ...] = ()
    idle_stand_ins_s: tuple[Lifetime, ...] = ()
    max_connections: int = Field(default=15_000, ge=1)
    arrival: str = "deterministic"
    profiles: dict[str, Profile] = Field(min_length=1)
    figures: tuple[str, ...] = ("reply_rate",)
    claims: tuple[Claim, ...] = ()

    @field_validator("access", mode="before")
    @classmethod
    def _access(cls, links: Any) -> Any:
        return parse_access(links)

    @field_validator("access")
    @classmethod
    def _whole_access(cls, links: tuple[AccessLink, ...]) -> tuple[AccessLink, ...]:
        return check_access(links)

    @model_validator(mode="after")
    def _distinct_servers(self) -> Scenario:
        labels = [server.label for server in self.servers]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two servers are the same: {twice[0]}")
        if not self.idle_counts or len(set(self.idle_counts)) != len(self.idle_counts):
            raise ValueError("idle_connections: at least one number, and none twice")
        if self.idle_stand_ins_s and not self.access:
            raise ValueError("idle_stand_ins_s: without access links there is nothing to stand in for")
        if len(set(self.idle_stand_ins_s)) != len(self.idle_stand_ins_s):
            raise ValueError("idle_stand_ins_s: a number stands twice")
        names = [claim.name for claim in self.claims]
        if len(set(names)) != len(names):
            raise ValueError("claims: a name stands twice")
        for name in self.profiles:
            self.in_profile(name)
        check_timeline(self.timeline, {name: profile.load_s for name, profile in self.profiles.items()})
        return self

    @property
    def idle_counts(self) -> tuple[int, ...]:
        """The idle populations to measure beside."""
        return self.idle_connections if isinstance(self.idle_connections, tuple) else (self.idle_connections,)

    def in_profile(self, name: str) -> Scenario:
        """The scenario with the workload that the profile has; raises ValueError for what no such workload can be."""
        profile = self.profiles.get(name)
        if profile is None or not profile.workload:
            return self
        workload = type(self.workload).model_validate({**self.workload.model_dump(), **profile.workload})
        profiles = {**self.profiles, name: profile.model_copy(update={"workload": {}})}
        return self.model_copy(update={"workload": workload, "profiles": profiles})

    def documents(self) -> dict[str, bytes]:
        """The files that the server serves: the workload's, and what slow readers ask for."""
        slow = {SLOW_FILE: b"s" * _SLOW_FILE_BYTES} if self.idle_mode == "slow-reader" else {}
        return {**self.workload.documents(), **slow}

    def described(self) -> dict[str, Any]:
        """Plain data for the manifest: names for figures added, profiles left out (the chosen one stands beside)."""
        data = self.model_dump(mode="json", exclude={"profiles"})
        data["labels"] = [server.label for server in self.servers]
        data["workload_name"] = self.workload.name
        if self.workload.digest is not None:
            data["workload_digest"] = self.workload.digest
        return data
