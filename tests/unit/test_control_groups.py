"""Control groups of both versions, on trees of files: where they are found, what is read, what is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import EnvironmentLack
from testbed.runtime import control_groups, netns_groups
from testbed.runtime.control_groups import Hierarchies


def mounts(folder: Path, *lines: str) -> Path:
    path = folder / "mounts"
    path.write_text("".join(f"{line.format(folder)}\n" for line in ("proc /proc proc rw 0 0", *lines)))
    return path


@pytest.fixture
def version_1(tmp_path: Path) -> Hierarchies:
    for name in ("cpu,cpuacct", "cpuset"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    lines = ("cgroup {}/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0", "cgroup {}/cpuset cgroup rw,cpuset 0 0")
    return netns_groups.find_hierarchies(mounts(tmp_path, *lines))


@pytest.fixture
def version_2(tmp_path: Path) -> Hierarchies:
    (tmp_path / "unified").mkdir()
    return netns_groups.find_hierarchies(mounts(tmp_path, "cgroup2 {}/unified cgroup2 rw,nsdelegate 0 0"))


def test_version_1_has_a_hierarchy_for_each_controller(version_1: Hierarchies, tmp_path: Path) -> None:
    assert version_1 == Hierarchies(1, tmp_path / "cpu,cpuacct", tmp_path / "cpuset")


def test_version_2_has_one(version_2: Hierarchies, tmp_path: Path) -> None:
    assert version_2 == Hierarchies(2, tmp_path / "unified", None)


def test_where_both_are_mounted_the_one_that_has_the_controllers_is_taken(tmp_path: Path) -> None:
    for name in ("unified", "cpuacct"):
        (tmp_path / name).mkdir()
    both = mounts(tmp_path, "cgroup2 {}/unified cgroup2 rw 0 0", "cgroup {}/cpuacct cgroup rw,cpuacct 0 0")
    assert netns_groups.find_hierarchies(both) == Hierarchies(1, tmp_path / "cpuacct", None)


def test_without_any_it_says_what_to_mount(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLack) as caught:
        netns_groups.find_hierarchies(mounts(tmp_path))
    assert "mount -t cgroup2" in caught.value.fix


def test_cpu_time_is_in_nanoseconds_whatever_the_version_counts_in(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "cpuacct.usage").write_text("1234567890\n")
    (two / "cpu.stat").write_text("usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 0\n")
    assert control_groups.cpu_time_ns(str(one)) == 1_234_567_890
    assert control_groups.cpu_time_ns(str(two)) == 1_234_567_000


@pytest.mark.parametrize(
    ("mount", "own", "stat"),
    [
        (
            "cgroup {}/top cgroup rw,cpu,cpuacct 0 0",
            "4:cpu,cpuacct:/pod/a",
            "nr_throttled 3\nthrottled_time {}000000000\n",
        ),
        ("cgroup2 {}/top cgroup2 rw 0 0", "0::/pod/a", "usage_usec 1\nthrottled_usec {}000000\n"),
    ],
)
def test_throttling_is_that_of_this_program_s_group_and_of_those_around_it(
    tmp_path: Path, mount: str, own: str, stat: str
) -> None:
    (tmp_path / "self").mkdir()
    mounts(tmp_path / "self", mount.format(tmp_path))
    (tmp_path / "self" / "cgroup").write_text(f"9:name=systemd:/pod/b\n{own}\n")
    assert control_groups.throttled_s(tmp_path) is None
    control_groups._quota_files.cache_clear()
    for group, seconds in (("pod/a", 2), ("pod/b", 50), ("pod", 3)):
        (tmp_path / "top" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / group / "cpu.stat").write_text(stat.format(seconds))
    (tmp_path / "top" / "cpu.stat").write_text("usage_usec 1\n")  # the outermost has no quota
    assert control_groups.throttled_s(tmp_path) == pytest.approx(5)


CONTAINER = "5ce0b1d3"
SYSTEMD = f"system.slice/docker-{CONTAINER}.scope"
JOINT = f"12:cpuset:/docker/{CONTAINER}\n4:cpu,cpuacct:/docker/{CONTAINER}\n0::/elsewhere/{CONTAINER}\n"


@pytest.mark.parametrize(
    ("lines", "mount", "folder"),
    [
        (f"2:cpuacct:/docker/{CONTAINER}\n1:cpu:/\n0::/\n", "cgroup {}/acct cgroup rw,cpuacct", f"docker/{CONTAINER}"),
        (JOINT, "cgroup {}/acct cgroup rw,cpu,cpuacct", f"docker/{CONTAINER}"),
        (f"0::/docker/{CONTAINER}\n", "cgroup2 {}/acct cgroup2 rw", f"docker/{CONTAINER}"),
        (f"0::/{SYSTEMD}\n", "cgroup2 {}/acct cgroup2 rw,nsdelegate", SYSTEMD),
        (f"0::/{SYSTEMD}/init.scope\n", "cgroup2 {}/acct cgroup2 rw,nsdelegate", SYSTEMD),
    ],
)
def test_the_group_of_a_container_is_found_by_its_first_process(
    tmp_path: Path, lines: str, mount: str, folder: str
) -> None:
    """As the engine's drivers cgroupfs and systemd name them."""
    group = tmp_path / "acct" / folder
    for process in ("self", "77"):
        (tmp_path / process).mkdir()
    mounts(tmp_path / "self", mount.format(tmp_path) + " 0 0")
    (tmp_path / "77" / "cgroup").write_text(lines)
    assert control_groups.container_group(77, CONTAINER, tmp_path) is None, "mounted elsewhere: nothing to read"
    group.mkdir(parents=True)
    usage = ("cpu.stat", "usage_usec 5000\n") if "cgroup2" in mount else ("cpuacct.usage", "5000000\n")
    (group / usage[0]).write_text(usage[1])
    found = control_groups.container_group(77, CONTAINER, tmp_path)
    assert found == str(group)
    assert control_groups.cpu_time_ns(found) == 5_000_000
    assert control_groups.container_group(77, "another", tmp_path) is None, "another machine's engine"
    assert control_groups.container_group(78, CONTAINER, tmp_path) is None


def test_a_node_of_version_2_has_one_group(version_2: Hierarchies) -> None:
    (group,) = netns_groups.make_groups(version_2, "lab", "server", "0")
    assert Path(group) == version_2.accounting / "testbed" / "lab" / "server"
    assert Path(group).is_dir()
    assert not list(version_2.accounting.rglob("cgroup.subtree_control")), "without cpusets nothing is asked for"


def test_a_node_of_version_2_has_its_cpus_where_the_top_group_hands_cpusets_on(tmp_path: Path) -> None:
    top = tmp_path / "unified"
    top.mkdir()
    (top / "cgroup.subtree_control").write_text("cpuset cpu pids\n")
    found = netns_groups.find_hierarchies(mounts(tmp_path, "cgroup2 {}/unified cgroup2 rw 0 0"))
    assert found == Hierarchies(2, top, top)
    tools = netns_groups.make_lab_group(found, "lab")
    (group,) = netns_groups.make_groups(found, "lab", "server", "0-1")
    assert (Path(group) / "cpuset.cpus").read_text() == "0-1"
    for above in (top / "testbed", top / "testbed" / "lab"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpuset"
    assert (top / "cgroup.subtree_control").read_text() == "cpuset cpu pids\n", "nothing outside our folder changes"
    assert not (Path(tools) / "cgroup.subtree_control").exists()
    assert Path(tools).parent == Path(group).parent


@pytest.mark.parametrize("version", ["version_1", "version_2"])
def test_processes_are_found_below_a_lab(version: str, request: pytest.FixtureRequest) -> None:
    hierarchies: Hierarchies = request.getfixturevalue(version)
    for node, numbers in (("server", "7\n9\n"), ("client1", "11\n0\n")):
        (group, *_) = netns_groups.make_groups(hierarchies, "lab", node, None)
        (Path(group) / "cgroup.procs").write_text(numbers)
    assert netns_groups.processes(hierarchies, "lab") == {7, 9, 11}
    assert netns_groups.processes(hierarchies, "lab", "server") == {7, 9}
    assert netns_groups.processes(hierarchies, "other") == set()
