"""The fuzzer's loop: cases are valid, journalled first and repeatable; guidance finds what luck does not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from agent.deadline import Deadline
from agent.fuzz.case import MOST, checked, input_of, shown
from agent.fuzz.generate import Generator, Target
from agent.fuzz.guidance import HEAD, PAIR, parsed
from agent.fuzz.loop import CASE, KEPT, REPORT, Fuzzer
from agent.fuzz.mutate import VARIANTS, Mutator, substituted
from agent.operations import Operations
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.fuzzed_driver import (
    CODE,
    DEVICE,
    HIDDEN,
    MAGIC,
    DriverDownError,
    FuzzedDriver,
    FuzzedGuidance,
)

OPEN = {"op": "open", "on": 0, "device": DEVICE}
CASES = 20_000


class Recorder:
    """Keeps what is journalled."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Any]] = []

    def __call__(self, operation: str, detail: str, call: dict[str, Any] | None = None, /) -> None:
        self.lines.append((operation, call))


def generator(seed: int) -> Generator:
    return Generator(random.Random(seed), [Target(DEVICE, [CODE])], [40])


@given(st.integers(0, 1 << 31))
def test_every_case_that_is_made_or_changed_is_valid(seed: int) -> None:
    made = generator(seed)
    mutator, case, other = Mutator(made), made.case(), made.case()
    for _ in range(10):
        case = mutator.changed(case, other)
        assert checked(case) == case
        assert len(case) <= MOST
        assert shown(case)


def test_the_same_seed_makes_the_same_cases() -> None:
    one, two = generator(7), generator(7)
    assert [one.case() for _ in range(50)] == [two.case() for _ in range(50)]
    assert generator(7).case() != generator(8).case() or generator(7).case() != generator(9).case()


def test_cases_hold_every_kind_of_operation_and_buffer() -> None:
    made = generator(3)
    operations = [one for _ in range(4000) for one in made.case()]
    assert {one["op"] for one in operations} == {"open", "ioctl", "read", "write", "cancel", "close", "wait"}
    assert {one.get("into", "own") for one in operations} == {"own", "null", "freed", "kernel", "same"}
    assert {one.get("from", "own") for one in operations} == {"own", "null", "freed", "kernel"}
    assert {one.get("thread", 0) for one in operations} == {0, 1, 2, 3}
    assert {one["code"] & 3 for one in operations if one["op"] == "ioctl"} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "document",
    [
        *(None, [], {}, [1], [{"op": "reboot"}], [OPEN] * (MOST + 1)),
        [{"op": "open", "device": "C:\\file"}],
        [{"op": "open"}],
        [{"op": "close", "device": DEVICE}],
        [{"op": "ioctl", "code": -1}],
        [{"op": "ioctl", "code": True}],
        [{"op": "ioctl", "in": "0"}],
        [{"op": "ioctl", "in": "zz"}],
        [{"op": "ioctl", "in": "00" * 5000}],
        [{"op": "ioctl", "out": 1 << 40}],
        [{"op": "ioctl", "into": "mars"}],
        [{"op": "ioctl", "thread": 4}],
        [{"op": "ioctl", "unknown": 1}],
    ],
)
def test_what_is_no_case_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="operation"):
        checked(document)


def test_zeros_follow_an_input_up_to_its_length() -> None:
    assert input_of({"op": "write", "in": "0102", "length": 4}) == b"\1\2\0\0"
    assert input_of({"op": "write", "in": "0102", "length": 1}) == b"\1\2"


def test_what_was_compared_is_put_in_its_place() -> None:
    case = [OPEN, {"op": "ioctl", "on": 0, "code": CODE, "in": "aabbccdd00", "out": 24}]
    compared = [(0xDDCCBBAA, MAGIC), (24, 64), (CODE, HIDDEN)]
    made = list(substituted(case, compared))
    assert any(one[1]["in"].startswith("4d41524b") for one in made)
    assert any(one[1]["out"] == 64 for one in made)
    assert any(one[1]["code"] == HIDDEN for one in made)
    assert len(list(substituted(case, compared * 100))) <= VARIANTS


def test_an_answer_of_the_instrument_is_read_as_far_as_it_goes() -> None:
    whole = HEAD.pack(3, 1, 20, 2) + PAIR.pack(1, 2) + PAIR.pack(3, 4)
    assert parsed(whole).compared == ((1, 2), (3, 4))
    assert parsed(whole[:-1]).compared == ((1, 2),)
    assert (parsed(whole).edges, parsed(whole).counts, parsed(whole).total) == (3, 1, 20)


def fuzzed(seed: int, *, guided: bool) -> tuple[int, Recorder]:
    """Cases until the driver went down, at most `CASES`."""
    driver, recorder = FuzzedDriver(), Recorder()
    plan = {"targets": [{"device": DEVICE, "codes": [CODE]}], "seed": seed, "guided": guided}
    fuzzer = Fuzzer(plan, driver)
    t = Operations(recorder, Deadline.after(60))
    guidance = FuzzedGuidance(driver) if guided else None
    try:
        while fuzzer.cases < CASES:
            fuzzer.once(fuzzer._next(), t, guidance)
    except DriverDownError:
        pass
    return fuzzer.cases, recorder


def test_guidance_finds_a_bug_that_chance_does_not() -> None:
    guided = sorted(fuzzed(seed, guided=True)[0] for seed in range(5))[2]
    assert 3 * guided < min(fuzzed(seed, guided=False)[0] for seed in range(2))


def test_the_case_that_took_the_driver_down_is_the_last_in_the_journal() -> None:
    _, recorder = fuzzed(1, guided=True)
    operation, call = recorder.lines[-1]
    assert operation == CASE
    with pytest.raises(DriverDownError):
        FuzzedDriver().run(checked(call["case"]))


def test_a_slice_keeps_what_reached_new_code_and_reports() -> None:
    driver, recorder = FuzzedDriver(crashes=False), Recorder()
    plan = {
        "targets": [{"device": DEVICE, "codes": [CODE]}, {"device": r"\??\Absent", "codes": [CODE]}],
        "corpus": [[OPEN, {"op": "ioctl", "on": 0, "code": HIDDEN}]],
        "only_corpus": True,
    }
    fuzzer = Fuzzer(plan, driver)
    fuzzer.run(5, Operations(recorder, Deadline.after(60)), lambda _service, _t: FuzzedGuidance(driver))
    assert [target.device for target in fuzzer.generator.targets] == [DEVICE]
    kept = [call for operation, call in recorder.lines if operation == KEPT]
    assert [one["case"] for one in kept] == plan["corpus"]
    report = recorder.lines[-1]
    assert report[0] == REPORT
    assert (report[1]["cases"], report[1]["operations"], report[1]["edges"]) == (1, 2, 2)
