"""A machine whose guest has a kernel on its debugger's serial port: a new socket at every start."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.windows.spec.domain import KD_SOCKET
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_machine import FakeKernel
from tests.fakes.machine import FakeMachine


class KernelMachine(FakeMachine):
    """A `FakeMachine` with a `kernel`; each start and revert brings a new one, in `kernels`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kernels: list[FakeKernel] = []
        self._listener: socket.socket | None = None
        self._target: SerialTarget | None = None

    @property
    def kernel(self) -> FakeKernel:
        """The one that runs now."""
        return self.kernels[-1]

    def start(self, deadline: Deadline) -> None:
        """See `Machine`."""
        super().start(deadline)
        self._listen()

    def revert(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._hang_up()
        super().revert(deadline)
        self._listen()

    def checkpoint(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._hang_up()
        super().checkpoint(deadline)
        self._listen()

    def destroy(self) -> None:
        """See `Machine`."""
        self._hang_up()
        super().destroy()

    def _new_kernel(self) -> FakeKernel:
        return FakeKernel()

    def _listen(self) -> None:
        self.kernels.append(self._new_kernel())
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / KD_SOCKET))
        self._listener.listen(1)
        threading.Thread(target=self._accept, args=(self._listener, self.kernel), daemon=True).start()

    def _accept(self, listener: socket.socket, kernel: FakeKernel) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # no debugger connected before the end
            return
        self._target = SerialTarget(kernel, connection=connection)

    def _hang_up(self) -> None:
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            (self.folder / KD_SOCKET).unlink(missing_ok=True)
        if self._target:
            self._target.close()
        self._listener = self._target = None
