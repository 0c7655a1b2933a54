"""What the terminal says of coverage, and the options that ask for it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from harness.coverage.lines import SourceLines
from harness.coverage.reports import Coverage
from harness.testing.coverage import RunCoverage, add_coverage_options, coverage_lines


def made(**more: object) -> Coverage:
    lines = {
        "src/a.c": SourceLines({1: 2, 2: 0, 3: 0, 4: 1}),
        "src/b\x1b.c": SourceLines({1: 0}),
        "src/whole.c": SourceLines({1: 1}),
    }
    return Coverage(Path("coverage"), lines, {}, **more)  # type: ignore[arg-type]


def test_lines_that_did_not_run_by_file() -> None:
    head, worst, second = coverage_lines(made())
    assert head == "coverage: 50.0 % of the driver's lines, 3 of 6"
    assert worst.startswith("    0.0 % src/b")
    assert "\x1b" not in worst
    assert second == "   50.0 % src/a.c, not 2-3"


def test_changes_and_what_is_missing() -> None:
    found = made(revision="main", missed={"src/a.c": [2, 3]}, troubles=["s: no channel"])
    assert list(coverage_lines(found))[-3:] == [
        "changed since main and not covered: 2 lines",
        "  src/a.c: 2-3",
        "  counts may be missing: s: no channel",
    ]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], False),
        (["--winvm-coverage"], True),
        (["--winvm-coverage-fail-under", "0"], True),
        (["--winvm-coverage-diff", "main"], True),
    ],
)
def test_each_option_asks_for_coverage(words: list[str], wanted: bool) -> None:
    parser = pytest.Parser(_ispytest=True)
    add_coverage_options(parser.getgroup("winvm"))
    options = parser.parse(words)

    def option(name: str) -> object:
        return getattr(options, name.removeprefix("--").replace("-", "_"))

    assert RunCoverage(option).wanted is wanted
    assert list(RunCoverage(option).summary()) == []


@pytest.mark.parametrize("text", ["-1", "101", "most", "nan"])
def test_other_percentages_are_refused(text: str) -> None:
    parser = pytest.Parser(_ispytest=True)
    add_coverage_options(parser.getgroup("winvm"))
    with pytest.raises((argparse.ArgumentTypeError, pytest.UsageError, SystemExit)):
        parser.parse(["--winvm-coverage-fail-under", text])
