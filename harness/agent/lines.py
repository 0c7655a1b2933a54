"""The agent's two streams as lines. Threads talk to the guest, so that no other code waits for it.

Outgoing lines are queued. Incoming lines pass through a small inbox, which throttles a guest that floods it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading

from harness.agent.protocol import LINE_LIMIT, quoted
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.interfaces import GuestProcess

STDERR_TAIL = 8192
INBOX_LINES = 16


@dataclasses.dataclass(frozen=True)
class Lost:
    """The agent will send nothing more; `reason` says why."""

    reason: str


class AgentLines:
    """One agent process, read and written by threads until `close`.

    Args:
        process: the running agent.
        lifetime: when reading ends, even without `close`.

    Attributes:
        stderr: the end of the agent's output on stderr.
    """

    def __init__(self, process: GuestProcess, lifetime: Deadline) -> None:
        self._process = process
        self._lifetime = lifetime
        self.stderr = b""
        self._inbox: queue.Queue[bytes | Lost] = queue.Queue(maxsize=INBOX_LINES)
        self._outbox: queue.Queue[bytes | None] = queue.Queue()
        self._lost: Lost | None = None
        self._closed = threading.Event()
        self._releasing = threading.Event()
        self._reader = threading.Thread(target=self._read, name="agent-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="agent-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, line: bytes) -> None:
        """Queues a line for the agent; returns at once."""
        self._outbox.put(line)

    def receive(self, seconds: float) -> bytes | Lost | None:
        """The agent's next line, without its end; None if none came; `Lost` once the agent is lost."""
        if self._lost is None:
            try:
                heard = self._inbox.get(timeout=max(0.001, seconds))
            except queue.Empty:
                return None
            if isinstance(heard, bytes):
                return heard
            self._lost = heard
        return self._lost

    def release(self) -> None:
        """Makes the next line the last one read, and leaves the process running at `close`."""
        self._releasing.set()

    def wait(self, deadline: Deadline) -> None:
        """Waits until the reading thread has ended."""
        self._reader.join(deadline.remaining())

    def close(self) -> None:
        """Ends the agent and stops the threads; never raises, and never waits long for a dead guest."""
        self._closed.set()
        self._outbox.put(None)
        with contextlib.suppress(queue.Empty):  # makes room for a reader that waits to deliver a line
            while True:
                self._inbox.get_nowait()
        self._writer.join(2.0)
        self._reader.join(1.0)

    def abandon(self) -> None:
        """Closes without ending the process and without waiting: its guest is about to be discarded.

        The threads end when their connections end.
        """
        self._releasing.set()
        self._closed.set()
        self._outbox.put(None)

    def _read(self) -> None:
        """Thread: splits the agent's output into lines."""
        partial = b""
        reason = "the session's lifetime is over"
        try:
            for stream, data in self._process.receive(self._lifetime):
                if stream == "stderr":
                    self.stderr = (self.stderr + data)[-STDERR_TAIL:]
                    continue
                *lines, partial = (partial + data).split(b"\n")
                for line in lines:
                    self._hand_over(line.removesuffix(b"\r"))
                if len(partial) > LINE_LIMIT:
                    reason = f"it printed a line of more than {LINE_LIMIT} bytes, {quoted(partial)}"
                    break
                if self._closed.is_set() or (lines and self._releasing.is_set()):
                    break
            else:
                if (code := self._process.exit_code) is not None:
                    reason = f"its process exited with code {code:#x}"
        except (InfrastructureError, OSError) as error:
            reason = str(error.args[0]).rstrip(".") if error.args else str(error)
        if partial and len(partial) <= LINE_LIMIT:
            reason += f"; its last line is incomplete: {quoted(partial)}"
        self._hand_over(Lost(reason))

    def _hand_over(self, item: bytes | Lost) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._inbox.put(item, timeout=0.1)
                return

    def _write(self) -> None:
        """Thread: sends commands, because a Send to a dead guest may block."""
        while (data := self._outbox.get()) is not None:
            try:
                self._process.send(data)
            except (InfrastructureError, OSError) as error:
                self._hand_over(Lost(f"sending to it failed: {error}"))
        if not self._releasing.is_set():
            self._process.terminate()
