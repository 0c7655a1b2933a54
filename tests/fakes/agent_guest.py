"""`FakeGuest`: the runner's boundary without Windows, for tests on any machine."""

from __future__ import annotations

from agent.errors import Win32Error
from agent.journal import WriteLine
from agent.service import Making
from agent.win32.buffers import require_room
from agent.win32.handle import Scope


class FakeGuest:
    """Keeps what was done to it.

    Args:
        answer: what the driver answers to HELLO; more than the agent has room for is the driver's fault.
        load_error: Win32 code with which the service refuses to start; 0 for none.
        serial_error: Win32 code with which the serial port refuses to open; 0 for none.

    Attributes:
        printed: texts sent through DbgPrint.
        lines: lines written to the serial port.
        running: services that run, with the path of their driver.
        made: how they were made.
        died: services that ended by themselves, with their exit codes.
        stopping: services whose stop has begun and not ended.
    """

    def __init__(self, *, answer: bytes = b"", load_error: int = 0, serial_error: int = 0) -> None:
        self.answer = answer
        self.load_error = load_error
        self.serial_error = serial_error
        self.printed: list[str] = []
        self.lines: list[bytes] = []
        self.running: dict[str, str] = {}
        self.made: dict[str, Making] = {}
        self.died: dict[str, int] = {}
        self.stopping: set[str] = set()

    def open_serial(self, path: str) -> WriteLine:
        """A port whose lines are kept in `lines`."""
        if self.serial_error:
            raise Win32Error(self.serial_error, f"CreateFile({path})")
        return self.lines.append

    def dbgprint(self, text: str) -> None:
        """Keeps the text in `printed`."""
        self.printed.append(text)

    def load(self, service: str, path: str, scope: Scope, made: Making) -> None:
        """Marks the service as running."""
        scope.record("StartService", service)
        if self.load_error:
            raise Win32Error(self.load_error, f"StartService({service})")
        self.running[service] = path
        self.made[service] = made

    def start(self, service: str, scope: Scope) -> None:
        """Marks the service as running, wherever its driver is."""
        self.load(service, "installed", scope, Making())

    def unload(self, service: str, scope: Scope) -> None:
        """Marks the service as gone."""
        scope.record("DeleteService", service)
        self.running.pop(service, None)

    def is_running(self, service: str, scope: Scope) -> bool:
        """Whether `load` was called last."""
        return service in self.running and service not in self.stopping

    def is_alive(self, service: str, scope: Scope) -> bool:
        """Whether it was loaded, and no test has let it die."""
        return service in self.running and service not in self.died

    def is_stopping(self, service: str, scope: Scope) -> bool:
        """Whether a test has put it into `stopping`."""
        return service in self.stopping

    def exit_code(self, service: str, scope: Scope, *, restarted: bool = False) -> int:
        """The code that a test has put into `died`."""
        return self.died.get(service, 0)

    def hello(self, device: str, code: int, size: int, scope: Scope) -> bytes:
        """The prepared answer."""
        scope.record("DeviceIoControl", f"{device} code=0x{code:06X}")
        require_room(device, len(self.answer), size)
        return self.answer
