"""Minimising: only what the crash needs is left, and a crash that needs earlier cases gets them."""

from __future__ import annotations

from harness.deadline import Deadline
from harness.fuzz.corpus import MOST_OPERATIONS, Operation, Operations
from harness.fuzz.minimising import join, minimised, sufficient

OPEN = Operation(op="open", device=r"\??\Winvm")
NOISE = Operation(op="wait")


def call(code: int, given: str = "", **values: object) -> Operation:
    return Operation.model_validate({"op": "ioctl", "code": code, "in": given, **values})


def needs_two_calls(case: Operations) -> bool:
    """A use after free: code 1, then code 2 whose input begins with 7f; on an open handle."""
    codes = [(one.code, one.given) for one in case if one.op == "ioctl"]
    first = next((at for at, (code, _) in enumerate(codes) if code == 1), None)
    opened = bool(case) and any(one.op == "open" for one in case)
    return opened and first is not None and any(c == 2 and g[:2] == "7f" for c, g in codes[first + 1 :])


def test_only_needed_operations_with_plain_inputs_are_left() -> None:
    case = (
        NOISE,
        OPEN,
        call(3),
        call(1, "ffff", out=64),
        NOISE,
        call(2, "7f" + "ab" * 15, into="same"),
        NOISE,
    )
    assert needs_two_calls(case)
    small = minimised(case, needs_two_calls, Deadline.after(60))
    assert [one.code for one in small if one.op == "ioctl"] == [1, 2]
    assert len(small) == 3
    assert small[1] == call(1)
    assert (small[2].into, small[2].given[:2], set(small[2].given[2:])) == ("own", "7f", set())


def test_nothing_is_dropped_that_the_crash_needs() -> None:
    case = (OPEN, call(1), call(2, "7f"))
    assert minimised(case, needs_two_calls, Deadline.after(60)) == case


def test_at_the_deadline_the_case_is_as_far_as_it_came() -> None:
    case = (NOISE, OPEN, call(1), call(2, "7f"))
    assert minimised(case, needs_two_calls, Deadline.after(0)) == case


def test_a_crash_that_needs_an_earlier_case_gets_it() -> None:
    last = [(OPEN, call(9)), (OPEN, call(1)), (OPEN, call(4)), (OPEN, call(2, "7f"))]
    enough = sufficient(last, needs_two_calls)
    assert enough is not None
    assert [one.code for one in enough if one.op == "ioctl"] == [1, 4, 2]


def test_a_crash_that_no_case_causes_has_none() -> None:
    assert sufficient([(OPEN, call(5))] * 30, needs_two_calls) is None


def test_joined_cases_close_their_handles_and_fit() -> None:
    joined = join([(OPEN, call(1)), (OPEN, call(2))])
    assert [one.op for one in joined] == ["open", "ioctl", "close", "open", "ioctl"]
    assert len(join([(OPEN, *[NOISE] * 40)] * 5)) <= MOST_OPERATIONS
