"""`winvm image capabilities`: a column for each image on this host, by its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.images import wine
from harness.journal import Journal
from harness.project import measured
from harness.project.measured import Found, Measured, Verdict
from harness.project.profile import CAPABILITIES
from tests.fakes.image_inputs import FakeBuild


def test_an_image_shows_what_was_found_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINVM_HOME", str(tmp_path))
    image = wine.ensure(tmp_path, Journal(), FakeBuild())
    untried = CliRunner().invoke(winvm, ["image", "capabilities"]).output.splitlines()
    assert untried[0] == f"| capability | {image.folder.name} |"
    assert [line.endswith("| untried |") for line in untried[2:]] == [True] * len(CAPABILITIES)
    found = Measured(probes="p", found={"irql": Found(verdict=Verdict.DIFFERS, message="of spin locks only")})
    measured.write(image.manifest, found)
    shown = CliRunner().invoke(winvm, ["image", "capabilities"])
    assert shown.exit_code == 0
    assert "| `irql` | differs |" in shown.output.splitlines()
    assert wine.find(tmp_path) == image, "the image is whole, and is found as before"
