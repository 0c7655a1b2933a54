"""A second process of a scenario: same interpreter, same zipapp, JSON lines over its pipes.

Only the first process can open the journal's serial port. The child therefore sends each operation to its
parent, and issues it when the parent has answered that the operation is journalled.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from agent.deadline import Deadline
from agent.debugger import refuse
from agent.errors import ChildError, WaitTimeoutError
from agent.operations import Operations
from agent.threads import RaisedInThreads
from agent.underway import process_started
from agent.verdict import ScenarioVerdict, in_thread, verdict
from agent.win32.handle import Call

# The root is the zipapp, or the folder that holds agent/ and scenarios/: both can be an entry of sys.path.
ROOT = str(Path(__file__).absolute().parents[1])
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from agent.process import child_main; child_main()"


class Process:
    """The parent's side of a second process; made by `Context.spawn`.

    Attributes:
        pid: its process id.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], parent: Operations) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._parent = parent
        self._lock = threading.Lock()
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._end: tuple[str, Any] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT, ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        process_started(lambda: self.running)
        threading.Thread(target=self._read, name=f"child-{self.pid}", daemon=True).start()
        self._write(
            {
                "module": function.__module__,
                "function": function.__qualname__,
                "arguments": list(arguments),
                "seconds": parent.deadline.remaining(),
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Whether the process still exists."""
        return self._process.poll() is None

    def send(self, message: Any) -> None:
        """Sends a JSON value to the child's `receive`; raises `ChildError` when the child is gone."""
        try:
            self._write({"message": message})
        except OSError as error:
            raise ChildError(f"{self._name} has ended") from error

    def receive(self, timeout_s: float | None = None) -> Any:
        """The child's next message.

        Raises:
            WaitTimeoutError: none came in time.
            ChildError: the child ended or raised instead; its traceback is a note of the exception.
            AssertionError: an assertion of the child did not hold.
        """
        kind, value = self._next(timeout_s)
        if kind == "message":
            return value
        raise self._failure(kind, value)

    def result(self, timeout_s: float | None = None) -> Any:
        """Waits for the function's end and returns its value (JSON); drops messages not received before.

        Raises as `receive` does.
        """
        deadline = Deadline.after(self._parent.deadline.seconds(timeout_s))
        while (answer := self._next(deadline.remaining()))[0] == "message":
            pass
        kind, value = answer
        if kind == "result":
            return value
        raise self._failure(kind, value)

    def wait(self, timeout_s: float | None = None) -> int:
        """Waits until the process is gone; returns its exit code. Raises `WaitTimeoutError`."""
        budget = self._parent.deadline.seconds(timeout_s)
        try:
            return self._process.wait(budget)
        except subprocess.TimeoutExpired as error:
            raise WaitTimeoutError(f"the end of process {self.pid} ({self._name})", budget) from error

    def kill(self) -> None:
        """Ends the process by TerminateProcess and waits until it is gone; does nothing if it has ended."""
        if self.running:
            self._parent.record("TerminateProcess", f"{self.pid} {self._name}")
            self._process.kill()
            self.wait()

    def _next(self, timeout_s: float | None) -> tuple[str, Any]:
        if self._end is not None:
            return self._end
        budget = self._parent.deadline.seconds(timeout_s)
        try:
            kind, value = self._answers.get(timeout=budget)
        except queue.Empty:
            raise WaitTimeoutError(f"an answer of {self._name} (process {self.pid})", budget) from None
        if kind != "message":
            self._end = (kind, value)
        return kind, value

    def _failure(self, kind: str, value: Any) -> Exception:
        if kind != "error":
            return ChildError(f"{self._name} ended without another message")
        error_type = AssertionError if value["outcome"] == "failed" else ChildError
        error = error_type(f"{self._name} in process {self.pid}: {value['message']}")
        error.add_note(value["detail"])
        return error

    def _read(self) -> None:
        """Reader thread: journals the child's operations, and queues its other messages for `receive`."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            (kind, value), *_ = json.loads(line).items()
            if kind == "operation":
                operation, detail = value
                self._parent.record(operation, f"pid={self.pid} {detail}")
                try:
                    self._write({"journalled": True})
                except OSError:
                    break  # the child was killed while it waited for the answer
            else:
                self._answers.put((kind, value))
        ended = ScenarioVerdict("error", f"ended with exit code {self._process.wait()}")
        self._answers.put(("error", asdict(ended)))

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(line).encode("ascii") + b"\n")
            self._process.stdin.flush()


class Child(Operations):
    """What a spawned function receives as its first argument: operations, and messages to its parent."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(self._ask, deadline)
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._journalled: queue.Queue[bool] = queue.Queue()
        self._messages: queue.Queue[Any] = queue.Queue()
        self._sink = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def send(self, message: Any) -> None:
        """Sends a JSON value to the parent's `receive`."""
        self._say({"message": message})

    def receive(self, timeout_s: float | None = None) -> Any:
        """The parent's next message; raises `WaitTimeoutError`."""
        budget = self.deadline.seconds(timeout_s)
        try:
            return self._messages.get(timeout=budget)
        except queue.Empty:
            raise WaitTimeoutError("a message of the parent", budget) from None

    def listen(self) -> None:
        """Reader thread: sorts the parent's lines by kind; ends the process when the parent is gone."""
        for line in sys.stdin.buffer:
            command = json.loads(line)
            if "journalled" in command:
                self._journalled.put(True)
            else:
                self._messages.put(command["message"])
        os._exit(3)

    def finish(self, kind: str, value: Any) -> None:
        """Reports the function's `result` or `error`."""
        self._say({kind: value})

    def _ask(self, operation: str, detail: str, _call: Call | None = None, /) -> None:
        """Has the parent journal one operation; one at a time, because the answer carries no number.

        `_call` is not sent: a replay has no second process.
        """
        with self._asking:
            self._say({"operation": [operation, detail]})
            self._journalled.get(timeout=self.deadline.remaining() + 1)

    def _say(self, line: dict[str, Any]) -> None:
        content = json.dumps(line).encode("ascii") + b"\n"
        with self._writing:
            self._sink.write(content)
            self._sink.flush()


def child_main() -> None:
    """Entry of the second process: runs the function that the parent named and reports how it ended."""
    command = json.loads(sys.stdin.buffer.readline())
    child = Child(Deadline.after(command["seconds"]))
    refuse("")
    threading.Thread(target=child.listen, daemon=True).start()
    try:
        function = getattr(importlib.import_module(command["module"]), command["function"])
        with RaisedInThreads() as threads:
            value = function(child, *command["arguments"])
        for name, error in threads.raised:
            child.finish("error", asdict(in_thread(name, error)))
            break
        else:
            child.finish("result", value)
    except BaseException as error:  # noqa: BLE001  the parent's scenario raises it, with this traceback
        child.finish("error", asdict(verdict(error)))
    os._exit(0)  # the listening thread blocks in a read; the system closes what the function left open
