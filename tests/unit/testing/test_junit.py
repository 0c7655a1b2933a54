"""The tests that a scenario's program reported, as cases of junit.xml that pytest wrote."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from harness.outcome import Outcome, Subresult
from harness.testing.junit import add_subresults, attach

WRITTEN = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest"
 errors="0" failures="1" skipped="0" tests="2" time="1.2"><testcase classname="test_driver"
 name="test_scenario[programs.lamp_test]" time="1.0"><failure message="failed: 1 of 3">x</failure></testcase>
<testcase classname="test_driver" name="test_scenario[basics.size[64]]" time="0.2" />
</testsuite></testsuites>"""
TESTS = (
    Subresult("Lamp.On", Outcome.PASSED),
    Subresult("Lamp.Off", Outcome.FAILED, "expected 0\ngot <1>\x1b"),
    Subresult("Lamp.Dim", Outcome.SKIPPED, "no dimmer"),
)


def test_each_is_a_case_behind_its_scenario(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(WRITTEN)
    add_subresults(file, {"programs.lamp_test": TESTS, "basics.size[64]": TESTS[:1]})
    (suite,) = ET.parse(file).getroot()
    names = [(case.get("classname"), case.get("name")) for case in suite]
    assert names == [
        ("test_driver", "test_scenario[programs.lamp_test]"),
        *(("programs.lamp_test", test.name) for test in TESTS),
        ("test_driver", "test_scenario[basics.size[64]]"),
        ("basics.size[64]", "Lamp.On"),
    ]
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "6", "failures": "2", "skipped": "1", "errors": "0",
    }  # fmt: skip
    failure, skipped = suite[2][0], suite[3][0]
    assert (failure.get("message"), failure.text) == ("expected 0", "expected 0\ngot <1>\\x1b")
    assert (skipped.tag, skipped.get("message")) == ("skipped", "no dimmer")


def test_a_crashs_picture_is_named_in_its_case(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(WRITTEN)
    picture = tmp_path / "crashes" / "01-a" / "screenshot.png"
    attach(file, {"programs.lamp_test": picture}, str(tmp_path))
    first, second = ET.parse(file).getroot()[0]
    assert first.findtext("system-out") == "[[ATTACHMENT|crashes/01-a/screenshot.png]]"
    assert second.find("system-out") is None
    attach(file, {"basics.size[64]": picture}, "")
    assert ET.parse(file).getroot()[0][1].findtext("system-out") == f"[[ATTACHMENT|{picture}]]"
