"""What a person sees who runs `winvm init`, `winvm build` and `winvm run` beside an existing driver.

Every project gets a copy of its repository (hard links), so that nothing is written into the sources. The
projects and what is expected of each are data, which belong to whoever has the sources:

    [[project]]
    folder = "some-repository/driver"   # below the folder of the list
    name = "lamp"                       # as for `winvm init --name`; may be left out
    expect = "loads"                    # one of tests/compat/outcomes.py
    reason = "IoCreateSystemThread"     # a regular expression found in the reason; may be left out
    needs = "NDIS"                      # what it needs that the driver kit does not have; may be left out
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.compat.command import winvm
from tests.compat.loads import load_all
from tests.compat.outcomes import AFTER_BUILD, BUILDS, FAILS, LOADS, NOT_LOADED, REFUSED

LIST = "winvm-compat.toml"
COMMAND_S = 600.0
SHOWN = 200
_REFUSED = re.compile(r"fails \d+ static check|has no KMDF|lacks the capability|needs KMDF")


@dataclass(frozen=True)
class Project:
    """One project of the list; its keys are explained above."""

    folder: str
    expect: str = BUILDS
    name: str = ""
    reason: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Seen:
    """What became of a project, why, and how many seconds each command took; `driver` is what it built."""

    project: Project
    result: str
    reason: str
    init_s: float
    build_s: float
    run_s: float = 0.0
    driver: Path | None = None

    @property
    def as_expected(self) -> bool:
        """Whether result and reason are those of the list. Without a guest, what builds may load."""
        if self.result == BUILDS and self.project.expect in AFTER_BUILD:
            return True
        return self.result == self.project.expect and re.search(self.project.reason, self.reason) is not None

    def as_json(self) -> dict[str, object]:
        """For a record to compare with later."""
        return {**asdict(self), "driver": self.driver and self.driver.name, "as_expected": self.as_expected}


def listed(path: Path) -> list[Project]:
    """The projects of a list."""
    with path.open("rb") as file:
        return [Project(**entry) for entry in tomllib.load(file)["project"]]


def first_hours(path: Path, output: Path, *, guest: bool) -> Iterator[Seen]:
    """Tries every project of a list in turn.

    Args:
        output: gets the copies of the repositories.
        guest: also load what builds in the default guest.
    """
    tried: list[str] = []
    for project in listed(path):
        # Each project of a folder has a copy of its own: winvm init would keep what it wrote for the first.
        copy = output / str(tried.count(project.folder))
        tried.append(project.folder)
        repository = Path(project.folder).parts[0]
        if not (copy / repository).is_dir():
            shutil.copytree(path.parent / repository, copy / repository, symlinks=True, copy_function=_linked)
        yield first_hour(project, copy / project.folder, guest=guest)


def loaded(seen: Sequence[Seen], scratch: Path) -> list[Seen]:
    """The same with what became of each built driver in one guest for all; see tests/compat/loads.py."""
    drivers = {str(number): one.driver for number, one in enumerate(seen) if one.driver}
    loads = load_all(drivers, scratch)
    return [
        replace(one, result=loads[number].result, reason=loads[number].reason) if number in loads else one
        for number, one in ((str(index), one) for index, one in enumerate(seen))
    ]


def first_hour(project: Project, folder: Path, *, guest: bool) -> Seen:
    """Runs the commands in a project's folder, which they write to."""
    began = time.monotonic()
    named = ["--name", project.name] if project.name else []
    _, said = winvm(folder, COMMAND_S, "init", *named)
    made = time.monotonic()
    if "no driver" in said:
        return Seen(project, FAILS, said.strip()[:SHOWN], made - began, 0.0)
    code, said = winvm(folder, COMMAND_S, "build")
    built = time.monotonic()
    if code:
        result = REFUSED if _REFUSED.search(said) else FAILS
        return Seen(project, result, _reason(said), made - began, built - made)
    if not guest:
        return Seen(project, BUILDS, "", made - began, built - made, driver=_driver(folder))
    code, said = winvm(folder, COMMAND_S, "run", "-k", "driver_runs")
    ran = time.monotonic()
    outcomes = _outcomes(folder)
    if outcomes.get("example.driver_runs") == "passed":
        return Seen(project, LOADS, "", made - began, built - made, ran - built)
    result = REFUSED if _REFUSED.search(said) else NOT_LOADED
    return Seen(project, result, _reason(said), made - began, built - made, ran - built)


def _driver(folder: Path) -> Path | None:
    """The `.sys` of the first build."""
    return next(iter(sorted(folder.glob("build/driver/*/*.sys"))), None)


def _outcomes(folder: Path) -> dict[str, str]:
    """Scenario -> outcome of the newest run, builds left out of the names."""
    try:
        results = json.loads((folder / "artifacts" / "latest" / "results.json").read_text())
        return {one["name"].partition("@")[0]: one["outcome"] for one in results["scenarios"]}
    except (OSError, ValueError, KeyError):
        return {}


def _reason(said: str) -> str:
    """The first compiler or linker error, else winvm's own message."""
    lines = [line.strip() for line in said.splitlines()]
    errors = [re.sub(r"^.*?error: ", "", line) for line in lines if "error:" in line]
    if errors:
        return errors[0][:SHOWN]
    messages = [index for index, line in enumerate(lines) if line.startswith("winvm: ")]
    message = " ".join(lines[messages[-1] : messages[-1] + 4]) if messages else " ".join(lines[-3:])
    return message.removeprefix("winvm: ")[:SHOWN]


def _linked(source: str, target: str) -> str:
    """Copies a file by a hard link where the file system can; winvm replaces files and never edits one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
