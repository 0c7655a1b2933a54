"""What the loop journalled: the newest run of it, cut off by a crash, with lines that are none of its."""

from __future__ import annotations

import json
from pathlib import Path

from harness.fuzz.journalled import read_slice

NAME = "fuzz.case"


def line(op: str, run: int = 2, **call: object) -> str:
    return json.dumps({"n": 1, "run": run, "scenario": NAME, "op": op, "detail": "", "call": call}) + "\n"


def case(code: int) -> list[dict[str, object]]:
    return [{"op": "open", "device": r"\??\A"}, {"op": "ioctl", "code": code}]


def test_the_last_case_is_the_one_under_way(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text(
        line("FuzzCase", run=1, case=case(9), issued=0)
        + line("FuzzCase", case=case(1), issued=0)
        + line("FuzzKept", case=case(1), edges=12)
        + "\x00not json\n"
        + line("FuzzCase", case=[{"op": "format"}], issued=2)
        + line("FuzzCase", case=case(3), issued=400)
        + '{"n": 5, "run": 2, "scen'
    )
    found = read_slice(journal, NAME)
    assert [one[1].code for one in found.last] == [1, 3]
    assert [(one[1].code, edges) for one, edges in found.kept] == [(1, 12)]
    assert (found.operations, found.cases, found.edges) == (400, 3, 12)


def test_the_report_of_a_slice_that_ended_counts(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text(
        line("FuzzCase", case=case(1), issued=0)
        + line("FuzzReport", operations=900, cases=200, seconds=1.5, edges=40, lost=1)
    )
    found = read_slice(journal, NAME)
    assert (found.operations, found.cases, found.seconds, found.edges, found.lost) == (900, 200, 1.5, 40, 1)


def test_hostile_numbers_and_no_journal_are_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text(line("FuzzReport", operations=-5, cases="many", seconds=[], edges=1 << 80))
    found = read_slice(journal, NAME)
    assert (found.operations, found.cases, found.seconds, found.edges) == (0, 0, 0.0, 0)
    assert read_slice(tmp_path / "absent", NAME).cases == 0
