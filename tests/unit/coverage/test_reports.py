"""From counters to reports, with the real compiler and LLVM's real tools."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.coverage.collected import Collected
from harness.coverage.image import CoverageImage, coverage_image
from harness.coverage.recorded import recorded_coverage
from harness.coverage.reports import FOLDER, Coverage, write_reports
from harness.errors import BuildError, ConfigurationError
from tests.unit.coverage.built import SOURCE, build_small, counters_of, packed

TWICE, UNLOAD, ENTRY = "small.c:Twice", "small.c:Unload", "DriverEntry"
CALL, EARLY, LATE = 3, 5, 7
"""Lines of Twice: its head, the return of a large number, that of a small one."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def image(project: Path) -> CoverageImage:
    return build_small(project)


def covered(image: CoverageImage, root: Path, run: Path, revision: str = "") -> Coverage:
    """DriverEntry ran at load; `small` called Twice once, with a small number; `large` with a large one."""
    twice = counters_of(image, TWICE)
    collected = Collected({"release": image})
    entered = {counters_of(image, ENTRY): 1}
    collected.add("release", "driver.load", packed(image, entered), loaded=True)
    collected.add("release", "small", packed(image, {twice: 1}))
    collected.add("release", "large", packed(image, {twice: 1, twice + 1: 1}))
    return write_reports(collected, run / FOLDER, root, "small", revision)


def test_lines_and_the_scenarios_that_ran_them(image: CoverageImage, project: Path, tmp_path: Path) -> None:
    made = covered(image, project, tmp_path)
    counts = made.lines["small.c"].counts
    assert (counts[CALL], counts[EARLY], counts[LATE]) == (2, 1, 1)
    assert (
        counts[SOURCE.splitlines().index("static VOID NTAPI Unload(PDRIVER_OBJECT DriverObject) {") + 1] == 0
    )
    by = made.scenarios["small.c"]
    assert by[CALL] == ["small", "large"]
    assert (by[EARLY], by[LATE]) == (["large"], ["small"])
    assert 0 < made.percent < 100


def test_files_for_programs_and_people(image: CoverageImage, project: Path, tmp_path: Path) -> None:
    made = covered(image, project, tmp_path)
    lcov = (made.folder / "lcov.info").read_text()
    assert "SF:small.c\n" in lcov
    assert f"DA:{EARLY},1\n" in lcov
    tree = ElementTree.parse(made.folder / "cobertura.xml").getroot()
    (found,) = tree.iter("class")
    hits = {line.get("number"): line.get("hits") for line in found.iter("line")}
    assert (found.get("filename"), hits[str(CALL)], hits[str(EARLY)]) == ("small.c", "2", "1")
    assert float(tree.get("line-rate", "")) == pytest.approx(made.percent / 100, abs=1e-4)
    assert (made.folder / "html" / "index.html").is_file()
    page = (made.folder / "scenarios.html").read_text()
    assert "small.c" in page
    assert "<summary>2: small</summary>" in page
    assert json.loads((made.folder / "scenarios.json").read_text())["small.c"][str(EARLY)] == ["large"]
    told = recorded_coverage(tmp_path)
    assert told is not None
    assert told.percent == pytest.approx(made.percent, abs=0.01)
    assert told.files == [("small.c", len(made.lines["small.c"].counts), made.lines["small.c"].covered)]


def test_without_counters_nothing_is_covered(image: CoverageImage, project: Path, tmp_path: Path) -> None:
    made = write_reports(Collected({"release": image}), tmp_path / FOLDER, project, "small")
    assert made.percent == 0
    assert made.scenarios == {}


def test_a_crash_adds_what_was_not_told_before(image: CoverageImage, project: Path, tmp_path: Path) -> None:
    twice, entry = counters_of(image, TWICE), counters_of(image, ENTRY)
    collected = Collected({"release": image})
    collected.add("release", "driver.load", packed(image, {entry: 1}), loaded=True)
    memory = bytearray(image.counter_bytes)
    for index in (entry, twice):
        memory[index * 8] = 1
    collected.add_crash("release", "crashes", bytes(memory))
    made = write_reports(collected, tmp_path / FOLDER, project, "small")
    assert made.scenarios["small.c"][CALL] == ["crashes"]
    assert [by for by in made.scenarios["small.c"].values() if "driver.load" in by and "crashes" in by] == []
    with pytest.raises(ValueError, match="bytes of counters"):
        collected.add_crash("release", "crashes", bytes(memory[:-8]))


def test_changed_lines_that_nothing_covers(image: CoverageImage, project: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(project, repository)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]

    def commit(text: str) -> None:
        (repository / "small.c").write_text(text)
        for words in (["add", "small.c"], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], cwd=repository, check=True, capture_output=True)

    subprocess.run([*git, "init", "-q"], cwd=repository, check=True, capture_output=True)
    commit(SOURCE.replace("return 0;", "return 1;").replace("Twice(1)", "Twice(2)"))
    commit(SOURCE)
    image = build_small(repository)
    made = covered(image, repository, tmp_path, "HEAD~1")
    unload = SOURCE.splitlines().index('    DbgPrint("unloaded %p %d\\n", DriverObject, Twice(1));') + 1
    assert made.missed == {"small.c": [unload]}
    assert covered(image, repository, tmp_path, "HEAD").missed == {}
    for revision in ("no-such-branch", "--output=/dev/null"):
        with pytest.raises(ConfigurationError, match="git does not know what changed"):
            covered(image, repository, tmp_path, revision)


def test_an_image_without_counters_is_refused(image: CoverageImage, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not a PE file"):
        coverage_image(Path(__file__))
    with pytest.raises(ValueError, match="bytes of counters"):
        image.raw_profile(b"")
