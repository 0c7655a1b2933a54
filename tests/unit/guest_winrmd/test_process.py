"""Programs: a start that fails half-way leaves nothing behind; input that cannot be passed on is refused."""

from __future__ import annotations

import codecs
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.winrmd_endpoint import CommandLine, Process, launch


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


def whole_line(error: UnicodeError) -> tuple[str, int]:
    """Fails as Windows' OEM codec does: it names no letter."""
    assert isinstance(error, UnicodeEncodeError)
    raise UnicodeEncodeError(error.encoding, error.object, 0, len(error.object), error.reason)


@pytest.fixture
def letters() -> Iterator[str]:
    """An encoding whose errors name the whole line."""

    def find(name: str) -> codecs.CodecInfo | None:
        if name != "cp437_lines":
            return None
        known = codecs.lookup("cp437")
        codecs.register_error("whole-line", whole_line)
        return codecs.CodecInfo(
            lambda text, errors="strict": known.encode(text, "whole-line"), known.decode, name=name
        )

    codecs.register(find)
    yield "cp437_lines"
    codecs.unregister(find)


def test_a_line_that_the_interpreter_would_read_otherwise_is_not_run(tmp_path: Path, letters: str) -> None:
    ran = tmp_path / "ran"
    shell = CommandLine(["/bin/sh"], reads_lines=True, letters=letters)
    program = Process(shell, dict(os.environ), None)
    try:
        assert program.send(f"echo 'П' > {ran}\n".encode(), True, 5.0)
        said = b""
        while (output := program.collect(("stderr", "stdout"), 4096, 5.0, lambda: False)) is not None:
            said += output.data["stderr"]
            if output.exit_code is not None:
                break
        assert output is not None
        assert output.exit_code not in (None, 0)
    finally:
        program.close()
    assert said.decode().startswith(
        "winvm: 'П' (U+041F) is not in the code page in which cmd.exe reads a pipe"
    )
    assert not ran.exists()
