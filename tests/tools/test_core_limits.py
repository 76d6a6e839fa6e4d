"""Cores of a process by its affinity and the quotas of its control groups, both made by hand."""

import os

import pytest

from tools import control_groups
from tools.core_limits import bound_cores, core_quota


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Function that writes the control groups of this process: its lines, and the content of files by path."""
    root = tmp_path / "cgroup"
    monkeypatch.setattr(control_groups, "CGROUPS", root)
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "own")

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    return lambda own, files: write(own, **files)


def v1(quota, period=100_000, folder="cpu"):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/job/step\n", {"cpu.max": "max 100000\n", "job/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000\n", "job/step/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/job\n", {"other/cpu.max": "100000 100000\n"}, None),
        ("0::/name/on/the/host\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/job\n", {"unified/job/cpu.max": "200000 100000\n"}, 2.0),
        ("1:cpu:/\n", v1(250_000), 2.5),
        ("1:cpu:/\n", v1(-1), None),
        ("4:memory:/a\n3:cpu,cpuacct:/a\n", v1(400_000, 200_000, "cpu,cpuacct/a"), 2.0),
        ("3:cpu,cpuacct:/a\n", v1(700_000, folder="cpu/a"), 7.0),
        ("3:cpu:/a/b\n", v1(-1, folder="cpu/a/b") | v1(600_000, folder="cpu/a"), 6.0),
        ("3:cpuset:/a\n", v1(100_000, folder="cpuset/a"), None),
        ("3:cpu:/\n0::/\n", v1(500_000) | {"unified/cpu.max": "300000 100000\n"}, 3.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "words", "cpu/cpu.cfs_period_us": "0"}, None),
        ("1:cpu:/\n", v1(100_000, 0), None),
        ("no line of a group\n\n", {"cpu.max": ""}, None),
    ],
)
def test_the_quota_is_the_smallest_of_the_own_group_and_those_above(groups, own, files, cores):
    groups(own, files)
    assert core_quota() == cores


def test_without_control_groups_there_is_no_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "CGROUPS", tmp_path / "none")
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "none" / "either")
    assert core_quota() is None


def test_bound_cores_are_those_of_the_affinity_where_the_system_has_one(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7, 9}, raising=False)
    assert bound_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert bound_cores() == 64
