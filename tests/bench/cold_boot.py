"""Seconds from power-on to the agent's answer, through the steps of an image's first use.

`python -m tests.bench.cold_boot WINVM_TOML` prints them. A process of its own: libvirt allows one root each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from harness import config
from harness.artifacts import Artifacts
from harness.deadline import Deadline
from harness.machine.machine import LibvirtMachine
from harness.machine.runfolder import RunFolder
from harness.pipeline import prepare
from harness.plan import make_plan
from harness.session import AgentSession, start_agent
from tests.bench.project import ROOT, Project

DEADLINE_S = 300.0


def measure(project: Project) -> float:
    """One cold boot."""
    command = [sys.executable, "-m", "tests.bench.cold_boot", str(project.config_path)]
    environment = {**os.environ, "WINVM_HOME": str(project.home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _boot(config_path: Path) -> float:
    plan = make_plan(config.load(config_path), None)
    artifacts = Artifacts(plan.config.artifacts_folder)
    flavour, deadline = prepare(plan, artifacts.journal).flavour, Deadline.after(DEADLINE_S)
    guest = flavour.guest
    agent = rf"{guest.run_folder}\agent.pyz"
    with RunFolder.create(config.home() / "runs") as folder:
        started = time.monotonic()
        with LibvirtMachine(folder, flavour.spec, None) as machine:
            machine.start(deadline)
            standby = guest.wait_ready(machine, deadline)
            link = guest.link(machine)
            link.files.push(plan.agent, agent, deadline)
            process = link.agent(standby)
            start_agent(process, agent, deadline)
            debug = guest.debug_stream(machine, artifacts.dbgprint_log, "cold")
            session = AgentSession(process, debug, "cold", deadline)
            session.hello(deadline, capabilities=[], journal=guest.journal_port, set_clock=False)
            seconds = time.monotonic() - started
            session.close()
            link.close()
            debug.close()
    return seconds


if __name__ == "__main__":
    print(_boot(Path(sys.argv[1])))
