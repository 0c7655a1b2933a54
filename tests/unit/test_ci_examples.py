"""The CI examples in docs/ci are what GitHub and GitLab accept, and run commands that something here runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.unit.test_readme import ROOT, RUN_BY, name

EXAMPLES = {"github.yml": "vendor.github-workflows", "gitlab.yml": "vendor.gitlab-ci"}
FOLDER = ROOT / "docs" / "ci"
WRITTEN = {"junit.xml": "harness/run/artifacts.py", "gl-code-quality-report.json": "harness/report/gitlab.py"}
"""Files of a run that the examples name -> the source that writes them."""


def scripts(document: Any) -> Iterator[str]:
    """Every shell line in a workflow or pipeline."""
    if isinstance(document, list):
        for item in document:
            yield from scripts(item)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key in ("run", "script", "before_script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)


def test_every_example_is_linted() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_has_the_form_that_its_service_demands(example: str) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", EXAMPLES[example]]
    done = subprocess.run(
        [*check, str(FOLDER / example)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_the_example_runs_is_run_here(example: str) -> None:
    lines = list(scripts(YAML(typ="safe").load(FOLDER / example)))
    assert lines
    for line in lines:
        subprocess.run(["sh", "-n", "-c", line], check=True, timeout=10)
        words = line.split()
        if words[0] in ("make", "winvm"):
            assert name(words) in RUN_BY, line
    assert {"make vm-test", "make nightly"} <= {line.partition(" #")[0] for line in lines}


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_the_example_keeps_is_written(example: str) -> None:
    text = (FOLDER / example).read_text()
    for file, source in WRITTEN.items():
        if file in text:
            assert file in (ROOT / source).read_text()
    folders = ("vm", "guest/winrmd", "harness/images", "vm/wine/recipe.toml")
    for path in (Path(folder) for folder in folders if folder in text):
        assert (ROOT / path).exists()
