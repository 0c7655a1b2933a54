"""The host's end of a guest's serial line: one thread moves the bytes, everybody else waits for messages.

The line is a UNIX socket of QEMU's, which has one user at a time: a second one connects and gets no answer.
It ends with its QEMU. The guest is not trusted: what it may send is bounded by credit, file sizes and one
inbox for each call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
import threading
import time
from collections import deque
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, TransportError
from harness.transports.serial_link import SerialLink
from harness.transports.serial_messages import CREDIT, EXIT, NUMBER, OUTPUT, MessageError, message, parse

READ_BYTES = 64 << 10
BEGIN_EVERY_S = 0.25
"""Between two requests for a session: the guest may not be listening yet."""
BEGIN_S = 20.0
INBOX_BYTES = 512 << 10
"""When so much waits in one inbox, nothing more is read from the line."""
CREDIT_BYTES = 64 << 10
"""Output that a program may send ahead of its reader."""
GONE = "QEMU closed the guest's serial line"

_LOG = logging.getLogger("winvm.serial")


class Inbox:
    """Messages for one call or one program, in order.

    Args:
        limit: bytes that may wait.

    Attributes:
        flooded: the guest sent more than may wait; the rest was dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.messages: deque[tuple[int, bytes]] = deque()
        self.taken = 0  # bytes of output for which no new credit was given
        self.waiting = 0  # bytes
        self.flooded = False

    def put(self, kind: int, body: bytes) -> None:
        """Takes a message that has arrived."""
        if self.waiting + len(body) > self._limit:
            self.flooded = True
            return
        self.waiting += len(body)
        self.messages.append((kind, body))


class SerialLine:
    """A connection to one guest, made at the first use; for any number of threads.

    Args:
        path: QEMU's socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._link: SerialLink | None = None
        self._socket: socket.socket | None = None
        self._wake: int | None = None
        self._inboxes: dict[tuple[str, int], Inbox] = {}
        self._calls = 0
        self._lost = ""
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> str:
        """Why the line is of no use any more; empty while it is."""
        return self._lost

    def connect(self, deadline: Deadline) -> None:
        """Connects, unless that is done, and waits for the guest's answer.

        Raises:
            TransportError: there is no QEMU, or it ended.
            DeadlineError: the guest did not answer.
        """
        with self._changed:
            self._require()
            if self._socket is None:
                self._open()
            limited = deadline.at_most(BEGIN_S)
            link = self._link
            while link is not None and not link.open:
                self._require()
                if limited.expired:
                    raise DeadlineError(
                        f"The guest did not answer on its serial line within {limited.seconds:g} s.",
                        remedy="It may still start, or another winvm uses the line, which has one user.",
                    )
                link.begin()
                self._nudge()
                # Not woken by what the line itself sends: a flood of requests never lets a slow guest answer.
                self._changed.wait_for(lambda: link.open, min(BEGIN_EVERY_S, max(0.01, limited.remaining())))

    def new_call(self) -> int:
        """The number of a call of our own, with an inbox."""
        with self._changed:
            self._calls += 1
            self._inboxes["call", self._calls] = Inbox(2 * INBOX_BYTES)
            return self._calls

    def listen(self, process: int) -> None:
        """Keeps what a program sends from now on, and lets it send."""
        with self._changed:
            new = ("process", process) not in self._inboxes
            self._inboxes.setdefault(("process", process), Inbox(2 * CREDIT_BYTES))
        if new:
            self.grant(process, CREDIT_BYTES, Deadline.after(BEGIN_S))

    def grant(self, process: int, count: int, deadline: Deadline) -> None:
        """Lets a program send so many bytes more."""
        self.send(message(CREDIT, process, NUMBER.pack(count)), deadline)

    def consumed(self, process: int, count: int, deadline: Deadline) -> None:
        """Notes that so many bytes of a program's output were taken; lets it send as many, in large steps."""
        with self._changed:
            inbox = self._inboxes.get(("process", process))
            if inbox is None:
                return
            inbox.taken += count
            if inbox.taken < CREDIT_BYTES // 2:
                return
            count, inbox.taken = inbox.taken, 0
        self.grant(process, count, deadline)

    def forget(self, kind: str, number: int) -> None:
        """Drops an inbox; what still comes for it is dropped too."""
        with self._changed:
            self._inboxes.pop((kind, number), None)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Queues one message, when there is room for it.

        Raises:
            TransportError: the line is lost.
            DeadlineError: the guest takes nothing.
        """
        self.connect(deadline)
        with self._changed:
            link = self._link
            if link is None:
                raise TransportError("The serial line was closed.")
            while link.full:
                self._require()
                if deadline.expired:
                    raise DeadlineError(
                        f"The guest took nothing from its serial line for {deadline.seconds:g} s."
                    )
                self._changed.wait(min(1.0, deadline.remaining()))
            self._require()
            link.send(data)
            self._nudge()

    def next(self, kind: str, number: int, deadline: Deadline) -> tuple[int, bytes] | None:
        """The next message of an inbox, its kind and body; None when the deadline passes first.

        Raises:
            TransportError: the line is lost, or the guest sent more than it was allowed to.
        """
        with self._changed:
            while True:
                inbox = self._inboxes.get((kind, number))
                if inbox is None:
                    raise TransportError("The serial line was closed.")
                if inbox.flooded:
                    raise TransportError("The guest sent more than it was allowed to.")
                if inbox.messages:
                    found = inbox.messages.popleft()
                    inbox.waiting -= len(found[1])
                    self._nudge()  # the line may have been left unread
                    return found
                self._require()
                if deadline.expired:
                    return None
                self._changed.wait(min(1.0, max(0.001, deadline.remaining())))

    def close(self) -> None:
        """Disconnects; never raises. Whoever waits gets a `TransportError`."""
        with self._changed:
            self._lose("the serial line was closed")
            self._inboxes.clear()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _require(self) -> None:
        if self._lost:
            raise TransportError(
                f"Serial line: {self._lost}.", remedy="Start the guest again: winvm down, then winvm up."
            )

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(self.path))
        except OSError as error:
            self._socket.close()
            self._socket = None
            raise TransportError(
                f"The guest's serial line {self.path} cannot be reached: {error.strerror}.",
                remedy="Its QEMU has ended: winvm down, then winvm up.",
            ) from error
        self._socket.setblocking(False)
        self._link = SerialLink(secrets.randbelow(0xFFFF) + 1)
        reader, self._wake = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(self._wake, False)
        arguments = (self._socket, self._link, reader)
        self._thread = threading.Thread(target=self._run, args=arguments, name="serial-line", daemon=True)
        self._thread.start()

    def _nudge(self) -> None:
        """Wakes the thread; under the lock."""
        if self._wake is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake, b"!")

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = reason
        self._nudge()
        self._changed.notify_all()

    def _run(self, wire: socket.socket, link: SerialLink, wake: int) -> None:
        """Thread: moves bytes until the line is lost."""
        pending, descriptor = b"", wire.fileno()
        reason = GONE
        try:
            while not self._lost:
                with self._changed:
                    if not pending:
                        pending = link.transmit(time.monotonic())
                        if pending:
                            self._changed.notify_all()
                    # With bytes to write, nothing else is due: QEMU takes them when the guest does.
                    wait = None if pending else link.wait(time.monotonic())
                    full = any(inbox.waiting >= INBOX_BYTES for inbox in self._inboxes.values())
                reads = [wake] if full else [wake, descriptor]
                readable, writable, _ = select.select(reads, [descriptor] if pending else [], [], wait)
                if wake in readable:
                    os.read(wake, 4096)
                if descriptor in readable:
                    data = wire.recv(READ_BYTES)
                    if not data:
                        break
                    self._take(link, data)
                if descriptor in writable:
                    pending = pending[wire.send(pending) :]
        except OSError as error:
            reason = f"{GONE}: {error.strerror}"
        finally:
            with self._changed:
                self._lose(reason)
                os.close(self._wake or -1)
                self._wake = None
            os.close(wake)
            wire.close()
            _LOG.debug(
                "line ended: %s; %d frames repeated, %d damaged, %d bytes skipped",
                self._lost,
                link.repeated,
                link.reader.damaged,
                link.reader.skipped,
            )

    def _take(self, link: SerialLink, data: bytes) -> None:
        with self._changed:
            for received in link.receive(data, time.monotonic()):
                try:
                    kind, number, body = parse(received)
                except MessageError as error:
                    _LOG.debug("ignored: %s", error)
                    continue
                group = "process" if kind in (OUTPUT, EXIT) else "call"
                if inbox := self._inboxes.get((group, number)):
                    inbox.put(kind, body)
            self._changed.notify_all()
