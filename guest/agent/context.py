"""`Context`, a scenario's first argument: operations, capabilities, notes, services, second processes."""

from __future__ import annotations

import ntpath
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from agent.deadline import Deadline
from agent.errors import SkipScenario, Win32Error
from agent.operations import Operations
from agent.process import Process
from agent.service import ServiceManager
from agent.subresults import Subresult
from agent.win32.handle import Record

if TYPE_CHECKING:
    from agent.program import Ended
    from agent.win32.root_device import RootDevice

INF_PACKAGE = "inf-package"
MAX_NOTES = 100
MAX_NOTE = 1000  # characters


class Context(Operations):
    """What a scenario function receives as its first argument.

    Attributes:
        name: the scenario's full name.
        capabilities: what the guest can do, as it was measured on its image.
        params: parameters of this run of the scenario, given by the host; usually empty.
        seed: the run's random seed; a replay of a crash has the seed of the crash.
        subresults: results of single tests that a program of the scenario reported.
        service: name of the driver's service.
        driver_path: path in the guest of the `.sys` that the service was installed from.
    """

    def __init__(
        self,
        name: str,
        record: Record,
        deadline: Deadline,
        *,
        capabilities: Collection[str] = (),
        params: Mapping[str, Any] | None = None,
        service: str = "",
        driver_path: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__(record, deadline)
        self.name = name
        self.capabilities = frozenset(capabilities)
        self.params: Mapping[str, Any] = dict(params or {})
        self.service = service
        self.driver_path = driver_path
        self.seed = seed
        self.expected_dbgprint: list[str] = []
        self.notes: list[str] = []
        self.subresults: list[Subresult] = []
        self.used_services = False
        self._processes: list[Process] = []
        self._nodes: list[RootDevice] = []

    def has(self, capability: str) -> bool:
        """Whether the guest has a capability; for a scenario that checks more on guests that have it."""
        return capability in self.capabilities

    def note(self, text: object) -> None:
        """Adds a line to the report of this scenario (capped in length and number)."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append(str(text)[:MAX_NOTE])

    def skip(self, reason: str) -> NoReturn:
        """Ends the scenario as skipped. Prefer `needs=` where a capability is the reason."""
        raise SkipScenario(reason)

    def expect_dbgprint(self, *patterns: str) -> None:
        """Adds regular expressions, each of which must match a DbgPrint line of this scenario.

        The host checks them when the scenario has ended, in addition to those of the decorator. Raises
        `re.error`.
        """
        for pattern in patterns:
            re.compile(pattern)
        self.expected_dbgprint.extend(patterns)

    def services(self) -> ServiceManager:
        """The service control manager, for scenarios about the driver's life cycle.

        A scenario may stop or delete the driver's own service (`t.service`, installed from
        `t.driver_path`). If the service does not run afterwards, the agent loads it again for the next
        scenario.
        """
        self.used_services = True
        return ServiceManager(self)

    def run_program(self, path: str, *arguments: str, timeout_s: float | None = None) -> Ended:
        """Runs a program that deploy.files of winvm.toml names; its output becomes notes.

        Raises `WaitTimeoutError` if it does not end in time, and `AssertionError` if it is not deployed.
        """
        from agent.program import run_program

        return run_program(path, arguments, self, timeout_s)

    def root_device(self, hardware_id: str, inf: str) -> RootDevice:
        """Makes a device node `ROOT\\...` with this hardware id, and installs the driver of an INF on it.

        Use the result in a `with` statement, at whose end the node is removed. The INF's package must be
        signed by somebody whom the guest trusts. A guest that installs no packages skips the scenario, and
        names the capability `inf-package`.

        Args:
            hardware_id: one of the INF's models, such as `Root\\Lamp`.
            inf: its path in the folder that deploy.files fills, or its full path in the guest.

        Raises `Win32Error` when Windows refuses.
        """
        if not self.has(INF_PACKAGE):
            self.skip(f"guest lacks {INF_PACKAGE}, which a device node for {inf} needs")
        from agent.program import FILES
        from agent.win32.root_device import RootDevice

        node = RootDevice.create(hardware_id, ntpath.join(str(FILES), inf.replace("/", "\\")), self)
        self._nodes.append(node)
        return node

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> Process:
        """Starts a second process that runs `function(child, *arguments)`; `child` is a `Child`.

        `function` is a module-level function of a scenario module; JSON must be able to carry `arguments`.
        Use the result in a `with` statement: it kills the process at the end of the block if it still runs.
        """
        process = Process(function, arguments, self)
        self._processes.append(process)
        return process

    def close_leftovers(self) -> list[str]:
        """As `Operations.close_leftovers`; kills second processes that run, and removes device nodes."""
        problems = []
        for process in self._processes:
            if process.running:
                problems.append(f"process {process.pid} was left running")
                process.kill()
        self._processes.clear()
        problems += super().close_leftovers()  # first: a device with open handles is not removed
        for node in self._nodes:
            if node.exists:
                problems.append(f"device node {node.instance} was left")
                try:
                    node.remove()
                except (Win32Error, AssertionError) as error:
                    problems.append(str(error))
        self._nodes.clear()
        return problems
