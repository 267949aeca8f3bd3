"""What the README says exists: its verbs and options, its code, its files, and the two commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

import testbed
from testbed.cli import group
from testbed.model.scenario import Scenario

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
PLAIN = "\n".join(text for language, text in BLOCKS if not language)


def test_the_two_commands_are_make_targets_and_come_first() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", PLAIN, re.MULTILINE)
    assert targets[:2] == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_verb_exists_and_none_is_left_out() -> None:
    context = click.Context(group)
    verbs = set(re.findall(r"^testbed ([a-z| ]+?)  ", PLAIN, re.MULTILINE))
    named = {verb.strip() for verbs_of_line in verbs for verb in verbs_of_line.split("|")}
    named |= set(re.findall(r"^testbed ([a-z]+)", PLAIN, re.MULTILINE))
    assert named == set(group.list_commands(context))


def test_every_option_exists() -> None:
    context = click.Context(group)
    known = {
        option
        for verb in group.list_commands(context)
        for parameter in getattr(group.get_command(context, verb), "params", [])
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    text = README.replace("`userver --list-mechs`", "")  # a program's own
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text)) <= known


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_code_imports_what_there_is(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "testbed":
            assert {alias.name for alias in node.names} <= set(testbed.__all__)
            assert all(getattr(testbed, alias.name) is not None for alias in node.names)


def test_the_scenario_shown_is_a_scenario() -> None:
    names: dict[str, object] = {}
    exec(next(code for code in PYTHON if "SCENARIO =" in code), names)
    assert isinstance(names["SCENARIO"], Scenario)


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:docs|images|testbed|scenarios|tests)/[\w./-]+)`", README)
    named += re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    named += re.findall(r"\b(scenarios/[\w./]+\.py|CONTRIBUTING\.md)", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
