"""The table of the measurements: which targets are met, and how it reads."""

from __future__ import annotations

import json

import pytest

from tests.bench.report import document, markdown, plain
from tests.bench.row import Row, shown, spread


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(10, False, True), (10.1, False, False), (9.9, True, False)]
)
def test_a_target_is_a_limit_from_one_side(value: float, at_least: bool, met: bool) -> None:
    assert Row("x", value, "s", 10, at_least).met is met


@pytest.mark.parametrize(("value", "text"), [(0.0049, "0.0049 s"), (1.2345, "1.23 s"), (12345.6, "12346 s")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert shown(value, "s") == text


def test_the_table_tells_what_was_missed() -> None:
    rows = [Row("boot", 2.5, "s", 3.0), Row("ratio", 9.6, "x", 10.0, True, "how")]
    assert plain(rows).splitlines()[2].split() == [
        "ratio",
        "9.6",
        "x",
        "at",
        "least",
        "10",
        "x",
        "MISSED",
        "how",
    ]
    lines = markdown(rows, {"accelerator": "tcg"}, (0.5, 1.5)).splitlines()
    assert lines[0].endswith("accelerator tcg; load average 0.5 before, 1.5 after:")
    assert lines[-2:] == [
        "| boot | 2.5 s | at most 3 s |  |",
        "| ratio | 9.6 x | at least 10 x, MISSED | how |",
    ]


def test_a_value_without_a_target_is_never_missed() -> None:
    row = Row("other way", 8.1, "x", None, note="for comparison")
    assert row.met
    assert markdown([row], {}, (0, 0)).splitlines()[-1] == "| other way | 8.1 x |  | for comparison |"


def test_the_document_is_json_with_every_sample() -> None:
    rows = [Row("boot", 2.0, "s", 3.0, detail=spread([1.0, 2.0, 3.0]))]
    found = json.loads(json.dumps(document(rows, {"accelerator": "tcg"}, (0.5, 1.5))))
    assert found["rows"][0]["detail"] == {"median": 2.0, "samples": [1.0, 2.0, 3.0]}
    assert found["rows"][0]["met"] is True
