"""Slow readers instead of silent idle connections: each has a reply under way, and takes 512 bytes a second of it."""

from testbed import PROFILES, OneByte, Scenario, paper

SCENARIO = Scenario(
    name="slow_readers",
    title="Slow readers: one-byte workload beside connections that read 512 bytes/s",
    sentence="A slow reader costs more than an idle connection: its socket becomes writable again and again.",
    servers=paper.BASIC,
    workload=OneByte(),
    idle_connections=(0, 2_000),
    idle_mode="slow-reader",
    profiles=PROFILES,
    figures=("reply_rate", "percentiles"),
)
