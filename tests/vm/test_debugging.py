"""breakpoint() and --pdb in a scenario of the Wine guest, with a terminal and without one."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.documented import shell
from tests.vm.conftest import CommandLine

SCENARIOS = '''
from agent import Context, scenario


@scenario
def stops(t: Context) -> None:
    """Waits for somebody."""
    size = 41
    print("size is", size)
    breakpoint()
    assert size == 42


@scenario
def fails(t: Context) -> None:
    """Raises."""
    wanted = 5
    assert wanted == 6
'''


@pytest.fixture(scope="module")
def project(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("debugging")
    shell("winvm new-driver echo", parent, winvm.home)
    (parent / "echo" / "scenarios" / "debugged.py").write_text(SCENARIOS)
    return parent / "echo"


def on_a_terminal(winvm: CommandLine, project: Path, *arguments: str, answers: list[str]) -> tuple[int, str]:
    """Runs winvm as a person does, typing one answer at each prompt; its exit code and what it showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        environment = {**os.environ, "WINVM_HOME": str(winvm.home)}
        os.execve(sys.executable, [sys.executable, "-m", "harness", *arguments], environment)
    shown, read, end = b"", 0, time.monotonic() + 300
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 1.0)[0]:
                try:
                    data = os.read(terminal, 4096)
                except OSError:  # the program has closed its side
                    break
                if not data:
                    break
                shown += data
            if answers and shown.find(b"(Pdb) ", read) >= 0:
                read = len(shown)
                os.write(terminal, answers.pop(0).encode() + b"\n")
        else:
            pytest.fail(f"winvm did not end:\n{shown.decode()}")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT)
        os.close(terminal)


def test_a_breakpoint_is_answered_on_the_terminal(winvm: CommandLine, project: Path) -> None:
    answers = ["p size + 1000", "size = 42", "continue"]
    code, shown = on_a_terminal(winvm, project, "run", "debugged.stops", answers=answers)
    assert code == 0, shown
    assert "debugged.py(11)stops()" in shown
    assert "-> assert size == 42" in shown
    assert "1041" in shown
    assert not answers


def test_a_failure_is_debugged_in_the_guest(winvm: CommandLine, project: Path) -> None:
    code, shown = on_a_terminal(winvm, project, "run", "debugged.fails", "--pdb", answers=["p wanted", "q"])
    assert code == 1, shown
    assert "-> assert wanted == 6" in shown
    assert "failed: assert wanted == 6" in shown
    assert shown.count("(Pdb) ") == 2, "pytest opens no second debugger on the host"


def test_smoke_has_the_debugger_too(winvm: CommandLine, project: Path) -> None:
    code, shown = on_a_terminal(winvm, project, "smoke", "debugged.stops", answers=["size = 42", "continue"])
    assert code == 0, shown
    winvm.ok("--config", str(project / "winvm.toml"), "down")  # smoke leaves its guest suspended
    assert "smoke: 1 passed" in shown


def test_without_a_terminal_nothing_waits(winvm: CommandLine, project: Path) -> None:
    config = str(project / "winvm.toml")
    done = winvm.run("--config", config, "run", "debugged", "--pdb", timeout=200)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 1, said
    assert "breakpoint() finds no terminal to debug in" in said
    assert "--pdb needs a terminal" in said
    assert "size is 41" in said, "what was printed is shown with a failure"
