"""The fuzzer in a Wine guest: planted bugs are found, minimised, kept and replayed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

PLANTED = Path(__file__).parent / "fuzz"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "planted"
    shutil.copytree(PLANTED, folder)
    return folder


def fuzz(winvm: CommandLine, project: Path, *options: str) -> tuple[int, dict[str, Any]]:
    config = str(project / "winvm.toml")
    done = winvm.run("--config", config, "fuzz", "--json", *options, timeout=1200)
    assert done.returncode in (0, 4), done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def test_a_planted_bug_is_found_minimised_and_replayed(winvm: CommandLine, project: Path) -> None:
    corpus = project / "corpus"
    options = ("--device", r"\\.\PlantedLong", "--minutes", "2", "--seed", "1", "--until-crash")
    code, found = fuzz(winvm, project, *options, "--corpus", str(corpus))
    assert code == 4
    (finding,) = found["findings"]
    assert finding["signature"] == "c9-planted.sys-Complete"
    assert [one["op"] for one in finding["case"]] == ["open", "ioctl"]
    assert (finding["reproduced"], finding["replays"]) == (2, 2)

    file = corpus / "crash-c9-planted.sys-Complete.json"
    assert json.loads(file.read_text())["operations"] == finding["case"]
    config = str(project / "winvm.toml")
    done = winvm.run("--config", config, "run", "--corpus", str(corpus), "--json", timeout=600)
    assert done.returncode == 4, done.stderr.decode()
    results = {one["name"]: one for one in json.loads(done.stdout)["scenarios"]}
    crashed = results.pop("corpus.crash-c9-planted.sys-Complete")
    assert crashed["crash"]["signature"] == finding["signature"]
    assert {one["outcome"] for one in results.values()} == {"passed"}

    (corpus / "crash-c9-planted.sys-Complete.json").rename(project / "crash.json")
    before = set(corpus.iterdir())
    code, _ = fuzz(
        winvm, project, "--device", r"\\.\PlantedLong", "--minimise-corpus", "--corpus", str(corpus)
    )
    assert code == 0
    assert set(corpus.iterdir()) <= before
    assert any(corpus.iterdir())

    bundle = Path(found["artifacts"]) / finding["bundle"]
    again = winvm.run("reproduce", str(bundle), "--times", "1", timeout=300)
    assert again.returncode == 0, again.stdout.decode()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_every_planted_bug_is_found_in_five_minutes(winvm: CommandLine, project: Path) -> None:
    """One seed each; tests/bench measures five, and compares with the same generator without guidance."""
    missed = []
    for name in ("Long", "Short", "Overflow", "Freed", "Race"):
        options = ("--device", rf"\\.\Planted{name}", "--minutes", "5", "--seed", "1", "--until-crash")
        code, _ = fuzz(winvm, project, *options, "--no-minimise")
        missed += [name] if code != 4 else []
    assert missed == []
