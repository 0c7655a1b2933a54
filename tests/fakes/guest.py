"""A fake flavour of guest: its agent follows a script, its files are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from harness.crash.dump_source import GuestMinidump
from harness.crash.held import Held
from harness.deadline import Deadline
from harness.dumps.kernel.held_irps import HeldIrp
from harness.dumps.summary import Module
from harness.errors import TransportError
from harness.guests.protocol import CrashLimit, Link, Reachable
from harness.guests.windows import pnputil
from harness.interfaces import DebugStream
from harness.machine.protocol import Machine
from harness.outcome import KernelCrash
from tests.fakes.agent import FakeAgent
from tests.fakes.debug import FakeDebugStream
from tests.fakes.files import FakeFileTransfer
from tests.fakes.transport import FakeGuestProcess, FakeTransport

DUMP = r"C:\dump.dmp"


class FakeLink:
    """Implements `Link`; every link has an agent of its own, as every restored guest has."""

    def __init__(self, agent: FakeAgent) -> None:
        self.transport = FakeTransport()
        self.files = FakeFileTransfer()
        self.scripted = agent
        self.closed = False

    def agent(self, standby: Mapping[str, str]) -> FakeGuestProcess:
        assert standby == {"waits": "here"}
        return self.scripted.process

    def set_clock(self, deadline: Deadline) -> None:
        deadline.check("setting the clock")

    def close(self) -> None:
        self.closed = True


class FakePackageLink(FakeLink):
    """Implements `InstallsPackages` as well, by the commands of a Windows guest."""

    def install_package(self, inf: PureWindowsPath, certificates: Iterable[str], deadline: Deadline) -> str:
        return pnputil.install(self.transport, inf, certificates, deadline)

    def uninstall_package(self, published: str, deadline: Deadline) -> None:
        pnputil.uninstall(self.transport, published, deadline)


class FakeGuest:
    """Implements `Guest`. `script` prepares the agent of each link, which are kept in `links`.

    `dumps_of` are the crashes whose dump was asked for.
    """

    run_folder = r"C:\run"
    journal_port = r"\\.\COM2"
    image_manifest = Path(__file__).with_name("image.json")

    def __init__(
        self,
        script: Callable[[FakeAgent, FakeLink], None] = lambda agent, link: None,
        link: Callable[[FakeAgent], FakeLink] = FakeLink,
    ) -> None:
        self.debug = FakeDebugStream()
        self.links: list[FakeLink] = []
        self.dumps_of: list[KernelCrash] = []
        self._script = script
        self._link = link

    def link(self, host: Reachable) -> FakeLink:
        agent = FakeAgent(self.debug)
        link = self._link(agent)
        self._script(agent, link)
        self.links.append(link)
        return link

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> FakeDebugStream:
        self.skipped = skip
        return self.debug

    def dump(self, crash: KernelCrash, debug: DebugStream) -> GuestMinidump:
        self.dumps_of.append(crash)
        return GuestMinidump(DUMP, "" if crash.kind == "exception" else "this kind leaves none.")


class LimitedGuest(FakeGuest):
    """Implements `KnowsLimits` and `ShowsHeldIrps`, too: what it answers is given."""

    def __init__(self, script: Callable[[FakeAgent, FakeLink], None] = lambda agent, link: None) -> None:
        super().__init__(script)
        self.limit: CrashLimit | None = None
        self.missing_line = self.stays = ""
        self.reads: HeldIrp | None = None
        self.holds_none = False

    def crash_limit(self, analysis: Mapping[str, Any], driver: Path) -> CrashLimit | None:
        assert analysis["scenario"]
        assert driver.name == "release.sys"
        return self.limit

    def missing_line_limit(self, driver: Path) -> str:
        assert driver.name == "release.sys"
        return self.missing_line

    def unload_limit(self, driver: Path) -> str:
        assert driver.name == "release.sys"
        return self.stays

    def held_irps(self, link: Link, debug: DebugStream, driver: str) -> Held:
        if self.reads is None and not self.holds_none:
            raise TransportError("The guest shows nothing.")
        irps = (self.reads,) if self.reads else ()
        return Held(Module(driver, driver, 0x1000, 0x9000), irps, "a fake's memory")
