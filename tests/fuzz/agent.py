"""Mutated lines of the agent give an event or an AgentError: `python -m tests.fuzz.agent --count 100000`."""

from __future__ import annotations

import json
import random

from harness.agent.protocol import parse_event
from harness.errors import AgentError
from tests.fuzz.campaign import Campaign, mutated

LINES = tuple(
    json.dumps(event).encode()
    for event in (
        {"event": "standby"},
        {"event": "ready", "protocol": 1, "python": "3.11.9", "pid": 4, "scenarios": ["a.b", "c.d"]},
        {"event": "loaded", "ok": True, "seconds": 0.1},
        {
            "event": "loaded",
            "ok": False,
            "error_code": 0xE0000001,
            "message": "x",
            "contract_mismatch": False,
        },
        {"event": "unloaded", "ok": True, "seconds": 0.1},
        {"event": "fatal", "message": "a\ud800b"},
        {
            **{
                "event": "finished",
                "id": 1,
                "scenario": "a.b",
                "outcome": "failed",
                "message": "m",
                "detail": "d",
            },
            **{"seconds": 0.5, "operations": 3, "expect_dbgprint": ["a.*"], "notes": ["n"], "driver_exit": 0},
        },
    )
)
NESTED = (b"[" * 50_000, b'{"event":' * 20_000, b"1" * 60_000, b'{"event": "standby", "x": 1e999999}')


def line(chance: random.Random) -> bytes:
    """A mutated line, or rarely one that is deep or long."""
    return chance.choice(NESTED) if chance.random() < 0.01 else mutated(chance, chance.choice(LINES), 1 << 16)


def check(data: bytes) -> None:
    """Parses one line."""
    try:
        parse_event(data)
    except AgentError as error:
        assert len(error.message) < 1000
        assert error.message.isprintable()


CAMPAIGN = Campaign(line, check, seconds=1.0, megabytes=64)

if __name__ == "__main__":
    CAMPAIGN.command_line(__doc__, 100_000)
