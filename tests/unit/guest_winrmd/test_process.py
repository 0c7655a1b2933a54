"""A start that fails half-way leaves nothing behind: no suspended program, no handle of its job."""

from __future__ import annotations

import ctypes
import subprocess

import pytest

from tests.fakes.winrmd_endpoint import launch


class FakeJob:
    """Counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def sleeper() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["sleep", "600"], stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("error", [OSError(5), ValueError("x"), ctypes.ArgumentError(), KeyboardInterrupt()])
def test_a_program_that_cannot_be_let_run_is_killed(error: BaseException) -> None:
    job = FakeJob()
    made: list[subprocess.Popen[bytes]] = []

    def refuses(program: subprocess.Popen[bytes]) -> None:
        made.append(program)
        raise error

    with pytest.raises(type(error)):
        launch(job, sleeper, refuses)
    (program,) = made
    assert job.closed == 1
    assert program.returncode == -9
    assert program.stdin is not None
    assert program.stdin.closed


def test_a_program_that_cannot_be_made_leaves_no_job() -> None:
    job = FakeJob()

    def refuses() -> subprocess.Popen[bytes]:
        raise ValueError("embedded null character")

    with pytest.raises(ValueError, match="embedded null"):
        launch(job, refuses, lambda program: None)
    assert job.closed == 1


def test_a_program_that_runs_keeps_its_job() -> None:
    job = FakeJob()
    program = launch(job, sleeper, lambda program: None)
    assert (program.poll(), job.closed) == (None, 0)
    with program:
        program.kill()
