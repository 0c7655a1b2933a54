"""Writes `coverage/` of a run's folder from what was collected.

html/            llvm-cov's pages: counts beside the source        lcov.info, cobertura.xml   for CI
scenarios.html   for each line, the scenarios that ran it          scenarios.json   the same as data
total.profdata   all counts, to merge with those of other runs     drivers/         the instrumented drivers
summary.json     lines per file, what changed, what is missing
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.coverage.changed import changed_lines, uncovered
from harness.coverage.cobertura import cobertura
from harness.coverage.collected import Collected
from harness.coverage.lines import Lines, percent, read_lcov, scenarios_of, shown
from harness.coverage.llvm import Llvm
from harness.coverage.page import scenario_page
from harness.results import write_json

FOLDER = "coverage"
AT_ONCE = 2
"""Processes of LLVM that run beside each other."""


@dataclass(frozen=True)
class Coverage:
    """What a run, or several, covered.

    Attributes:
        folder: with the reports.
        lines: of all scenarios together.
        scenarios: file -> line -> scenarios that ran it.
        troubles: why counts may be missing.
        revision: what changes are counted from; empty if nobody asked.
        missed: file -> changed lines that no scenario covers.
    """

    folder: Path
    lines: Lines
    scenarios: dict[str, dict[int, list[str]]]
    troubles: Sequence[str] = ()
    revision: str = ""
    missed: dict[str, list[int]] = field(default_factory=dict)

    @property
    def percent(self) -> float:
        """How many lines with code ran."""
        return percent(self.lines.values())


def write_reports(collected: Collected, folder: Path, root: Path, title: str, revision: str = "") -> Coverage:
    """Writes every report of a run's counters.

    Args:
        folder: made if missing.
        root: the project's folder.
        title: of the pages.
        revision: lines changed since it are looked at; empty for none.

    Raises:
        HostError: a tool of LLVM is missing or fails.
        ConfigurationError: git does not know the revision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drivers = folder / "drivers"
    drivers.mkdir(exist_ok=True)
    objects = []
    for build, image in collected.images.items():
        objects.append(drivers / f"{build}.sys")
        shutil.copyfile(image.file, objects[-1])
    llvm = Llvm(tuple(objects), root)
    total = folder / "total.profdata"
    with tempfile.TemporaryDirectory(prefix="winvm-coverage-") as temporary:
        profiles: dict[str, list[Path]] = {}
        for number, (build, scenario, counters) in enumerate(collected.counters()):
            raw = Path(temporary, f"{number}.profraw")
            raw.write_bytes(collected.images[build].raw_profile(counters))
            profiles.setdefault(scenario, []).append(raw)
        every = [raw for found in profiles.values() for raw in found]
        if not every:  # nothing was read: every line is shown as not covered
            for build, image in collected.images.items():
                every.append(Path(temporary, f"{build}.profraw"))
                every[-1].write_bytes(image.raw_profile(bytes(image.counter_bytes)))
        llvm.merge(every, total)

        def of_one(scenario: str) -> Lines:
            merged = profiles[scenario][0].with_suffix(".profdata")
            llvm.merge(profiles[scenario], merged)
            return read_lcov(llvm.lcov(merged), root)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            counted = dict(zip(profiles, pool.map(of_one, profiles), strict=True))
    return _written(llvm, total, counted, tuple(collected.troubles), title, revision)


def _written(
    llvm: Llvm, total: Path, counted: dict[str, Lines], troubles: Sequence[str], title: str, revision: str
) -> Coverage:
    folder, root = total.parent, llvm.root
    exported = llvm.lcov(total)
    lines = read_lcov(exported, root)
    llvm.html(total, folder / "html", title)
    (folder / "lcov.info").write_text(_relative(exported, root), encoding="utf-8")
    (folder / "cobertura.xml").write_bytes(cobertura(lines, root))
    scenarios = scenarios_of(counted)
    missed = uncovered(changed_lines(root, revision), lines) if revision else {}
    made = Coverage(folder, lines, scenarios, troubles, revision, missed)
    write_json(folder / "scenarios.json", scenarios)
    write_json(folder / "summary.json", summary_document(made))
    (folder / "scenarios.html").write_text(scenario_page(lines, scenarios, root, title), encoding="utf-8")
    return made


def summary_document(made: Coverage) -> dict[str, Any]:
    """The numbers as JSON-ready data."""
    return {
        "percent": round(made.percent, 2),
        "files": {
            name: {"lines": len(file.counts), "covered": file.covered}
            for name, file in sorted(made.lines.items())
        },
        "troubles": list(made.troubles),
        "revision": made.revision,
        "changed and not covered": made.missed,
    }


def _relative(exported: str, root: Path) -> str:
    """An export with the names of files relative to the project's folder."""
    lines = exported.splitlines()
    return "".join(
        f"SF:{shown(line[3:], root)}\n" if line.startswith("SF:") else f"{line}\n" for line in lines
    )
