"""Scenario files and ``--set``: what is right loads, what is wrong is one line with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.engine.scenario_file import changed, load_scenario
from testbed.errors import InputError
from testbed.model.scenario import Profile
from testbed.model.server import Userver
from tests.unit.records import SCENARIO

SHIPPED = sorted((Path(__file__).parents[2] / "scenarios").rglob("*.py"))
HEAD = "# a scenario\nfrom testbed import OneByte, Profile, Scenario, Userver, mechanisms\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_loads_and_is_named_like_its_file(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert {"quick", "laptop", "paper"} <= set(scenario.profiles)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "exports no SCENARIO"),
        ("SCENARIO = 3", "exports no SCENARIO"),
        ("x = 1\nSCENARIO = (", r"file\.py:2: SyntaxError"),
        ("import nothing_of_that_name", r"file\.py:1: ModuleNotFoundError"),
        (HEAD + "p = Profile(rates_per_s=(0,))", r"file\.py:3: rates_per_s\.0: .*greater than 0"),
        (HEAD + "p = Profile(rates_per_s=(-5,))", "greater than 0"),
        (HEAD + "p = Profile(rates_per_s=(5, 5))", "a rate stands twice"),
        (HEAD + "s = Userver(mechanism='select', colour=1)", "colour: unknown or unsupported key"),
        (HEAD + "s = Userver(mechanism='select', accept_limit=0)", "accept_limit"),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/no.py: no such scenario file")):
        load_scenario(tmp_path / "no.py")


def test_a_bare_name_is_a_shipped_scenario_and_a_path_stays_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_scenario("figure_5").name == "figure_5"
    assert load_scenario(Path("wan_one_byte")).name == "wan_one_byte"
    with pytest.raises(InputError, match=re.escape("figure_5.py: no such scenario file")):
        load_scenario(Path("figure_5.py"))
    with pytest.raises(InputError, match="figure_55: no such scenario: a file, or one of accept_sweep, dual_nic_"):
        load_scenario("figure_55")


def test_settings_change_scenario_profile_workload_and_servers() -> None:
    settings = ["idle_connections=500", "rates_per_s=[1000, 2000]", "window_s=3", "workload.size_bytes=100"]
    scenario = changed(SCENARIO, [*settings, "mechanisms=[poll]"], "quick")
    assert scenario.idle_connections == 500
    assert scenario.profiles["quick"].rates_per_s == (1000, 2000)
    assert scenario.profiles["quick"].window_s == 3
    assert scenario.profiles["laptop"] == SCENARIO.profiles["laptop"]
    assert scenario.workload.name == "one-file-100-bytes"
    assert [server.label for server in scenario.servers] == ["poll"]
    limited = changed(SCENARIO, ["accept_limit=10", "backlog=4096"], "quick")
    assert set(limited.servers) == {Userver(mechanism=m, accept_limit=10, backlog=4096) for m in ("select", "epoll-lt")}
    assert [server.label for server in limited.servers] == [
        "select, accept-limit 10, backlog 4096",
        "epoll-lt, accept-limit 10, backlog 4096",
    ]
    assert changed(limited, ["accept_limit=inf", "backlog=128"], "quick").servers == SCENARIO.servers
    assert changed(SCENARIO, ["rates_per_s=700"], "quick").profiles["quick"].rates_per_s == (700,)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rates_per_s=0", "greater than 0"),
        ("rates_per_s=[1000, -1]", "greater than 0"),
        ("rates_per_s=fast", "valid number"),
        ("idle_connections=-1", "greater than or equal to 0"),
        ("idle_connections=[1, 1]", "none twice"),
        ("accept_limit=0", "accept_limit: Input should be greater than or equal to 1, not 0"),
        ("accept_limit=many", "accept_limit: a whole number from 1, or inf, not 'many'"),
        ("backlog=0", "backlog: Input should be greater than or equal to 1"),
        ("nonsense=1", "unknown setting 'nonsense': one of"),
        ("window_s", "must be key=value"),
        ("window_s=[", "is no value"),
        ("workload.colour=1", "unknown or unsupported key"),
        ("mechanisms=3", "must be a mechanism or a list"),
        ("mechanisms=[select, select]", "two servers are the same"),
        ("servers=1", "unknown setting"),
    ],
)
def test_a_bad_setting_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        changed(SCENARIO, [setting], "quick")
    assert str(caught.value).startswith("--set ")
    assert "\n" not in str(caught.value)


def test_a_profile_may_change_the_workload_and_a_setting_comes_before_it() -> None:
    scenario = load_scenario("figure_2")
    directories = {name: changed(scenario, [], name).documents().keys() for name in ("quick", "laptop", "paper")}
    assert {name: len(files) // 36 for name, files in directories.items()} == {"quick": 8, "laptop": 57, "paper": 57}
    few = changed(scenario, ["workload.directories=2"], "laptop").in_profile("laptop")
    assert few.workload.name == "specweb99, 2 directories"


def test_a_profile_that_no_such_workload_can_follow_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text(
        HEAD + "p = {'quick': Profile(rates_per_s=(5,), workload={'directories': 5})}\n"
        "s = Scenario(name='s', title='', sentence='', servers=mechanisms('poll'), workload=OneByte(), profiles=p)\n"
    )
    with pytest.raises(InputError, match=r"file\.py:4: directories: unknown or unsupported key"):
        load_scenario(path)


def test_a_profile_without_rates_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rate"):
        Profile(rates_per_s=())
