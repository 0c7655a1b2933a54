"""Runs a test program in the guest: its exit code, its output and its own report are the verdict.

The program lies in the folder that deploy.files of winvm.toml fills, which is also where it runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agent.errors import WaitTimeoutError
from agent.process import ROOT
from agent.registry import Function, scenario
from agent.subresults import (
    FAILED,
    OUTCOMES,
    ReportError,
    Subresult,
    read_gtest_json,
    read_gtest_xml,
    read_tap,
)

if TYPE_CHECKING:
    from agent.context import Context

FILES = Path(ROOT).parent / "files"
OUTPUT_LIMIT = 1 << 20
"""Bytes of a program's output that are kept."""
SHOWN_LINES = 40
Report = Literal["", "gtest", "gtest-xml", "tap"]
_NTSTATUS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000135: "STATUS_DLL_NOT_FOUND",
    0xC0000139: "STATUS_ENTRYPOINT_NOT_FOUND",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
}


@dataclass(frozen=True)
class Ended:
    """A program that has ended: its exit code, unsigned, and what it printed on stdout and stderr."""

    exit_code: int
    output: str


def run_program(path: str, arguments: Sequence[str], t: Context, timeout_s: float | None = None) -> Ended:
    """Runs a deployed program to its end.

    Args:
        path: as deploy.files names it, with `/` or `\\`.

    Raises:
        AssertionError: it is not deployed.
        WaitTimeoutError: it did not end in time, and was killed.
    """
    program = FILES.joinpath(*re.split(r"[\\/]", path))
    if not program.is_file():
        raise AssertionError(f"{path} is not in the guest: name it in deploy.files of winvm.toml")
    t.record("CreateProcess", f"{path} {subprocess.list2cmdline(arguments)}".rstrip())
    budget = t.deadline.seconds(timeout_s)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(program), *arguments],
            cwd=FILES,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(budget)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise WaitTimeoutError(f"the end of {path}", budget) from None
        finally:
            output.seek(0)
            printed = output.read(OUTPUT_LIMIT).decode("utf-8", "backslashreplace").replace("\r\n", "\n")
            for line in printed.splitlines()[-SHOWN_LINES:]:
                t.note(line)
    return Ended(code & 0xFFFFFFFF, printed)


def judge(path: str, ended: Ended, expected: int, tests: Sequence[Subresult]) -> None:
    """Raises `AssertionError` if a test failed or the exit code is another than expected."""
    failed = [test for test in tests if test.outcome == FAILED]
    if failed:
        shown = "; ".join(f"{test.name}: {test.message}".rstrip(": ") for test in failed[:5])
        raise AssertionError(f"{len(failed)} of {len(tests)} tests of {path} failed: {shown}")
    if ended.exit_code != expected:
        known = _NTSTATUS.get(ended.exit_code, "")
        number = f"{known} (0x{ended.exit_code:08X})" if known else f"{ended.exit_code}"
        last = ended.output.rstrip().rpartition("\n")[2]
        raise AssertionError(f"{path} ended with exit code {number}, not {expected}; last line: {last!r}")


def program(
    path: str,
    *arguments: str,
    report: Report = "",
    exit_code: int = 0,
    name: str = "",
    **options: Any,
) -> Function:
    """Declares a scenario that runs a deployed program: `program("x64/Release/test.exe", "--fast")`.

    It passes if the program ends with `exit_code` and no test that it reports failed.

    Args:
        path: of the program, as deploy.files names it.
        report: `gtest` and `gtest-xml` read googletest's report, for which an argument is added; `tap` reads
            TAP from the output. Each test becomes a sub-result of the scenario.
        name: of the scenario; by default, the program's.
        options: those of `scenario`.

    Raises:
        RegistryError: an option is invalid.
    """
    caller = sys._getframe(1)

    def body(t: Context) -> None:
        ended, tests = _reported(path, arguments, report, t)
        t.subresults.extend(tests)
        if tests:
            counts = (f"{sum(test.outcome == outcome for test in tests)} {outcome}" for outcome in OUTCOMES)
            t.note(f"{len(tests)} tests: {', '.join(counts)}")
        judge(path, ended, exit_code, tests)

    body.__doc__ = f"{path} ends with exit code {exit_code}."
    body.__name__ = name or re.sub(r"\W", "_", Path(path.replace("\\", "/")).stem)
    body.__module__ = str(caller.f_globals["__name__"])
    body.__code__ = body.__code__.replace(
        co_filename=caller.f_code.co_filename, co_firstlineno=caller.f_lineno
    )
    register: Callable[[Function], Function] = scenario(**options)
    return register(body)


def _reported(
    path: str, arguments: Sequence[str], report: Report, t: Context
) -> tuple[Ended, list[Subresult]]:
    if report not in ("gtest", "gtest-xml"):
        ended = run_program(path, arguments, t)
        return ended, _read(path, lambda: read_tap(ended.output)) if report == "tap" else []
    form, read = ("json", read_gtest_json) if report == "gtest" else ("xml", read_gtest_xml)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"report.{form}")
        ended = run_program(path, [*arguments, f"--gtest_output={form}:{file}"], t)
        if not file.is_file():
            judge(path, ended, 0, [])
            raise AssertionError(f"{path} wrote no report: is it a googletest program?")
        return ended, _read(path, lambda: read(file.read_bytes()))


def _read(path: str, read: Callable[[], list[Subresult]]) -> list[Subresult]:
    try:
        return read()
    except ReportError as error:
        raise AssertionError(f"{path}: {error}") from error
