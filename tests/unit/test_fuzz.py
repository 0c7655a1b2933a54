"""A small share of what `make fuzz` does at length, and inputs that fuzzing has found."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest

from tests.fuzz import agent, pdb, report, sftp
from tests.fuzz.campaign import Campaign, mutated

CAMPAIGNS = {
    "pdb": (pdb.CAMPAIGN, 2000),
    "sftp": (sftp.CAMPAIGN, 1500),
    "agent": (agent.CAMPAIGN, 5000),
    "report": (report.CAMPAIGN, 100),
}


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_hostile_input_ends_in_an_answer_or_an_error_of_winvm(name: str) -> None:
    campaign, count = CAMPAIGNS[name]
    assert f"{count} inputs" in campaign.run(count, seed=11)


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">BII", sftp.ATTRS, 0x8000_0000, 0x7FFF_FFFF),  # 2^31 extended attributes
        struct.pack(">BI", sftp.NAME, 0x7FFF_FFFF),  # 2^31 names
        struct.pack(">BI", sftp.STATUS, 4)
        + sftp.text(b"\xff\xfe")
        + sftp.text(b""),  # text that is not UTF-8
        bytes([sftp.HANDLE]),
    ],
    ids=["attributes", "names", "text", "nothing"],
)
def test_an_sftp_answer_that_announces_more_than_it_has_ends_at_once(body: bytes) -> None:
    started = time.monotonic()
    sftp.Check()(sftp.text(body) * 4)
    assert time.monotonic() - started < 2


def test_the_limits_of_a_campaign_hold(tmp_path: Path) -> None:
    def slow(_data: bytes) -> None:
        time.sleep(0.02)

    def hoard(_data: bytes) -> None:
        hoarded.append(b"x" * (2 << 20))

    hoarded: list[bytes] = []

    def fails(data: bytes) -> None:
        raise ZeroDivisionError

    def make(chance: random.Random) -> bytes:
        return mutated(chance, b"seed")

    with pytest.raises(AssertionError, match=r"one input took 0\.0 s"):
        Campaign(make, slow, seconds=0.01, megabytes=99, keep=tmp_path).run(1, 0)
    with pytest.raises(AssertionError, match="memory grew by"):
        Campaign(make, hoard, seconds=9, megabytes=16).run(40, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        Campaign(make, fails, seconds=9, megabytes=99, keep=tmp_path).run(1, 0)
    (note,) = raised.value.__notes__
    assert note.startswith("input 0 of seed 0: ")
    assert Path(note.split()[-1]).parent.parent == tmp_path
