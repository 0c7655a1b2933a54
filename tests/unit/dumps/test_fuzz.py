"""A short run of what `python -m tests.fuzz.dump` does at length; arbitrary bytes behind a right magic."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.dump import check, mutated, seeds


def test_mutated_dumps_give_a_summary_or_a_dump_error(tmp_path: Path) -> None:
    chance = random.Random(4)
    path = tmp_path / "mutated.dmp"
    small = [data for data in seeds() if len(data) < 1 << 20]
    for _ in range(1500):
        path.write_bytes(mutated(chance.choice(small), chance))
        check(path)


@pytest.mark.parametrize("magic", [b"PAGEDU64", b"MDMP\x93\xa7\0\0", b""])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=0x3000))
def test_arbitrary_bytes(magic: bytes, tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "bytes.dmp"
    path.write_bytes(magic + body)
    check(path)
