"""Reads the results of single tests from what a test program reports: googletest's JSON or XML, or TAP.

Formats: https://google.github.io/googletest/advanced.html#generating-an-xml-report, https://testanything.org.
The program is under test, too: whatever it writes gives a `ReportError` at worst.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.parsers import expat

LIMIT = 5000
"""Tests of one report; more are refused."""
TEXT_LIMIT = 2000
"""Characters of a name or a message."""
SIZE_LIMIT = 16 << 20
SENT_LIMIT = 400_000
"""Bytes of all tests of a scenario in its result."""
OUTCOMES = PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_TAP = re.compile(r"(not )?ok\b\s*(\d*)\s*-?\s*([^#]*)(?:#\s*(\w+)\b\s*(.*))?")
_PLAN = re.compile(r"1\.\.(\d+)")


class ReportError(Exception):
    """A report cannot be read, or is incomplete."""


@dataclass(frozen=True)
class Subresult:
    """One test of a program; `outcome` is passed, failed or skipped."""

    name: str
    outcome: str
    message: str = ""


def read_gtest_json(data: bytes) -> list[Subresult]:
    """The tests of `--gtest_output=json:FILE`. Raises `ReportError`."""
    try:
        suites = json.loads(_bounded(data))["testsuites"]
        return _limited(_of_suites(suites))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReportError(f"the JSON report of googletest cannot be read: {error!r}") from error


def read_gtest_xml(data: bytes) -> list[Subresult]:
    """The tests of `--gtest_output=xml:FILE`, which is also JUnit's form. Raises `ReportError`."""
    reader = _Xml()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(_bounded(data), True)
    except (expat.ExpatError, ValueError) as error:
        raise ReportError(f"the XML report of googletest cannot be read: {error}") from error
    return _limited(iter(reader.found))


def read_tap(text: str) -> list[Subresult]:
    """The tests that a program printed as TAP, version 12 to 14; subtests, which are indented, are left out.

    Raises:
        ReportError: there is no plan, it counts other tests than there are, or the program bailed out.
    """
    found: list[Subresult] = []
    planned: int | None = None
    for line in text.splitlines():
        if line.startswith("Bail out!"):
            raise ReportError(f"the program bailed out: {line[9:].strip()[:TEXT_LIMIT]}")
        if plan := _PLAN.match(line):
            planned = int(plan[1][:9])
        elif test := _TAP.match(line):
            found.append(_of_tap(test, len(found) + 1))
    if planned is None:
        raise ReportError("the output has no TAP plan such as 1..3")
    if planned != len(found):
        raise ReportError(f"the TAP plan counts {planned} tests, and {len(found)} are reported")
    return _limited(iter(found))


def fitting(tests: Sequence[Subresult], budget: int = SENT_LIMIT) -> tuple[list[Subresult], int]:
    """The tests for which a result has room, failed ones first, and how many are left out."""
    kept: list[Subresult] = []
    for test in sorted(tests, key=lambda test: test.outcome != FAILED):
        budget -= len(json.dumps(asdict(test)))
        if budget < 0:
            break
        kept.append(test)
    return kept, len(tests) - len(kept)


def _of_tap(test: re.Match[str], number: int) -> Subresult:
    failed, directive, reason = bool(test[1]), (test[4] or "").lower(), (test[5] or "").strip()
    outcome = FAILED if failed else PASSED
    if directive.startswith("skip"):
        outcome = SKIPPED
    elif directive == "todo":
        outcome = SKIPPED if failed else PASSED  # TAP: a failing TODO is no failure
    return Subresult(test[3].strip()[:TEXT_LIMIT] or f"test {number}", outcome, reason[:TEXT_LIMIT])


def _of_suites(suites: list[dict[str, Any]]) -> Iterator[Subresult]:
    for suite in suites:
        for test in suite["testsuite"]:
            name = f"{suite['name']}.{test['name']}"
            messages = [str(failure.get("failure", "")) for failure in test.get("failures", [])]
            if messages:
                yield Subresult(name[:TEXT_LIMIT], FAILED, "\n".join(messages)[:TEXT_LIMIT])
            elif test.get("status") == "NOTRUN" or test.get("result") in ("SKIPPED", "SUPPRESSED"):
                yield Subresult(name[:TEXT_LIMIT], SKIPPED)
            else:
                yield Subresult(name[:TEXT_LIMIT], PASSED)


class _Xml:
    """Receives the parser's events."""

    def __init__(self) -> None:
        self.found: list[Subresult] = []
        self._name = ""
        self._outcome = PASSED
        self._message = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "testcase":
            place = attributes.get("classname", "")
            self._name = f"{place}.{attributes.get('name', '')}".lstrip(".")
            ran = attributes.get("status", "run") != "notrun" and attributes.get("result") != "skipped"
            self._outcome, self._message = PASSED if ran else SKIPPED, ""
        elif tag in ("failure", "error"):
            self._outcome = FAILED
            self._message = (self._message + "\n" + attributes.get("message", "")).strip()[:TEXT_LIMIT]
        elif tag == "skipped":
            self._outcome = SKIPPED

    def end(self, tag: str) -> None:
        if tag == "testcase" and len(self.found) <= LIMIT:
            self.found.append(Subresult(self._name[:TEXT_LIMIT], self._outcome, self._message))

    def text(self, data: str) -> None:
        """The text of a failure repeats its message."""

    def doctype(self, *_declaration: object) -> None:
        raise ValueError("it has a document type declaration")


def _bounded(data: bytes) -> bytes:
    if len(data) > SIZE_LIMIT:
        raise ReportError(f"the report has {len(data)} bytes; at most {SIZE_LIMIT} are read")
    return data


def _limited(found: Iterator[Subresult]) -> list[Subresult]:
    tests: list[Subresult] = []
    for test in found:
        if len(tests) == LIMIT:
            raise ReportError(f"the report has more than {LIMIT} tests")
        tests.append(test)
    return tests
