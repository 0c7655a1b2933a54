"""A run's memory cgroup: found near the process's own, limited, removed; a real one where the host has v1."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.host.memory_group import PREFIX, MemoryGroup, forget, memory_group

V1 = "33 25 0:30 {root} {point} rw - cgroup cgroup rw,memory\n"
V2 = "31 25 0:28 / {point} rw - cgroup2 cgroup2 rw,nsdelegate\n"
ENTER = "import sys; open(sys.argv[1], 'w').write('0'); "


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / f"1130-{os.getpid()}"
    run.mkdir(parents=True)
    return run


def second(tmp_path: Path, groups: dict[str, tuple[str, str]], own: str) -> Path:
    """A /proc/self and a cgroup2 of folders: path -> (cgroup.subtree_control, memory.max or "")."""
    top, proc = tmp_path / "cgroup2", tmp_path / "proc"
    for path, (shares, limit) in groups.items():
        folder = top / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(shares + "\n")
        if limit:
            (folder / "memory.max").write_text(limit + "\n")
    proc.mkdir()
    (proc / "cgroup").write_text(f"0::{own}\n")
    (proc / "mountinfo").write_text(V2.format(point=top))
    return proc


def test_v2_takes_the_nearest_ancestor_that_shares_out_memory(tmp_path: Path, run: Path) -> None:
    proc = second(
        tmp_path,
        {"/": ("cpu memory", ""), "/user": ("memory pids", "max"), "/user/shell": ("", "max")},
        "/user/shell",
    )
    group = memory_group(run, proc)
    assert group
    assert group.path == tmp_path / "cgroup2" / "user" / (PREFIX + run.name)


@pytest.mark.parametrize("limit", ["1073741824", "0"])
def test_v2_does_not_leave_a_limit_that_somebody_has_set(tmp_path: Path, run: Path, limit: str) -> None:
    proc = second(tmp_path, {"/": ("memory", ""), "/job": ("", limit)}, "/job")
    assert memory_group(run, proc) is None


def test_v2_without_memory_anywhere_has_none(tmp_path: Path, run: Path) -> None:
    proc = second(tmp_path, {"/": ("", ""), "/job": ("", "max")}, "/job")
    assert memory_group(run, proc) is None
    (proc / "mountinfo").write_text("")
    assert memory_group(run, proc) is None
    assert memory_group(run, tmp_path / "nothing") is None


def test_v1_of_a_container_that_sees_a_part_of_the_tree(tmp_path: Path, run: Path) -> None:
    proc, point = tmp_path / "proc", tmp_path / "memory"
    proc.mkdir()
    (point / "job").mkdir(parents=True)
    (proc / "cgroup").write_text("5:cpu,memory:/docker/1234/job\n1:name=systemd:/x\n")
    (proc / "mountinfo").write_text(V1.format(root="/docker/1234", point=point))
    group = memory_group(run, proc)
    assert group
    assert group.path == point / "job" / (PREFIX + run.name)
    (proc / "cgroup").write_text("5:cpu,memory:/elsewhere\n")
    assert memory_group(run, proc) is None


def test_groups_of_killed_runs_are_removed_when_they_are_old_and_empty(tmp_path: Path, run: Path) -> None:
    proc = second(tmp_path, {"/": ("memory", "")}, "/")
    old, used, young = (tmp_path / "cgroup2" / (PREFIX + name) for name in ("old", "used", "young"))
    for path in (old, used, young):
        path.mkdir()
    (used / "process").touch()
    for path in (old, used):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    memory_group(run, proc)
    assert [path.exists() for path in (old, used, young)] == [False, True, True]


def test_a_run_on_a_tmpfs_has_none(tmp_path: Path) -> None:
    proc = second(tmp_path, {"/": ("memory", "")}, "/")
    assert memory_group(Path("/dev/shm"), proc) is None


def test_the_count_of_kills_is_read_from_either_version(tmp_path: Path) -> None:
    group = MemoryGroup(tmp_path)
    assert group.kills() == 0
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert group.kills() == 2
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 7\noom 4\noom_kill 3\n")
    assert group.kills() == 3
    (tmp_path / "memory.events").write_text("oom_kill many\n")
    assert group.kills() == 0


@pytest.fixture
def real(run: Path) -> MemoryGroup:
    group = memory_group(run)
    if group is None:
        pytest.skip("this host lets this process make no memory cgroup")
    return group


def test_a_process_that_takes_more_is_killed_and_counted(real: MemoryGroup) -> None:
    try:
        real.limit(64 << 20)
        code = ENTER + "x = b'a' * (256 << 20)"
        done = subprocess.run([sys.executable, "-c", code, str(real.members)], timeout=60, check=False)
        assert done.returncode == -9
        assert real.kills() == 1
    finally:
        real.remove()
    assert not real.path.exists()


def test_a_group_goes_when_its_last_process_does(real: MemoryGroup, run: Path) -> None:
    code = ENTER + "print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(real.members)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inside:
        assert inside.stdout
        assert inside.stdout.readline()
        began = time.monotonic()
        real.remove()
        assert real.path.exists()
        assert time.monotonic() - began < 3
        inside.communicate()
    forget(run.name)
    assert not real.path.exists()
