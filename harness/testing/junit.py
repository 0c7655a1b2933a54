"""junit.xml: where pytest writes it, and the tests of a scenario's program as cases of their own."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.display.terminal import lines_of, printable

if TYPE_CHECKING:
    from harness.outcome import Subresult


def write_junit(config: pytest.Config, path: Path) -> None:
    """Lets pytest write its JUnit XML to `path`; the path is known only once items are collected."""
    from _pytest import junitxml

    config.option.xmlpath = str(path)
    junitxml.pytest_configure(config)
    config.stash[junitxml.xml_key].pytest_sessionstart()


def add_subresults(path: Path, found: Mapping[str, Sequence[Subresult]]) -> None:
    """Adds the sub-results of scenarios to a file that pytest has written, each behind its scenario's case.

    Args:
        found: scenario -> its sub-results.

    Raises:
        OSError: the file cannot be read or written.
    """
    from harness.outcome import Outcome

    tree = ET.parse(path)  # noqa: S314  pytest has just written it
    for suite in tree.iter("testsuite"):
        added: list[Subresult] = []
        for case in list(suite.iter("testcase")):
            scenario = case.get("name", "").partition("[")[2].removesuffix("]")
            tests = found.get(scenario, ())
            place = list(suite).index(case) + 1
            suite[place:place] = [_case(scenario, test) for test in tests]
            added += tests
        _add(suite, "tests", len(added))
        _add(suite, "failures", sum(test.outcome is Outcome.FAILED for test in added))
        _add(suite, "skipped", sum(test.outcome is Outcome.SKIPPED for test in added))
    _write(tree, path)


def attach(path: Path, found: Mapping[str, Path], project: str | None = None) -> None:
    """Names a file of each scenario in its case, as GitLab shows it beside a failed test.

    Args:
        found: scenario -> its file.
        project: what paths are relative to; by default `CI_PROJECT_DIR`. Without it, they are absolute.

    Source: "Unit test reports", view test screenshots, of GitLab's documentation.

    Raises:
        OSError: the file cannot be read or written.
    """
    project = os.environ.get("CI_PROJECT_DIR", "") if project is None else project
    tree = ET.parse(path)  # noqa: S314  pytest has just written it
    for case in tree.iter("testcase"):
        file = found.get(case.get("name", "").partition("[")[2].removesuffix("]"))
        if file is not None:
            shown = os.path.relpath(file, project) if project else str(file.resolve())
            said = case.find("system-out")
            said = ET.SubElement(case, "system-out") if said is None else said
            said.text = f"{said.text or ''}[[ATTACHMENT|{shown}]]"
    _write(tree, path)


def _write(tree: ET.ElementTree[ET.Element], path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    tree.write(partial, encoding="utf-8", xml_declaration=True)
    partial.replace(path)


def _case(scenario: str, test: Subresult) -> ET.Element:
    from harness.outcome import Outcome

    case = ET.Element("testcase", {"classname": scenario, "name": printable(test.name), "time": "0.000"})
    said = lines_of(test.message)
    first = said[0] if said else ""
    if test.outcome is Outcome.FAILED:
        ET.SubElement(case, "failure", {"message": first}).text = "\n".join(said)
    elif test.outcome is Outcome.SKIPPED:
        ET.SubElement(case, "skipped", {"message": first})
    return case


def _add(suite: ET.Element, attribute: str, count: int) -> None:
    suite.set(attribute, str(int(suite.get(attribute, "0")) + count))
