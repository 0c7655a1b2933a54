"""A `Machine` without a VM, for tests of the layers above it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.machine.protocol import Channels, LifecycleEvent, MachineState, MemoryDump, OnPanic, Panic

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class FakeMachine:
    """Behaves as the real machine does in states, generations and channel files.

    Args:
        folder: where channel files go; made by `start`.
        ports: what `ports` returns.

    `calls` lists the operations in order. `fail_next` makes the next of them raise. `write` stands for the
    guest writing to a channel, `panic` for its panic device, `die` for QEMU ending by itself. `on_nmi` is
    what the guest does about a non-maskable interrupt.
    """

    def __init__(self, folder: Path, ports: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self.name = folder.name
        self.address = "127.0.0.1"
        self.ports: Mapping[str, int] = ports or {"winrm": 5986, "ssh": 22}
        self.generation = 0
        self.calls: list[str] = []
        self.fail_next: MachineError | None = None
        self.on_nmi: Callable[[], object] = lambda: None
        self.memory: dict[MemoryDump, bytes] = {}
        self.troubled = ""
        self._state = MachineState.STOPPED
        self._events: list[LifecycleEvent] = []
        self._on_panic: OnPanic | None = None

    @property
    def disk(self) -> Path:
        """See `Machine`; a test puts the image there."""
        return self.folder / "disk.qcow2"

    @property
    def channels(self) -> Channels:
        """See `Machine`."""
        return Channels.inside(self.folder)

    def start(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("start", deadline)
        if self._state is not MachineState.STOPPED:
            raise MachineError(f"Machine {self.name} is already running.", remedy="Use revert.")
        self._new_generation()

    def revert(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("revert", deadline)
        self._become(MachineState.STOPPED, "destroyed")
        self._new_generation()

    def checkpoint(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("checkpoint", deadline)
        self._become(MachineState.STOPPED, "saved")
        self._new_generation()

    def suspend(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("suspend", deadline)
        self._become(MachineState.PAUSED, "suspended")

    def resume(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("resume", deadline)
        self._become(MachineState.RUNNING, "resumed")

    def inject_nmi(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("inject_nmi", deadline)
        self.on_nmi()

    def dump_memory(self, file: Path, form: MemoryDump, deadline: Deadline) -> None:
        """See `Machine`; `memory` holds what each form gives, and QEMU refuses the others."""
        self._enter("dump_memory", deadline)
        if form not in self.memory:
            raise MachineError("Dumping the memory of machine fake failed: invalid vmcoreinfo note size.")
        file.write_bytes(self.memory[form])

    def press_key(self, key: int, deadline: Deadline) -> None:
        """See `Machine`; `calls` says which key."""
        self._enter(f"press_key {key}", deadline)

    def screenshot(self, file: Path, deadline: Deadline) -> Path:
        """See `Machine`."""
        self._enter("screenshot", deadline)
        file.write_bytes(PNG)
        return file

    def state(self) -> MachineState:
        """See `Machine`."""
        return self._state

    def trouble(self) -> str:
        """See `Machine`; a test sets `troubled`."""
        return self.troubled

    def qemu_log(self) -> str:
        """See `Machine`."""
        return "qemu-system-x86_64: terminating\n"

    def events(self) -> Sequence[LifecycleEvent]:
        """See `Machine`."""
        taken, self._events = self._events, []
        return taken

    def on_panic(self, listener: OnPanic) -> None:
        """See `Machine`."""
        self._on_panic = listener

    def stop(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._enter("stop", deadline)
        self._become(MachineState.STOPPED, "shut down")

    def destroy(self) -> None:
        """See `Machine`."""
        self.calls.append("destroy")
        self._become(MachineState.STOPPED, "destroyed")
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, channel: str, data: bytes) -> None:
        """Appends what the guest writes to `console`, `journal`, `dbgprint`, `com3` or `com4`."""
        with (self.folder / f"{channel}.log").open("ab") as stream:
            stream.write(data)

    def die(self, reason: str = "QEMU died") -> None:
        """QEMU ends by itself."""
        self._become(MachineState.STOPPED, reason)

    def panic(self, code: int | None = None, parameters: tuple[int, ...] = ()) -> None:
        """The guest reports a crash to its panic device."""
        self._become(MachineState.CRASHED, "panicked")
        if self._on_panic:
            self._on_panic(Panic(time.time(), code, parameters))

    def _enter(self, call: str, deadline: Deadline) -> None:
        self.calls.append(call)
        deadline.check(f"{call} of machine {self.name}")
        if error := self.fail_next:
            self.fail_next = None
            raise error

    def _become(self, state: MachineState, reason: str) -> None:
        if state is not self._state:
            self._state = state
            self._events.append(LifecycleEvent(time.time(), state, reason))

    def _new_generation(self) -> None:
        self.troubled = ""
        self.generation += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, stable in vars(self.channels).items():
            file = stable.with_name(f"{name}-{self.generation}.log")
            file.write_bytes(b"")
            link = stable.with_suffix(".new")
            link.symlink_to(file.name)
            link.replace(stable)
        self._become(MachineState.RUNNING, "restored")
