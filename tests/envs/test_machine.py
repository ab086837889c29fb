"""How many cores and bytes a process may use."""

import os

import pytest

from palaestra.envs import machine
from palaestra.envs.machine import usable_cores, usable_memory


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system of our own with 8 cores."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    put(tmp_path, "proc/self/cgroup", "0::/\n")


def put(tmp_path, path, text):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_affinity_counts(system, monkeypatch):
    assert usable_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("3200000 100000", 8),
    ],
)
def test_a_quota_counts(system, tmp_path, quota, cores):
    put(tmp_path, "sys/fs/cgroup/cpu.max", f"{quota}\n")
    assert usable_cores() == cores


def test_the_narrowest_group_above_a_process_counts(system, tmp_path):
    put(tmp_path, "proc/self/cgroup", "0::/user.slice/job\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "300000 100000\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/memory.max", "1000\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/job/memory.max", "max\n")
    assert usable_cores() == 3 and usable_memory() == 1000


def test_a_container_of_version_1_shows_its_own_group_at_the_top(system, tmp_path):
    put(tmp_path, "proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n")
    assert usable_cores() == 4 and usable_memory() == 2000


def test_no_quota_of_version_1_is_none(system, tmp_path):
    put(tmp_path, "proc/self/cgroup", "2:cpu,cpuacct:/\n4:memory:/\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_cores() == 8 and usable_memory() < 2**60
