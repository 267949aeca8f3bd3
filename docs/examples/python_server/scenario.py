"""The example of docs/own_server.md: a server of a few lines in Python beside the µserver."""

from pathlib import Path

from testbed import PROFILES, OneByte, Scenario, ServerImage, mechanisms

SCENARIO = Scenario(
    name="python_server",
    title="A Python server beside the µserver",
    sentence="An interpreter costs more than the event mechanism under it.",
    servers=(
        *mechanisms("epoll-lt"),
        ServerImage(
            name="python",
            dockerfile_folder=Path(__file__).resolve().parent,
            command=("python3", "/server.py"),
            ready_path="/1.bin",
        ),
    ),
    workload=OneByte(),
    profiles=PROFILES,
)
