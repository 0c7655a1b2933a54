"""What the probes find in the Wine guest is what is recorded, and what runs go by."""

from __future__ import annotations

import json
from pathlib import Path

from harness.host.resources import vm_folder
from harness.project.measured import Measured
from tests.vm.conftest import CommandLine


def test_the_recorded_findings_are_those_of_the_guest(winvm: CommandLine) -> None:
    found = Measured.model_validate_json(winvm.ok("image", "probe", "wine", "--json", timeout=1200))
    recorded = Measured.model_validate_json((vm_folder() / "measured" / "wine.json").read_bytes())
    assert {name: one.verdict for name, one in found.found.items()} == {
        name: one.verdict for name, one in recorded.found.items()
    }
    assert found.probes == recorded.probes


def test_a_run_skips_what_was_not_shown_and_measures_nothing(winvm: CommandLine, tmp_path: Path) -> None:
    arguments = ("run", "-k", "rest_of_the_last_page or set_then_get", "--artifacts", str(tmp_path))
    done = winvm.run(*arguments, timeout=900)
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:]
    results = json.loads(next(tmp_path.rglob("results.json")).read_text())
    skipped = [one for one in results["scenarios"] if one["outcome"] == "skipped"]
    assert [one["message"] for one in skipped] == ["guest lacks user-mdl-mapping"]
    assert "user-mdl-mapping" in results["missing_capabilities"]
    steps = next(tmp_path.rglob("run.jsonl")).read_text()
    assert "probe the image's capabilities" not in steps
