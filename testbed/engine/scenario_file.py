"""Loads scenario files, and changes a scenario by ``--set``."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from testbed.errors import InputError
from testbed.model.scenario import AUTO, Profile, Scenario
from testbed.model.server import Server, Userver
from testbed.model.value import first_problem
from testbed.project import scenarios_folder

_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""A scenario's name: neither a folder nor ``.py`` stands in it."""

_PROFILE_FIELDS = [name for name in Profile.model_fields if name != "workload"]


def load_scenario(file: Path | str) -> Scenario:
    """The SCENARIO of a file, or of the shipped scenario of that bare name ("figure_5").

    Raises InputError that names the file, and the line where the file itself fails.
    """
    path = _shipped(str(file)) if _NAME.fullmatch(str(file)) else Path(file)
    if not path.is_file():
        raise InputError(str(path), "no such scenario file: `testbed scenarios` lists those that there are")
    name = f"testbed_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(str(path), "is not a Python file: a scenario's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what the file defines can be found again, e.g. by pickle
    try:
        spec.loader.exec_module(module)
    except ValidationError as error:
        raise InputError(*first_problem(f"{path}:{_line_in(path, error)}", error)) from None
    except Exception as error:  # noqa: BLE001 (a user's file may raise anything; it must become one line)
        raise InputError(f"{path}:{_line_in(path, error)}", f"{type(error).__name__}: {error}") from None
    scenario = getattr(module, "SCENARIO", None)
    if not isinstance(scenario, Scenario):
        raise InputError(str(path), "exports no SCENARIO (a testbed.Scenario)")
    return scenario


def _shipped(name: str) -> Path:
    shipped = {path.stem: path for path in scenarios_folder().rglob("*.py")}
    if name not in shipped:
        raise InputError(name, f"no such scenario: a file, or one of {', '.join(sorted(shipped))}")
    return shipped[name]


def _line_in(path: Path, error: Exception) -> int:
    """The last line of the user's own file in the error's way; 1 if it never got there."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return (frames[-1].lineno or 1) if frames else 1


def changed(scenario: Scenario, settings: Sequence[str], profile: str) -> Scenario:
    """The scenario with each ``key=value`` applied: fields of the scenario, or of the named profile, with YAML values.

    Examples: ``idle_connections=500``, ``rates_per_s=[1000,2000]``, ``window_s=3``, ``workload.size_bytes=100``.
    Raises InputError that names the setting and what is allowed.
    """
    scenario = scenario.in_profile(profile)
    for setting in settings:
        key, equals, text = setting.partition("=")
        where = f"--set {setting}"
        if not equals or not key:
            raise InputError(where, "must be key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(where, f"{text!r} is no value") from None
        scenario = _with(scenario, key, value, where, profile)
    return scenario


def _with(scenario: Scenario, key: str, value: Any, where: str, profile: str) -> Scenario:
    if key == "mechanisms":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            raise InputError(where, "must be a mechanism or a list of them")
        base = next((server.model_dump() for server in scenario.servers if isinstance(server, Userver)), {})
        servers = tuple(Userver.checked(where, {**base, "mechanism": name}) for name in names)
        return _checked(scenario, {"servers": servers}, where)
    if key in ("accept_limit", "backlog"):
        limited = tuple(_with_limit(server, key, value, where) for server in scenario.servers)
        return _checked(scenario, {"servers": limited}, where)
    if key.startswith("workload."):
        field = key.removeprefix("workload.")
        workload = type(scenario.workload).checked(where, {**scenario.workload.model_dump(), field: value})
        return _checked(scenario, {"workload": workload}, where)
    if key in _PROFILE_FIELDS:
        if profile not in scenario.profiles:
            return scenario  # the missing profile is reported where it is chosen
        single = key == "rates_per_s" and not isinstance(value, list) and value != AUTO
        data = {**scenario.profiles[profile].model_dump(), key: [value] if single else value}
        return _checked(scenario, {"profiles": {**scenario.profiles, profile: Profile.checked(where, data)}}, where)
    allowed = [name for name in Scenario.model_fields if name not in ("profiles", "servers", "workload")]
    if key not in allowed:
        known = ", ".join(["mechanisms", "accept_limit", "backlog", "workload.…", *allowed, *_PROFILE_FIELDS])
        raise InputError(where, f"unknown setting {key!r}: one of {known}")
    return _checked(scenario, {key: value}, where)


def _with_limit(server: Server, key: str, value: Any, where: str) -> Server:
    """Every µserver gets the limit ("inf": none, of accepts); other people's servers have their own."""
    if not isinstance(server, Userver):
        return server
    if key == "accept_limit" and value == "inf":
        value = None
    elif key == "accept_limit" and not isinstance(value, int):
        raise InputError(where, f"accept_limit: a whole number from 1, or inf, not {value!r}")
    return Userver.checked(where, {**server.model_dump(), key: value})


def _checked(scenario: Scenario, change: dict[str, Any], where: str) -> Scenario:
    # Values that stay are passed as they are: dumping the workload would lose its class.
    kept = {name: getattr(scenario, name) for name in Scenario.model_fields}
    return Scenario.checked(where, {**kept, **change})
