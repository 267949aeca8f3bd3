"""A containerised network-emulation testbed that says whether its numbers can be believed.

The public names, as scenario files, notebooks and programs import them::

    from testbed import Lab, OneByte, Scenario, draw_figures, mechanisms, read_run, run

They are loaded when first used: the command line starts without matplotlib and the docker SDK.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.analysis.claims import judge_claims as judge_claims
    from testbed.engine.lab import Lab as Lab
    from testbed.engine.run import Observer as Observer
    from testbed.engine.run import Silent as Silent
    from testbed.engine.run import run as run
    from testbed.engine.scenario_file import load_scenario as load_scenario
    from testbed.errors import TestbedError as TestbedError
    from testbed.figures.draw import draw_figures as draw_figures
    from testbed.model import paper as paper
    from testbed.model import paper_claims as paper_claims
    from testbed.model.claim import CPU_PER_REPLY as CPU_PER_REPLY
    from testbed.model.claim import REPLIES as REPLIES
    from testbed.model.claim import At as At
    from testbed.model.claim import Claim as Claim
    from testbed.model.claim import Quantity as Quantity
    from testbed.model.claim import Subject as Subject
    from testbed.model.claim import compared as compared
    from testbed.model.profiles import LAPTOP as LAPTOP
    from testbed.model.profiles import PAPER as PAPER
    from testbed.model.profiles import PROFILES as PROFILES
    from testbed.model.profiles import QUICK as QUICK
    from testbed.model.profiles import SPECWEB99_PROFILES as SPECWEB99_PROFILES
    from testbed.model.profiles import SPECWEB99_WAN_PROFILES as SPECWEB99_WAN_PROFILES
    from testbed.model.profiles import TIMELINE_PROFILES as TIMELINE_PROFILES
    from testbed.model.profiles import WAN_PROFILES as WAN_PROFILES
    from testbed.model.record import Record as Record
    from testbed.model.record import Verdict as Verdict
    from testbed.model.scenario import Profile as Profile
    from testbed.model.scenario import Scenario as Scenario
    from testbed.model.server import Server as Server
    from testbed.model.server import ServerImage as ServerImage
    from testbed.model.server import Userver as Userver
    from testbed.model.server import mechanisms as mechanisms
    from testbed.model.shape import LinkShape as LinkShape
    from testbed.model.shape import Shape as Shape
    from testbed.model.timeline import at as at
    from testbed.model.topology import Network as Network
    from testbed.model.topology import Node as Node
    from testbed.model.topology import Topology as Topology
    from testbed.store.reading import Run as Run
    from testbed.store.reading import read_run as read_run
    from testbed.topology.compose import load_compose as load_compose
    from testbed.workload.one_byte import OneByte as OneByte
    from testbed.workload.specweb99 import SpecWeb99 as SpecWeb99
    from testbed.workload.trace import Trace as Trace

_HOMES = {
    "Lab": "testbed.engine.lab",
    "run": "testbed.engine.run",
    "Observer": "testbed.engine.run",
    "Silent": "testbed.engine.run",
    "load_scenario": "testbed.engine.scenario_file",
    "TestbedError": "testbed.errors",
    "draw_figures": "testbed.figures.draw",
    "judge_claims": "testbed.analysis.claims",
    "At": "testbed.model.claim",
    "CPU_PER_REPLY": "testbed.model.claim",
    "Claim": "testbed.model.claim",
    "Quantity": "testbed.model.claim",
    "REPLIES": "testbed.model.claim",
    "Subject": "testbed.model.claim",
    "compared": "testbed.model.claim",
    "LAPTOP": "testbed.model.profiles",
    "PAPER": "testbed.model.profiles",
    "PROFILES": "testbed.model.profiles",
    "QUICK": "testbed.model.profiles",
    "SPECWEB99_PROFILES": "testbed.model.profiles",
    "SPECWEB99_WAN_PROFILES": "testbed.model.profiles",
    "TIMELINE_PROFILES": "testbed.model.profiles",
    "WAN_PROFILES": "testbed.model.profiles",
    "Record": "testbed.model.record",
    "Verdict": "testbed.model.record",
    "Profile": "testbed.model.scenario",
    "Scenario": "testbed.model.scenario",
    "Server": "testbed.model.server",
    "ServerImage": "testbed.model.server",
    "Userver": "testbed.model.server",
    "mechanisms": "testbed.model.server",
    "LinkShape": "testbed.model.shape",
    "Shape": "testbed.model.shape",
    "at": "testbed.model.timeline",
    "Topology": "testbed.model.topology",
    "Network": "testbed.model.topology",
    "Node": "testbed.model.topology",
    "read_run": "testbed.store.reading",
    "Run": "testbed.store.reading",
    "load_compose": "testbed.topology.compose",
    "OneByte": "testbed.workload.one_byte",
    "SpecWeb99": "testbed.workload.specweb99",
    "Trace": "testbed.workload.trace",
}

_MODULES = ("paper", "paper_claims")
"""Modules of named values, not names in one."""

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"testbed.model.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'testbed' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
