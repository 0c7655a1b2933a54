"""What is known of a guest before it runs: by its image's manifest, by records, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.images import wine
from harness.journal import Journal
from harness.project import measured
from harness.project.measured import Found, Measured, Verdict
from harness.project.profile import CAPABILITIES
from harness.project.profiles import find_profile
from harness.run.known import expected, of_present_image
from tests.fakes.image_inputs import FakeBuild


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINVM_HOME", str(tmp_path))
    return tmp_path


def test_without_an_image_nothing_is_known_but_what_was_recorded(home: Path) -> None:
    profile = find_profile("wine")
    assert of_present_image(profile) is profile
    assert {"irql", "wow64"} <= expected(profile).missing_capabilities
    assert expected(find_profile("windows-11")).capabilities == CAPABILITIES


@pytest.mark.parametrize("name", ["wine", "wine-console"])
def test_the_findings_of_the_next_runs_image_count(home: Path, name: str) -> None:
    image, profile = wine.ensure(home, Journal(), FakeBuild()), find_profile(name)
    assert of_present_image(profile) is profile, "never probed"
    shown = {capability: Found(verdict=Verdict.SHOWN) for capability in CAPABILITIES - {"irql"}}
    found = Measured(probes="p", found={**shown, "irql": Found(verdict=Verdict.NOT_SHOWN)})
    measured.write(image.manifest, found)
    assert of_present_image(profile).missing_capabilities == profile.missing_capabilities | {"irql"}
    assert "wow64" in expected(profile).capabilities
