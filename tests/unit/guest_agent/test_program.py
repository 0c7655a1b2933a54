"""Reports of test programs, and the scenarios that run them; tests/vm/test_deploy.py runs programs."""

from __future__ import annotations

import json

import pytest
from agent.errors import RegistryError
from agent.program import Ended, judge, program
from agent.registry import declared_scenarios, forget_scenarios
from agent.subresults import (
    FAILED,
    PASSED,
    SKIPPED,
    ReportError,
    Subresult,
    fitting,
    read_gtest_json,
    read_gtest_xml,
    read_tap,
)
from hypothesis import given
from hypothesis import strategies as st

GTEST = {
    "tests": 3,
    "testsuites": [
        {
            "name": "Device",
            "testsuite": [
                {"name": "Opens", "status": "RUN", "result": "COMPLETED"},
                {
                    "name": "Reads",
                    "status": "RUN",
                    "result": "COMPLETED",
                    "failures": [{"failure": "1 != 2"}],
                },
                {"name": "Sleeps", "status": "NOTRUN", "result": "SUPPRESSED"},
            ],
        }
    ],
}
GTEST_XML = """<?xml version="1.0"?>
<testsuites><testsuite name="Device">
<testcase name="Opens" status="run" result="completed" classname="Device"/>
<testcase name="Reads" status="run" classname="Device">
<failure message="1 != 2"><![CDATA[x]]></failure></testcase>
<testcase name="Sleeps" status="notrun" classname="Device"/>
</testsuite></testsuites>"""
TAP = """TAP version 14
1..5
ok 1 - opens
not ok 2 - reads # TODO not written
    ok 1 - of a subtest
not ok 3 - closes
ok 4 - sleeps # SKIP no timer
ok
"""


def test_googletest() -> None:
    expected = [
        Subresult("Device.Opens", PASSED),
        Subresult("Device.Reads", FAILED, "1 != 2"),
        Subresult("Device.Sleeps", SKIPPED),
    ]
    assert read_gtest_json(json.dumps(GTEST).encode()) == expected
    assert read_gtest_xml(GTEST_XML.encode()) == expected


def test_tap() -> None:
    assert [(test.name, test.outcome) for test in read_tap(TAP)] == [
        ("opens", PASSED),
        ("reads", SKIPPED),
        ("closes", FAILED),
        ("sleeps", SKIPPED),
        ("test 5", PASSED),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ok 1\n", "no TAP plan"),
        ("1..2\nok 1\n", "counts 2 tests, and 1"),
        ("1..1\nBail out! no device\n", "no device"),
    ],
)
def test_a_tap_report_that_is_incomplete_is_no_pass(text: str, says: str) -> None:
    with pytest.raises(ReportError, match=says):
        read_tap(text)


@given(st.binary(max_size=300))
def test_hostile_reports_raise_one_error(data: bytes) -> None:
    for read in (read_gtest_json, read_gtest_xml, lambda raw: read_tap(raw.decode("latin-1"))):
        try:
            read(data)
        except ReportError:
            continue


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["testsuites", "testsuite", "name", "failures"]), inner)
        ),
    )
)
def test_json_of_another_form_raises_one_error(document: object) -> None:
    try:
        read_gtest_json(json.dumps({"testsuites": document}).encode())
    except ReportError:
        return


def test_failed_tests_are_sent_first() -> None:
    tests = [Subresult(f"t{number}", PASSED) for number in range(100)] + [Subresult("bad", FAILED)]
    kept, left_out = fitting(tests, budget=500)
    assert kept[0].name == "bad"
    assert len(kept) + left_out == 101
    assert left_out > 50


def test_the_verdict() -> None:
    judge("t.exe", Ended(3, ""), 3, [Subresult("a", SKIPPED)])
    with pytest.raises(AssertionError, match=r"t\.exe ended with exit code 1, not 0; last line: 'no device'"):
        judge("t.exe", Ended(1, "x\nno device\n"), 0, [])
    with pytest.raises(AssertionError, match=r"STATUS_ACCESS_VIOLATION \(0xC0000005\)"):
        judge("t.exe", Ended(0xC0000005, ""), 0, [])
    with pytest.raises(AssertionError, match=r"1 of 2 tests of t\.exe failed: b: why"):
        judge("t.exe", Ended(0, ""), 0, [Subresult("a", PASSED), Subresult("b", FAILED, "why")])


def test_a_program_is_a_scenario_of_the_module_that_names_it() -> None:
    forget_scenarios()
    try:
        program("x64/Release/lamp-test.exe", "--fast", tags=("smoke",), deadline_s=5)
        program("other.exe", name="named", report="gtest")
        first, second = declared_scenarios()
        assert first.name == f"{__name__}.lamp_test"
        assert (first.file, first.deadline_s, first.tags) == (__file__, 5, ("smoke",))
        assert second.name == f"{__name__}.named"
        assert second.line > first.line
        program("other.exe", name="named")
        with pytest.raises(RegistryError, match="declared twice"):
            declared_scenarios()
    finally:
        forget_scenarios()
