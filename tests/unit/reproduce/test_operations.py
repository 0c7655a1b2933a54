"""The journal as a bundle's reader sees it, and the search for the fewest operations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BundleError
from harness.reproduce.minimise import minimise
from harness.reproduce.operations import SENT_LIMIT, Operation, closed, recorded, sendable


def opening(handle: int) -> Operation:
    return Operation(op="CreateFile", detail=f"{handle}", call={"opens": handle, "path": "a"})


def control(handle: int, code: int) -> Operation:
    return Operation(op="DeviceIoControl", call={"on": handle, "code": code, "in": "00", "out": 0})


def written(folder: Path, *lines: object) -> Path:
    file = folder / "journal.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def entry(operation: Operation | None, run: int = 1, scenario: str = "s.one", **more: Any) -> dict[str, Any]:
    fields = operation.model_dump() if operation else {}
    return {"n": 1, "run": run, "scenario": scenario, **fields, **more}


def test_the_last_run_of_the_scenario_counts(tmp_path: Path) -> None:
    journal = written(
        tmp_path,
        "broken by the limit}",
        entry(opening(1)),
        entry(control(1, 7)),
        entry(opening(2), run=2, scenario="s.two"),
        entry(opening(3), run=3),
        entry(control(3, 8), run=3),
        entry(None, run=3, op="StartService", detail="drv"),
        entry(None, run=3, op="CloseHandle", detail="event"),
        entry(control(1, 9), run=3),
        '{"n": 9, "cut by the cr',
    )
    found = recorded(journal, "s.one")
    assert found.operations == (opening(3), control(3, 8))
    assert found.left_out == {"StartService": 1, "DeviceIoControl": 1}
    assert sendable(found.operations)[1] == (
        "DeviceIoControl",
        {"on": 3, "code": 8, "in": "00", "out": 0},
    )


def test_a_journal_without_operations_or_with_too_many_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        recorded(tmp_path / "gone", "s.one")
    with pytest.raises(BundleError, match=r"no operation of s\.one"):
        recorded(written(tmp_path, entry(control(1, 7)), entry(opening(1), scenario="s.two")), "s.one")
    long = control(1, 7).model_copy(update={"call": {"on": 1, "in": "00" * 2000}})
    many = [entry(opening(1)), *[entry(long)] * (SENT_LIMIT // 4000 + 10)]
    with pytest.raises(BundleError, match="a replay can send"):
        recorded(written(tmp_path, *many), "s.one")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
hostile = st.dictionaries(
    st.sampled_from(["op", "call", "run", "scenario", "detail"]),
    junk | st.sampled_from(["s.one", "CreateFile", {"opens": 1}, {"on": 1}, {"opens": [1]}, {"on": {}}]),
)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(hostile | junk, max_size=12))
def test_a_hostile_journal_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    journal = written(folder, entry(opening(1)), *lines)
    with suppress(BundleError):
        json.dumps(sendable(recorded(journal, "s.one").operations))


class Driver:
    """Crashes when the needed operations come in their order, on handles that are open."""

    def __init__(self, needed: Sequence[Operation]) -> None:
        self._needed = closed(needed)
        self.trials = 0

    def __call__(self, operations: Sequence[Operation]) -> bool:
        self.trials += 1
        assert closed(operations) == list(operations), "an operation on a handle that is not open"
        left = iter(operations)
        return all(operation in left for operation in self._needed)


def test_thirty_of_a_hundred_in_few_trials() -> None:
    noise = [opening(1), *(control(1, code) for code in range(40))]
    needed = [opening(2), *(control(2, 100 + code) for code in range(30))]
    between = [*noise, *needed[:10], opening(3), control(3, 1), *needed[10:], control(2, 5), control(1, 3)]
    driver = Driver(needed)
    assert minimise(between, driver) == needed
    assert driver.trials < 80


def test_one_operation_is_left_as_it_is() -> None:
    assert minimise([opening(1)], Driver([opening(1)])) == [opening(1)]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_left_is_what_it_takes(data: st.DataObject) -> None:
    handles = data.draw(st.integers(1, 4))
    operations = [opening(handle) for handle in range(handles)]
    targets = data.draw(st.lists(st.integers(0, handles - 1), max_size=30))
    operations += [control(handle, code) for code, handle in enumerate(targets)]
    chosen = data.draw(st.sets(st.sampled_from(range(len(operations))), min_size=1))
    used = {operations[index].on for index in chosen} - {None}
    needed = [one for index, one in enumerate(operations) if index in chosen or one.opens in used]
    assert minimise(operations, Driver(needed)) == needed
