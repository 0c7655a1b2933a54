"""An agent that follows a script: it answers every command rightly unless the test says otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.fakes.debug import FakeDebugStream
from tests.fakes.transport import FakeGuestProcess

Reaction = Callable[[dict[str, Any]], None]


class FakeAgent:
    """Reads commands from its process's stdin and reacts to each.

    `underway` is the operation that `look` finds not returned, since `began` (monotonic), or for 1.5 s if
    that is None; `driver_runs` and `stopping` are what it finds of the service; the last operation returned
    at `returned` (monotonic).

    `when("hello", ...)`, `when("load", ...)` or `when(<scenario name>, ...)` replaces the usual reaction.
    """

    def __init__(self, debug: FakeDebugStream, scenarios: Sequence[str] = ()) -> None:
        self.debug = debug
        self.scenarios = list(scenarios)
        self.commands: list[dict[str, Any]] = []
        self.underway = "DeviceIoControl Device code=0x222003"
        self.began: float | None = None
        self.driver_runs: bool | None = None
        self.stopping = 0.0
        self.holds = False
        self.returned: float | None = None
        self.notes: list[str] = []
        self.process = FakeGuestProcess(self._hear)
        self._reactions: dict[str, Reaction] = {}

    def when(self, key: str, reaction: Reaction) -> None:
        """Replaces the reaction to a command, or to the run of one scenario."""
        self._reactions[key] = reaction

    def say(self, event: str, **fields: Any) -> None:
        """Prints one event."""
        self.process.say(json.dumps({"event": event, **fields}).encode() + b"\n")

    def finish(self, command: dict[str, Any], outcome: str = "passed", **fields: Any) -> None:
        """Runs a scenario to this end, with its markers."""
        self.debug.mark("begin", command["id"])
        self.debug.mark("end", command["id"])
        self.say("finished", id=command["id"], scenario=command["scenario"], outcome=outcome, **fields)

    def _hear(self, data: bytes) -> None:
        for line in data.splitlines():
            command = json.loads(line)
            self.commands.append(command)
            usual: Reaction = getattr(self, f"_{command['cmd']}", self._unused)
            key = command["scenario"] if command["cmd"] == "run" else command["cmd"]
            self._reactions.get(key, usual)(command)

    def _hello(self, command: dict[str, Any]) -> None:
        self.say("ready", protocol=1, python="3.11.9", pid=32, scenarios=self.scenarios)

    def _load(self, command: dict[str, Any]) -> None:
        self.say("loaded", ok=True, seconds=0.1)

    def _unload(self, command: dict[str, Any]) -> None:
        self.say("unloaded", ok=True, seconds=0.1)

    def _run(self, command: dict[str, Any]) -> None:
        self.finish(command)

    def _look(self, command: dict[str, Any]) -> None:
        where = "" if self.underway else "s.py:3 in one"
        runs = self.driver_runs if command["driver"] else None
        stopping = self.stopping if command["driver"] else 0.0
        idle = None if self.returned is None else round(time.monotonic() - self.returned, 3)
        lasts = 1.5 if self.began is None else round(time.monotonic() - self.began, 3)
        self.say(
            "looked", id=command["id"], driver_runs=runs, notes=self.notes,
            operation=self.underway, seconds=lasts, where=where,
            stopping=stopping, idle=idle, holds=self.holds,
        )  # fmt: skip

    def _unused(self, command: dict[str, Any]) -> None:
        raise AssertionError(f"no reaction to {command}")

    def _start(self, command: dict[str, Any]) -> None:
        self.say("standby")

    def _quit(self, command: dict[str, Any]) -> None:
        self.process.end(0)
