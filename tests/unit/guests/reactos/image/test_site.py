"""What the guest's Python runs at each start: kernel32 is the support library, faults reach the debugger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.host.resources import vm_folder

WINDOWS = """\
import _ctypes, ctypes

class Library:
    def OutputDebugStringA(self, text):
        print("debugger", ascii(text))

def load(name, *mode):
    print("loads", name)

_ctypes.LoadLibrary = load
ctypes.WinDLL = lambda name: Library()
"""
"""Stands for the parts of ctypes that only Windows has."""


def started(program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A Python that has run the guest's sitecustomize.py, and then `program`."""
    (tmp_path / "windows.py").write_text(WINDOWS)
    site = (vm_folder() / "reactos" / "guest" / "sitecustomize.py").read_text()
    (tmp_path / "site_of_guest.py").write_text(site)
    return subprocess.run(
        [sys.executable, "-c", f"import windows, site_of_guest\n{program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fault_is_told_to_the_debugger_and_to_stderr(tmp_path: Path) -> None:
    done = started("raise ValueError('no port \\N{BLACK STAR}')", tmp_path)
    assert done.returncode == 1
    assert "ValueError: no port" in done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("debugger ")]
    assert told[0] == r"debugger b'Traceback (most recent call last):\n'"
    assert told[-1] == r"debugger b'ValueError: no port \\u2605\n'"


def test_kernel32_is_the_support_library(tmp_path: Path) -> None:
    names = "kernel32", "KERNEL32.dll", "ntdll"
    done = started(f"import _ctypes\nfor name in {names}: _ctypes.LoadLibrary(name)", tmp_path)
    assert done.stdout.splitlines() == ["loads winvmk32.dll", "loads winvmk32.dll", "loads ntdll"]
    assert done.stderr == ""
