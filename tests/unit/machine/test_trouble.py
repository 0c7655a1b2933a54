"""Why the host stopped a machine: signals of real processes, libvirt's reasons, the count of kernel kills."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.machine import processes
from harness.machine.bindings import libvirt
from harness.machine.trouble import fate, out_of_memory_kills, paused_by_error


class Domain:
    """A domain in one state."""

    def __init__(self, state: int, reason: int) -> None:
        self._state = [state, reason]

    def state(self) -> list[int]:
        return self._state


def test_a_stopped_process_is_told_with_the_remedy() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert fate(process.pid, 0) == ""
            process.send_signal(signal.SIGSTOP)
            end = time.monotonic() + 5
            while not (said := fate(process.pid, 0)) and time.monotonic() < end:
                time.sleep(0.01)
            assert said == (
                f"QEMU (process {process.pid}) is stopped by a signal; "
                f"kill -CONT {process.pid} lets it go on."
            )
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (61, "61")]
)
def test_the_signal_that_ended_qemu_is_named(monkeypatch: pytest.MonkeyPatch, number: int, name: str) -> None:
    monkeypatch.setitem(processes._signals, 4711, number)
    assert fate(4711, out_of_memory_kills()).endswith(f"{name}.")


def test_a_living_process_with_the_number_of_a_killed_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processes._signals, os.getpid(), signal.SIGKILL)
    assert fate(os.getpid(), 0) == ""


def test_kills_for_lack_of_memory_are_told_as_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processes._signals, 4711, signal.SIGKILL)
    assert "has killed 1 processes for lack of memory" in fate(4711, out_of_memory_kills() - 1)
    assert "probably QEMU among them" in fate(4711, out_of_memory_kills() - 1)
    assert "memory" not in fate(4711, out_of_memory_kills())


def test_a_kill_for_the_runs_own_limit_is_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processes._signals, 4711, signal.SIGKILL)
    said = fate(4711, out_of_memory_kills() - 1, at_limit=True)
    assert "had reached its cgroup's limit" in said
    assert "probably" not in said
    monkeypatch.setitem(processes._signals, 4711, signal.SIGSEGV)
    assert "memory" not in fate(4711, out_of_memory_kills(), at_limit=True)


def test_the_kernels_count_is_read(tmp_path: Path) -> None:
    file = tmp_path / "vmstat"
    assert out_of_memory_kills(file) == 0
    file.write_text("nr_free_pages 3\noom_kill 12\n")
    assert out_of_memory_kills(file) == 12


def test_a_process_that_is_gone_says_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert fate(process.pid, 0) == ""


def test_a_pause_is_the_disks_only_if_libvirt_says_so() -> None:
    failed = Domain(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
    assert paused_by_error(failed, "No space left on device on /a/disk.qcow2") == (
        "The machine is paused because its disk cannot be written: No space left on device on /a/disk.qcow2."
    )
    assert "input/output error" in paused_by_error(failed, "")
    suspended = Domain(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
    assert paused_by_error(suspended, "No space left on device on /a/disk.qcow2") == ""
