"""The examples of docs/ and README's "Test your own driver", run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documented import ROOT, blocks, shell
from tests.vm.conftest import CommandLine

FIXTURES = ROOT / "docs" / "fixtures.md"
OWN_DRIVER = ROOT / "docs" / "own-driver.md"
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def project(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("documented")
    shell("winvm new-driver echo", parent, winvm.home)
    return parent / "echo"


def test_readme_leads_to_a_driver_of_ones_own(winvm: CommandLine, tmp_path: Path) -> None:
    (commands,) = blocks(README, "sh", "**Test your own driver.**")
    output = shell(commands.replace(".venv/bin/", ""), tmp_path, winvm.home)
    assert "3 passed" in output


def test_the_guide_to_ones_own_driver_works(winvm: CommandLine, tmp_path: Path) -> None:
    (first,) = blocks(OWN_DRIVER, "sh", "## From nothing")
    (later,) = blocks(OWN_DRIVER, "sh", "## Builds and parameters")
    (scenarios,) = blocks(OWN_DRIVER, "python", "## Scenarios")
    shell(first.replace("make test", "true"), tmp_path, winvm.home)  # README's test has run it
    (tmp_path / "echo" / "scenarios" / "more.py").write_text(scenarios)
    output = shell(later, tmp_path / "echo", winvm.home)
    # Five fit both builds, one of them skipped on Wine; one fits the checked build only.
    assert "9 passed, 2 skipped" in output
    assert "1 passed" in output


def test_every_example_of_a_fixture_passes(winvm: CommandLine, project: Path) -> None:
    examples = blocks(FIXTURES, "python")
    tests = project / "examples"
    tests.mkdir()
    for number, example in enumerate(examples):
        (tests / f"test_example_{number}.py").write_text(example)
    output = shell("pytest -rs -p no:cacheprovider examples", project, winvm.home)
    # `scenario` is three tests, one for each scenario of the project; the last example is skipped on Wine.
    assert f"{len(examples) + 1} passed, 1 skipped" in output
    assert "guest lacks irql" in output


def test_the_commands_about_markers_work(winvm: CommandLine, project: Path) -> None:
    (commands,) = blocks(FIXTURES, "sh")
    output = shell(
        commands.replace("pytest", "pytest -p no:cacheprovider test_driver.py"), project, winvm.home
    )
    assert "2 passed" in output
    assert "1 passed" in output
