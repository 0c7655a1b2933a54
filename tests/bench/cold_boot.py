"""Seconds from power-on to the agent's answer, through the steps of an image's first use.

`python -m tests.bench.cold_boot WINVM_TOML` prints them as JSON.
A process of its own: libvirt allows one root each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.agent.session import AgentSession, start_agent
from harness.deadline import Deadline
from harness.machine.machine import LibvirtMachine
from harness.machine.runfolder import RunFolder
from harness.project import config
from harness.run.artifacts import Artifacts
from harness.run.pipeline import prepare
from harness.run.plan import make_plan
from tests.bench.project import ROOT, Project

DEADLINE_S = 300.0


@dataclass(frozen=True)
class ColdBoot:
    """Seconds from power-on, of one boot.

    Attributes:
        ready: until WinRM has answered and an interpreter waits in the guest.
        started: until the agent was copied in and imported.
        seconds: until it answered.
    """

    ready: float
    started: float
    seconds: float


def measure(project: Project) -> ColdBoot:
    """One cold boot."""
    command = [sys.executable, "-m", "tests.bench.cold_boot", str(project.config_path)]
    environment = {**os.environ, "WINVM_HOME": str(project.home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return ColdBoot(**json.loads(done.stdout))


def _boot(config_path: Path) -> ColdBoot:
    plan = make_plan(config.load(config_path), None)
    artifacts = Artifacts(plan.config.artifacts_folder)
    installed, deadline = prepare(plan, artifacts.journal).installed, Deadline.after(DEADLINE_S)
    guest = installed.guest
    agent = rf"{guest.run_folder}\agent.pyz"
    with RunFolder.create(config.home() / "runs") as folder:
        powered = time.monotonic()
        with LibvirtMachine(folder, installed.spec, None) as machine:
            machine.start(deadline)
            standby = guest.wait_ready(machine, deadline)
            ready = time.monotonic() - powered
            link = guest.link(machine)
            link.files.push(plan.agent, agent, deadline)
            process = link.agent(standby)
            start_agent(process, agent, deadline)
            started = time.monotonic() - powered
            debug = guest.debug_stream(machine, artifacts.dbgprint_log, "cold")
            session = AgentSession(process, debug, "cold", deadline)
            session.hello(deadline, capabilities=[], journal=guest.journal_port)
            seconds = time.monotonic() - powered
            session.close()
            link.close()
            debug.close()
    return ColdBoot(round(ready, 2), round(started, 2), round(seconds, 2))


if __name__ == "__main__":
    print(json.dumps(vars(_boot(Path(sys.argv[1])))))
