"""A process that owns a bench: a process can hold one libvirt root, and faults are made beside a scenario.

`python -m tests.soak.bench_owner WINVM_TOML` brings a guest up, then obeys one JSON object a line:
`{"run": SCENARIO, "fault": NAME, "after": SECONDS, "parameters": {...}}`, and answers each with what became
of it and with what this process holds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt_qemu  # type: ignore[import-untyped]

from harness.deadline import Deadline
from harness.machine.machine import LibvirtMachine
from harness.machine.processes import qemu_processes
from harness.outcome import Scenario
from harness.project.config import load
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.pipeline import open_bench
from harness.run.plan import make_plan
from harness.transports.sftp import SftpTransfer

CUT_S = 3.0
LIBVIRTD = ("libvirtd", "--daemon", "--pid-file", "/run/libvirt/libvirtd.pid")
# The brackets keep this command from finding itself.
KILL_WINRMD = (
    "for p in /proc/[0-9]*; do busybox grep -q 'winrmd[.]pyz' $p/cmdline && kill -9 ${p##*/}; done; true"
)


def qemus(bench: Bench) -> list[int]:
    """Process ids of the machine."""
    return qemu_processes(bench.guest.machine.folder.parent)


def monitor(bench: Bench, command: str) -> None:
    """A command for QEMU's monitor."""
    machine = bench.guest.machine
    assert isinstance(machine, LibvirtMachine)
    domain = machine._domain()
    libvirt_qemu.qemuMonitorCommand(domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)


def inside(bench: Bench, command: str) -> None:
    """A command for the Linux below Wine, over a connection of its own."""
    files = bench.guest.new_link().files
    assert isinstance(files, SftpTransfer)
    try:
        files.execute(command, Deadline.after(20))
    finally:
        files.close()


def cut_and_mend(bench: Bench) -> None:
    """Cuts the guest's network for some seconds."""
    monitor(bench, "set_link control0 off")
    time.sleep(CUT_S)
    monitor(bench, "set_link control0 on")


def restart_libvirtd(bench: Bench) -> None:
    """The daemon is killed and, after a moment, started anew."""
    pidfile = Path(LIBVIRTD[-1])
    os.kill(int(pidfile.read_text()), signal.SIGKILL)
    time.sleep(1.0)
    pidfile.unlink(missing_ok=True)
    subprocess.run(LIBVIRTD, check=True)


FILLER = "filler"


def fill_disk(bench: Bench) -> None:
    """FILLER takes all the room that the file system of the machine's overlay has."""
    runs = bench.guest.machine.folder.parent.parent
    with (runs / FILLER).open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass


FAULTS: dict[str, Callable[[Bench], None]] = {
    "kill qemu": lambda bench: os.kill(qemus(bench)[0], signal.SIGKILL),
    "stop qemu": lambda bench: os.kill(qemus(bench)[0], signal.SIGSTOP),
    "fill disk": fill_disk,
    "cut network": lambda bench: monitor(bench, "set_link control0 off"),
    "cut and mend network": cut_and_mend,
    "kill winrmd": lambda bench: inside(bench, KILL_WINRMD),
    "restart libvirtd": restart_libvirtd,
    "clock a day ahead": lambda bench: inside(bench, f"date -u -s @{time.time() + 86400:.0f}"),
    "clock a day back": lambda bench: inside(bench, f"date -u -s @{time.time() - 86400:.0f}"),
}


def held() -> dict[str, int]:
    """Resources of this process: memory, descriptors, threads, children."""
    status = Path("/proc/self/status").read_text().splitlines()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "rss_kib": next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "children": len(children),
    }


def obey(bench: Bench, artifacts: Artifacts, chosen: Scenario, command: dict[str, Any]) -> dict[str, Any]:
    """One command."""
    failures: list[str] = []

    def strike() -> None:
        time.sleep(command.get("after", 0.0))
        try:
            FAULTS[command["fault"]](bench)
        except Exception as error:  # noqa: BLE001 - reported to the test
            failures.append(f"{type(error).__name__}: {error}")

    bench.guest.recover()  # the fault is to meet the scenario, not the restore before it
    thread = threading.Thread(target=strike)
    if command.get("fault"):
        thread.start()
    result = bench.run(chosen, command.get("parameters"))
    if command.get("fault"):
        thread.join()
    artifacts.add(result)
    return {
        "outcome": result.outcome,
        "message": result.message,
        "seconds": result.seconds,
        "notes": result.notes,
        "dbgprint": len(result.dbgprint),
        "crash": result.crash.kind if result.crash else "",
        "fault failed": failures,
        "qemus": qemus(bench),
        "held": held(),
    }


def main(config: Path) -> None:
    """See the module."""
    plan = make_plan(load(config), None)
    scenarios = {scenario.name: scenario for scenario in plan.scenarios}
    artifacts = Artifacts(plan.config.artifacts_folder)
    bench = open_bench(plan, artifacts)
    try:
        print(json.dumps({"held": held()}), flush=True)
        for line in iter(sys.stdin.readline, ""):
            command = json.loads(line)
            print(json.dumps(obey(bench, artifacts, scenarios[command["run"]], command)), flush=True)
    finally:
        bench.close()
        artifacts.finish(plan.profile.name, time.time())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
