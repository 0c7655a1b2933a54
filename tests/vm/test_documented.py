"""The examples of docs/ and README's "Test your own driver", run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documented import ROOT, blocks, shell
from tests.vm.conftest import CommandLine

FIXTURES = ROOT / "docs" / "fixtures.md"


@pytest.fixture(scope="module")
def project(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("documented")
    shell("winvm new-driver echo", parent, winvm.home)
    return parent / "echo"


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
