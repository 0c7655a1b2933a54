"""Counters of a run: which name they are kept under, and what a crash adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent.protocol import Finished, Loaded, Unloaded
from harness.bundle.payload import Payload
from harness.bundle.write import LOADED
from harness.coverage.crashed import DUMP, STREAM
from harness.coverage.image import CoverageImage
from harness.run.counting import NOT_KNOWN, Counting
from tests.unit.coverage.built import build_small, packed
from tests.unit.coverage.test_crashed import minidump


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> CoverageImage:
    return build_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def counting(image: CoverageImage, tmp_path: Path) -> Counting:
    payload = Payload(tmp_path / "agent.pyz", "small", {"release": image.file}, "", instruments=("coverage",))
    return Counting(payload, lambda: "release")


def kept(counting: Counting) -> dict[str, list[int]]:
    """Scenario -> the first counters that are not zero, as indexes."""
    assert counting.collected
    return {
        name: [at // 8 for at in range(0, len(counters), 8) if any(counters[at : at + 8])]
        for _, name, counters in counting.collected.counters()
    }


def test_names_of_what_counted(counting: Counting, image: CoverageImage) -> None:
    counting.take(Loaded(event="loaded", ok=True, counters=packed(image, {1: 1})))
    ran = packed(image, {2: 5})
    counting.take(Finished(event="finished", id=1, scenario="s.one", outcome="passed", counters=ran))
    counting.take(Unloaded(event="unloaded", ok=True, counters=packed(image, {3: 1})))
    assert kept(counting) == {"driver.load": [1], "s.one": [2], "driver.unload": [3]}


def test_a_crash_adds_what_its_dump_has(counting: Counting, image: CoverageImage, tmp_path: Path) -> None:
    counting.take(Loaded(event="loaded", ok=True, counters=packed(image, {1: 1})))
    memory = bytearray(image.counter_bytes)
    memory[8] = memory[16] = 1
    (tmp_path / DUMP).write_bytes(minidump(STREAM, bytes(memory)))
    counting.crashed("s.falls", tmp_path)
    assert kept(counting) == {"driver.load": [1], "s.falls": [2]}


def test_a_crash_without_counters_is_told_of(counting: Counting, tmp_path: Path) -> None:
    counting.crashed(LOADED, tmp_path)
    assert counting.collected
    assert counting.collected.troubles == [f"driver.load: {NOT_KNOWN}"]


def test_a_plain_driver_is_not_counted(tmp_path: Path) -> None:
    counting = Counting(Payload(tmp_path / "agent.pyz", "d", {"release": tmp_path / "d.sys"}, ""), lambda: "")
    counting.take(Loaded(event="loaded", ok=True))
    counting.crashed("s.one", tmp_path)
    assert counting.collected is None
