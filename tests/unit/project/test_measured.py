"""Findings in an image's manifest: what is read back, what they take away from a profile, the table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, ImageError
from harness.host.resources import vm_folder
from harness.project import measured
from harness.project.measured import Found, Measured, Verdict
from harness.project.profile import CAPABILITIES
from harness.project.profiles import find_profile, load_profile
from harness.run.probing import probes_digest

ROOT = Path(__file__).parents[3]
GUESTS = {"Wine guest": "wine", "ReactOS guest": "reactos", "Windows guest": "windows"}
"""Column of README's table -> the file of vm/measured; a guest without a file was never probed."""
SOME = Measured(
    probes="ab" * 32,
    found={
        "irql": Found(verdict=Verdict.SHOWN, outcome="passed"),
        "wow64": Found(verdict=Verdict.DIFFERS, outcome="passed", message="no end is reported"),
        "pool-tags": Found(verdict=Verdict.NOT_SHOWN, outcome="crashed", message="bugcheck 0x50"),
    },
)


def recorded(name: str) -> Measured | None:
    file = vm_folder() / "measured" / f"{name}.json"
    return Measured.model_validate_json(file.read_bytes()) if file.exists() else None


def test_findings_go_into_the_manifest_and_back(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"digest": "d", "versions": {}}')
    manifest.chmod(0o400)
    os.utime(manifest, (1000, 1000))
    assert measured.read(manifest) is None
    measured.write(manifest, SOME)
    assert measured.read(manifest) == SOME
    document = json.loads(manifest.read_text())
    assert document["digest"] == "d"
    assert document["capabilities"]["found"]["pool-tags"]["message"] == "bugcheck 0x50"
    assert (manifest.stat().st_mtime, manifest.stat().st_mode & 0o777) == (1000, 0o400)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"capabilities": 3}',
        '{"capabilities": {"probes": "x", "found": {"irql": {"verdict": "y"}}}}',
    ],
)
def test_what_cannot_be_read_was_never_probed(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert measured.read(tmp_path / "manifest.json") is None


def test_a_manifest_that_is_gone_is_an_error_of_the_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be written into"):
        measured.write(tmp_path / "manifest.json", SOME)


def test_findings_only_take_away() -> None:
    profile = find_profile("wine")
    limited = measured.limited(profile, SOME)
    assert limited.capabilities == {"irql", "wow64"}
    assert limited.missing_capabilities == profile.missing_capabilities | {"pool-tags"}
    assert "kernel-dump" in limited.untried_capabilities
    poorer = profile.model_copy(update={"missing_capabilities": frozenset({"irql"})})
    assert "irql" not in measured.limited(poorer, SOME).capabilities


def test_an_image_that_was_never_probed_has_nothing() -> None:
    limited = measured.limited(find_profile("windows-11"), None)
    assert limited.capabilities == frozenset()
    assert limited.untried_capabilities == CAPABILITIES


def test_what_a_run_switches_on_is_there() -> None:
    limited = measured.limited(find_profile("windows-11"), None, frozenset({"driver-verifier"}))
    assert limited.capabilities == {"driver-verifier"}


def test_no_profile_says_what_is_untried(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "wine"\nuntried_capabilities = ["irql"]\n')
    with pytest.raises(ConfigurationError, match="untried_capabilities"):
        load_profile(file)
    assert "untried_capabilities" not in find_profile("wine").model_dump(mode="json")


def test_the_table_has_a_column_for_each_guest() -> None:
    lines = measured.table({"one": SOME, "two": None}).splitlines()
    assert lines[0] == "| capability | one | two |"
    assert "| `irql` | shown | untried |" in lines
    assert "| `wow64` | differs | untried |" in lines
    assert "| `pool-tags` | not shown | untried |" in lines
    assert len(lines) == 2 + len(CAPABILITIES)


def test_readme_shows_what_was_recorded() -> None:
    expected = measured.table({column: recorded(name) for column, name in GUESTS.items()})
    assert expected in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_is_recorded_comes_from_the_present_probes() -> None:
    for name in GUESTS.values():
        found = recorded(name)
        if found is not None:
            assert found.probes == probes_digest(), f"run: winvm image probe {name} --json"
            assert found.untried() == frozenset()
