"""Slow readers instead of silent idle connections: each has a reply under way, and takes 2 KiB a second of it."""

from testbed import PROFILES, OneByte, Scenario, paper

SCENARIO = Scenario(
    name="slow_readers",
    title="Slow readers: one-byte workload beside connections that read 2 KiB/s",
    sentence="To the server slow readers are idle: their replies wait in buffers. select and poll scan them all.",
    servers=paper.BASIC,
    workload=OneByte(),
    idle_connections=(0, 2_000),
    idle_mode="slow-reader",
    idle_read_bytes_per_s=2_048,
    profiles=PROFILES,
    figures=("reply_rate", "percentiles"),
)
