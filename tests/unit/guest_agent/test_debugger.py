"""breakpoint() and post-mortem debugging in the agent: what is asked, and what each answer does."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from agent import Context, scenario
from agent.protocol import Wire
from agent.registry import declared_scenarios, forget_scenarios
from agent.runner import serve

from tests.fakes.agent_guest import FakeGuest

Event = dict[str, Any]
HELLO = {"cmd": "hello", "marker": "abc", "capabilities": [], "journal": "\\\\.\\COM2"}


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    forget_scenarios()
    hook = sys.breakpointhook
    yield
    sys.breakpointhook = hook
    forget_scenarios()


def debugged(body: Any, *lines: str, source: type[io.BytesIO] = io.BytesIO, **options: Any) -> list[Event]:
    """Runs one scenario with these answers to its prompts; its events but standby and ready."""
    scenario(body)
    run = {"cmd": "run", "id": 1, "scenario": declared_scenarios()[0].name, "deadline_s": 5.0, **options}
    commands = [HELLO, run, *({"cmd": "line", "text": line} for line in lines)]
    sink = io.BytesIO()
    typed = source(b"".join(json.dumps(command).encode() + b"\n" for command in commands))
    assert serve(Wire(typed, sink), FakeGuest(), declared_scenarios) == 0
    return [json.loads(line) for line in sink.getvalue().splitlines()][2:]


def stops(t: Context) -> None:
    size = 41
    breakpoint()
    t.note(size)


def test_a_breakpoint_asks_and_the_answers_act_in_the_scenario() -> None:
    *prompts, ended = debugged(stops, "p size\n", "size = 42\n", "continue\n", debugger=True)
    assert [event["event"] for event in prompts] == ["prompt"] * 3
    assert "stops()" in prompts[0]["text"]
    assert prompts[0]["text"].endswith("(Pdb) ")
    assert prompts[1]["text"].startswith("41\n")
    assert (ended["outcome"], ended["notes"]) == ("passed", ["42"])


def test_the_end_of_input_quits_the_debugger_and_the_scenario() -> None:
    *_, ended = debugged(stops, debugger=True)
    assert (ended["outcome"], ended["message"]) == (
        "failed", "the debugger was quit before the scenario's end",
    )  # fmt: skip


def test_without_a_terminal_a_breakpoint_says_what_to_do_instead() -> None:
    (ended,) = debugged(stops)
    assert ended["outcome"] == "error"
    assert "breakpoint() finds no terminal" in ended["message"]
    assert f"winvm run {ended['scenario']}" in ended["message"]


def fails(t: Context) -> None:
    wanted = 5
    assert wanted == 6


def test_a_failure_is_debugged_where_it_was_raised() -> None:
    *prompts, ended = debugged(fails, "p wanted\n", "q\n", debugger=True, post_mortem=True)
    assert "AssertionError" in prompts[0]["text"]
    assert "assert wanted == 6" in prompts[0]["text"]
    assert prompts[1]["text"].startswith("5\n")
    assert ended["outcome"] == "failed"


def skips(t: Context) -> None:
    t.skip("not today")


@pytest.mark.parametrize("body", [fails, skips])
def test_nothing_is_asked_without_need(body: Any) -> None:
    post_mortem = body is skips
    (ended,) = debugged(body, debugger=True, post_mortem=post_mortem)
    assert ended["outcome"] in ("failed", "skipped")


class Slow(io.BytesIO):
    """A person who takes a moment to type."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if b'"line"' in line:
            time.sleep(0.2)
        return line


def test_a_prompt_costs_the_scenario_no_time() -> None:
    left: list[float] = []

    def waits(t: Context) -> None:
        left.append(t.deadline.at)
        breakpoint()
        left.append(t.deadline.at)

    debugged(waits, "c\n", source=Slow, debugger=True)
    assert left[0] < left[1] < left[0] + 5.0
