"""What a scenario raises, returns, or leaves to its threads decides its outcome."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from agent import Context, Win32Error, scenario
from agent.registry import declared_scenarios, forget_scenarios

from tests.fakes.agent_conversation import converse, run_one
from tests.fakes.agent_guest import FakeGuest


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    forget_scenarios()
    yield
    forget_scenarios()


def raises_assertion(t: Context) -> None:
    raise AssertionError("five is not six")


def raises_error(t: Context) -> None:
    raise Win32Error(5, "CreateFile(x)")


def skips(t: Context) -> None:
    t.skip("not today")


def exits(t: Context) -> None:
    raise SystemExit(3)


def interrupts(t: Context) -> None:
    raise KeyboardInterrupt


def ends_as_a_generator(t: Context) -> None:
    raise GeneratorExit("own")


def raises_a_group(t: Context) -> None:
    raise BaseExceptionGroup("two", [KeyboardInterrupt(), SystemExit(0)])


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


def raises_what_cannot_be_shown(t: Context) -> None:
    raise UnspeakableError


def has_what_cannot_be_shown(t: Context) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    odd = Odd()  # noqa: F841  the report shows it
    raise AssertionError("five is not six")


def returns_a_value(t: Context) -> bool:
    return False


def asserts_in_a_thread(t: Context) -> None:
    def check() -> None:
        raise AssertionError("five is not six")

    thread = threading.Thread(target=check, name="reader")
    thread.start()
    thread.join()


def asserts_in_a_thread_and_skips(t: Context) -> None:
    asserts_in_a_thread(t)
    t.skip("nothing to see")


def leaves_a_thread_by_exit(t: Context) -> None:
    thread = threading.Thread(target=sys.exit, args=(1,))
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        (raises_assertion, "failed", "five is not six"),
        (raises_error, "error", "Win32Error: CreateFile(x): ERROR_ACCESS_DENIED (5)"),
        (skips, "skipped", "not today"),
        (exits, "error", "SystemExit: 3"),
        (interrupts, "error", "KeyboardInterrupt"),
        (ends_as_a_generator, "error", "GeneratorExit: own"),
        (raises_a_group, "error", "BaseExceptionGroup: two (2 sub-exceptions)"),
        (raises_what_cannot_be_shown, "error", "UnspeakableError: its __str__ raised SystemExit"),
        (has_what_cannot_be_shown, "failed", "five is not six"),
        (returns_a_value, "error", "A scenario returns nothing: use assert. It returned False."),
        (asserts_in_a_thread, "failed", "in thread reader: five is not six"),
        (asserts_in_a_thread_and_skips, "failed", "in thread reader: five is not six"),
        (leaves_a_thread_by_exit, "passed", ""),
    ],
)
def test_what_a_scenario_raises_decides_its_outcome(
    body: Callable[[Context], None], outcome: str, message: str
) -> None:
    event = run_one(body)
    assert (event["outcome"], event["message"]) == (outcome, message)
    assert "agent/runner.py" not in event["detail"]


def test_what_a_scenario_raises_is_shown_with_its_line() -> None:
    line = interrupts.__code__.co_firstlineno + 1
    assert f'test_verdict.py", line {line}, in interrupts' in run_one(interrupts)["detail"]


def test_a_case_that_returns_something_is_an_error() -> None:
    def returns(t: Context, value: int) -> int:
        return value

    event = run_one(returns, cases=[7])
    assert (event["outcome"], event["message"][-14:]) == ("error", "It returned 7.")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_an_earlier_scenario_left_is_not_blamed_on_the_next() -> None:
    may_raise, has_raised = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def late() -> None:
        may_raise.wait()
        raise ValueError("late")

    @scenario
    def a_leaves_it(t: Context) -> None:
        threads.append(threading.Thread(target=late, name="late"))
        threads[0].start()

    @scenario
    def b_innocent(t: Context) -> None:
        may_raise.set()
        threads[0].join()
        has_raised.set()

    runs = [
        {"cmd": "run", "id": number, "scenario": found.name, "deadline_s": 5.0}
        for number, found in enumerate(declared_scenarios(), start=1)
    ]
    _, events = converse(FakeGuest(), *runs)
    assert has_raised.is_set()
    assert [event["outcome"] for event in events[2:]] == ["passed", "passed"]
    assert events[3]["notes"] == ["thread late, which an earlier scenario left running, raised ValueError"]
