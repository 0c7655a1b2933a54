"""Presses keys of a guest through the VNC socket of its QEMU, from any process that may open the socket.

Protocol: RFC 6143 (RFB 3.8), and its registered extension "QEMU Extended Key Event", which carries scan
codes, so that no keyboard layout applies. The screen is never asked for: nothing that the guest draws
arrives here.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError
from harness.machine.keys import Chord

VERSION = b"RFB 003.008\n"
NO_AUTHENTICATION = 1
SHARED = 1
"""Other clients stay connected."""
SET_ENCODINGS, QEMU_MESSAGE, EXTENDED_KEY = 2, 255, 0
EXTENDED_KEY_ENCODING = -258
REASON_LIMIT = 4096
PAUSE_S = 0.04
"""Between two events: the keyboard controller keeps few that the guest has not fetched."""


class Keyboard:
    """The keyboard of a running guest; a context manager.

    Args:
        path: QEMU's VNC socket.
        pause: waits between two key events, given the seconds.

    Raises:
        MachineError: nobody listens there, or the answer is not that of QEMU's VNC server.
        DeadlineError: it does not answer in time.
    """

    def __init__(self, path: Path, deadline: Deadline, pause: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._deadline = deadline
        self._pause = pause
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with self._translated():
                self._socket.connect(str(path))
                self._open()
        except BaseException:
            self._socket.close()
            raise

    def press(self, chords: Iterable[Chord]) -> None:
        """Presses and releases chord after chord.

        Raises:
            MachineError: the guest ended meanwhile.
        """
        with self._translated():
            for keys in chords:
                for key in keys:
                    self._event(key, down=True)
                for key in reversed(keys):
                    self._event(key, down=False)

    def close(self) -> None:
        """Waits until QEMU has taken every event, which it does before it closes its end; never raises."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while not self._deadline.expired:
                self._socket.settimeout(max(self._deadline.remaining(), 0.01))
                if not self._socket.recv(1 << 16):
                    break
        self._socket.close()

    def __enter__(self) -> Keyboard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        """RFC 6143, section 7.1 to 7.3."""
        if not self._read(12).startswith(b"RFB 003.0"):
            raise MachineError(f"{self._path} is not the console of a guest: no RFB server answers.")
        self._socket.sendall(VERSION)
        kinds = self._read(self._read(1)[0])
        if NO_AUTHENTICATION not in kinds:
            raise MachineError(f"{self._path} wants a password: it is not the console of a guest of winvm.")
        self._socket.sendall(bytes([NO_AUTHENTICATION]))
        if self._number(">I"):
            reason = self._read(min(self._number(">I"), REASON_LIMIT)).decode("utf-8", "replace")
            raise MachineError(f"{self._path} refuses the connection: {reason}.")
        self._socket.sendall(bytes([SHARED]))
        self._read(2 + 2 + 16)  # width, height, pixel format
        self._read(min(self._number(">I"), REASON_LIMIT))  # name
        self._socket.sendall(struct.pack(">BxHi", SET_ENCODINGS, 1, EXTENDED_KEY_ENCODING))

    def _event(self, key: int, *, down: bool) -> None:
        self._deadline.check("Pressing keys")
        self._socket.sendall(struct.pack(">BBHII", QEMU_MESSAGE, EXTENDED_KEY, down, 0, key))
        self._pause(PAUSE_S)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._read(struct.calcsize(form)))[0])

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._socket.settimeout(max(self._deadline.remaining(), 0.01))
            more = self._socket.recv(size - len(data))
            if not more:
                raise MachineError(f"{self._path} closed the connection: the guest has ended.")
            data += more
        return data

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise DeadlineError(
                f"{self._path} does not answer.", remedy="Its QEMU may be stopped."
            ) from error
        except OSError as error:
            raise MachineError(
                f"The guest's console {self._path} cannot be used: {error.strerror}.",
                remedy="List the guests that run: winvm console --list",
            ) from error
