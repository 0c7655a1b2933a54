"""Commands to an agent that serves the shipped fake guest, and the events that it answers with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from agent import scenario
from agent.protocol import Wire
from agent.registry import Registered, declared_scenarios
from agent.runner import serve

from tests.fakes.agent_guest import FakeGuest

Event = dict[str, Any]
HELLO = {
    "cmd": "hello",
    "marker": "abc",
    "capabilities": ["irql"],
    "journal": "\\\\.\\COM2",
}


def converse(
    guest: FakeGuest,
    *commands: Event,
    hello: Event | None = None,
    collected: Callable[[], Sequence[Registered]] = declared_scenarios,
) -> tuple[int, list[Event]]:
    """Feeds the commands to an agent; its exit code and its events."""
    lines = [json.dumps(command) for command in (hello or HELLO, *commands)]
    sink = io.BytesIO()
    code = serve(Wire(io.BytesIO("\n".join(lines).encode() + b"\n"), sink), guest, collected)
    return code, [json.loads(line) for line in sink.getvalue().splitlines()]


def run_one(body: Callable[..., object], guest: FakeGuest | None = None, **options: Any) -> Event:
    """Runs one scenario; its `finished` event."""
    declare: Any = scenario
    declare(**options)(body)
    name = declared_scenarios()[0].name
    _, events = converse(
        guest or FakeGuest(), {"cmd": "run", "id": 7, "scenario": name, "deadline_s": 5.0, "params": {"x": 1}}
    )
    assert [event["event"] for event in events] == ["standby", "ready", "finished"]
    assert events[2]["id"] == 7
    return events[2]
