"""What the guest sends as counters is bounded and checked."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from harness.coverage.collected import Collected
from harness.coverage.image import CoverageImage

IMAGE = CoverageImage(Path("x.sys"), 32, 0, b"", b"")


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "sent",
    ["!", "AAAA", packed(b""), packed(bytes(31)), packed(bytes(33)), packed(bytes(1 << 24)), "QQ"],
    ids=["no base64", "no zlib", "empty", "short", "long", "a bomb", "padding"],
)
def test_other_counters_are_refused_with_a_reason(sent: str) -> None:
    collected = Collected({"release": IMAGE})
    collected.add("release", "s", sent)
    assert list(collected.counters()) == []
    (trouble,) = collected.troubles
    assert trouble.startswith("s: the guest sent no counters: ")


def test_sums_wrap_and_unknown_builds_are_left_out() -> None:
    collected = Collected({"release": IMAGE})
    for _ in range(2):
        collected.add("release", "s", packed(b"\xff" * 8 + bytes(24)))
    collected.add("other", "s", packed(bytes(32)))
    ((build, name, counters),) = collected.counters()
    assert (build, name, counters[:8]) == ("release", "s", (2**64 - 2).to_bytes(8, "little"))


def test_each_trouble_is_told_once_and_not_for_ever() -> None:
    collected = Collected({"release": IMAGE})
    for number in range(200):
        collected.add("release", f"s{number // 2}", "", "no channel.")
    assert collected.troubles[0] == "s0: no channel"
    assert len(collected.troubles) == 50
