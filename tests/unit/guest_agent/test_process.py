"""Threads and second processes of a scenario, run from a real zipapp with the fake guest."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from agent.deadline import Deadline
from agent.errors import WaitTimeoutError
from agent.threads import run_threads

from harness.toolchain.agent import build_agent

ROOT = Path(__file__).resolve().parents[3]

SCENARIOS = """
import os
import threading
import time
from agent import Child, Context, equal, scenario


def add(child: Child, a, b):
    child.record("ReadFile", "in the child")
    child.send({"pid": os.getpid()})
    print("printed by the child")
    return a + b + child.receive()


def sleeps(child: Child):
    child.send("up")
    time.sleep(60)


def fails(child: Child):
    equal(1, 2, "number")


def raises(child: Child):
    raise ValueError("from the child")


def threads(child: Child):
    thread = threading.Thread(target=lambda: equal(1, 2, "number"), name="reader")
    thread.start()
    thread.join()


def interrupts(child: Child):
    raise KeyboardInterrupt


def dies(child: Child):
    os._exit(9)


@scenario
def answers(t: Context) -> None:
    with t.spawn(add, 1, 2) as process:
        equal(process.receive(20), {"pid": process.pid}, "message")
        process.send(39)
        equal(process.result(20), 42, "result")
        equal(process.wait(20), 0, "exit code")


@scenario
def killed(t: Context) -> None:
    with t.spawn(sleeps) as process:
        equal(process.receive(20), "up")
        equal(process.running, True)
    equal(process.running, False)


@scenario
def left_over(t: Context) -> None:
    t.spawn(sleeps).receive(20)


CASES = {"fails": fails, "raises": raises, "dies": dies, "threads": threads, "interrupts": interrupts}


@scenario(cases=CASES)
def ends_badly(t: Context, function) -> None:
    with t.spawn(function) as process:
        process.result(20)


@scenario
def silent(t: Context) -> None:
    with t.spawn(sleeps) as process:
        process.receive(20)
        process.receive(0.2)
"""

SERVE = """
import sys
sys.path[:0] = sys.argv[1:]
from tests.fakes.agent_guest import FakeGuest
from agent.protocol import Wire
from agent.runner import serve
guest = FakeGuest()
code = serve(Wire(sys.stdin.buffer, sys.stdout.buffer), guest)
sys.stderr.writelines(line.decode() for line in guest.lines)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One run of all of them: `finished` events by function, and the journal."""
    folder: Path = tmp_path_factory.mktemp("agent")
    (folder / "mine").mkdir()
    (folder / "mine" / "two.py").write_text(SCENARIOS, encoding="utf-8")
    pyz = build_agent(folder / "agent.pyz", [folder / "mine"])
    names = ["answers", "killed", "left_over", "silent"]
    names += [f"ends_badly[{case}]" for case in ("fails", "raises", "dies", "threads", "interrupts")]
    commands: list[dict[str, Any]] = [{"cmd": "hello", "marker": "n", "journal": "x"}]
    commands += [
        {"cmd": "run", "id": number, "scenario": f"two.{name}", "deadline_s": 30}
        for number, name in enumerate(names)
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVE, str(pyz), str(ROOT)],
        input="".join(json.dumps(command) + "\n" for command in commands),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    journal = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"n"')]
    finished = {
        event["scenario"].removeprefix("two."): event for event in events if event["event"] == "finished"
    }
    return finished, journal


Run = tuple[dict[str, Any], list[dict[str, Any]]]


def test_a_child_takes_arguments_and_messages_and_returns(run: Run) -> None:
    assert run[0]["answers"]["outcome"] == "passed", run[0]["answers"]["detail"]


def test_the_parent_journals_what_the_child_does(run: Run) -> None:
    (entry,) = [entry for entry in run[1] if entry["op"] == "ReadFile"]
    assert entry["scenario"] == "two.answers"
    assert entry["detail"].endswith("in the child")
    assert entry["detail"].startswith("pid=")


def test_a_child_is_killed_at_the_end_of_its_block(run: Run) -> None:
    assert run[0]["killed"]["outcome"] == "passed", run[0]["killed"]["detail"]


def test_a_forgotten_child_is_killed_and_noted(run: Run) -> None:
    assert run[0]["left_over"]["outcome"] == "passed"
    assert "was left running" in run[0]["left_over"]["notes"][0]


@pytest.mark.parametrize(
    ("case", "outcome", "message", "detail"),
    [
        ("fails", "failed", "number: expected 2, got 1", 'equal(1, 2, "number")'),
        ("raises", "error", "ValueError: from the child", "in raises"),
        ("dies", "error", "ended with exit code 9", ""),
        ("threads", "failed", "in thread reader: number: expected 2, got 1", 'equal(1, 2, "number")'),
        ("interrupts", "error", "KeyboardInterrupt", "in interrupts"),
    ],
)
def test_how_a_child_ended_is_reported(run: Run, case: str, outcome: str, message: str, detail: str) -> None:
    event = run[0][f"ends_badly[{case}]"]
    assert event["outcome"] == outcome
    assert message in event["message"]
    assert detail in event["detail"]


def test_a_silent_child_fails_the_scenario(run: Run) -> None:
    assert run[0]["silent"]["outcome"] == "failed"
    assert "did not happen within 0.2 s" in run[0]["silent"]["message"]


def test_threads_start_together_and_answer_in_order() -> None:
    running = threading.Barrier(5)

    def work(index: int) -> int:
        running.wait(5)  # passes only when all five run at once
        return index * index

    assert run_threads(5, work, Deadline.after(10)) == [0, 1, 4, 9, 16]


def test_a_thread_that_raises_is_heard() -> None:
    def work(index: int) -> None:
        if index:
            raise ValueError(index)

    with pytest.raises(ValueError, match="1") as raised:
        run_threads(3, work, Deadline.after(10))
    assert raised.value.__notes__ == ["1 more of 3 threads raised"]


def test_a_thread_that_does_not_end_is_named() -> None:
    ending = threading.Event()

    def work(index: int) -> None:
        if index == 1:
            ending.wait(30)

    with pytest.raises(WaitTimeoutError, match=r"scenario-1 \(1 of 2 threads\)"):
        run_threads(2, work, Deadline.after(0.2))
    ending.set()
