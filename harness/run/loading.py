"""Loads and unloads a project's drivers in their order: the one under test, and those that go with it."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from harness.agent.protocol import Loaded, Unloaded
from harness.agent.session import AgentSession
from harness.bundle.payload import Payload
from harness.deadline import Deadline
from harness.outcome import KernelCrash

LOAD_DEADLINE_S = 60.0
FILES = "files"
"""Folder below the run's folder in the guest for what deploy.files names; guest/agent/program.py knows it."""


class Loading:
    """The drivers of a payload.

    Args:
        run_folder: the folder in the guest that they are deployed into.

    Attributes:
        services: their services, in the order in which they are loaded.
    """

    def __init__(self, payload: Payload, run_folder: str) -> None:
        self._payload = payload
        self._folder = run_folder
        self._others = {other.name: other for other in payload.companions}
        before = [other.name for other in payload.companions if other.before]
        after = [other.name for other in payload.companions if not other.before]
        self.services = (*before, payload.service, *after)

    def load(self, agent: AgentSession, build: str) -> KernelCrash | None:
        """Loads every driver in its order; those of an earlier load are gone before.

        Returns:
            The crash of one of them; None if all were loaded.

        Raises:
            AgentError, DeadlineError: the agent does not answer.
            DriverLoadError, ContractError: a driver is refused.
        """
        payload, deadline = self._payload, Deadline.after(LOAD_DEADLINE_S)
        answer: Loaded | Unloaded | KernelCrash
        if self._others and isinstance(answer := self.unload(agent), KernelCrash):
            return answer
        for name in self.services:
            if other := self._others.get(name):
                path = self._companion(name, build)
                answer = agent.load(name, path, None, deadline, made=other.service, main=False)
            else:
                named = None if build in payload.packages else self._driver(build)
                answer = agent.load(
                    name,
                    named,
                    payload.contract or None,
                    deadline,
                    made=payload.made,
                    instruments=payload.instruments,
                )
            if isinstance(answer, KernelCrash):
                return answer
        return None

    def unload(self, agent: AgentSession) -> Unloaded | KernelCrash:
        """Unloads every driver, the last loaded first, up to one that does not unload."""
        deadline = Deadline.after(LOAD_DEADLINE_S)
        for name in reversed(self.services):
            answer = agent.unload(name, deadline)
            if isinstance(answer, KernelCrash) or not answer.ok:
                break
        return answer

    def files(self) -> dict[str, Path]:
        """Guest path -> file of everything but the agent and the INF packages."""
        payload = self._payload
        wanted = {self._driver(build): driver for build, driver in payload.drivers.items()}
        for name, other in self._others.items():
            wanted |= {self._companion(name, build): driver for build, driver in other.drivers.items()}
        for place, file in payload.files.items():
            wanted[str(PureWindowsPath(self._folder, FILES, *place.split("/")))] = file
        return wanted

    def _driver(self, build: str) -> str:
        return rf"{self._folder}\{build}\{self._payload.service}.sys"

    def _companion(self, name: str, build: str) -> str:
        return rf"{self._folder}\{build}\companions\{name}.sys"
