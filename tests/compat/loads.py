"""Loads many built drivers in one Wine guest, one after another, and says what became of each.

They are the prebuilt builds of one scratch project, with one scenario that asks whether the service runs: the
guest is restored only after a crash, and each verdict is what `winvm run` prints for such a driver.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import BuildError
from harness.toolchain.inspect import uses_kmdf
from tests.compat.command import winvm
from tests.compat.outcomes import CRASHES, LOADS, NOT_LOADED, NOT_SHOWN, REFUSED

RUN_S = 3600.0
SHOWN = 300
_NOT_SHOWN = "Not shown on this guest"
_SERVICE = re.compile(r"the driver service 'driver' with \S+: ")
_CONFIG = """\
[driver]
name = "driver"
prebuilt = "drivers/{{build}}/driver.sys"
builds = {builds}

[scenarios]
folders = ["scenarios"]

[guest]
profile = "wine"
"""
_SCENARIO = '''\
"""Whether the driver runs."""

from agent import Context, State, equal, scenario


@scenario
def loads(t: Context) -> None:
    """DriverEntry returned success, and the driver's process is there."""
    with t.services() as services, services.open(t.service) as service:
        equal(service.status().state, State.RUNNING, "state of the service")
'''


@dataclass(frozen=True)
class Load:
    """What became of a driver, and why.

    result: one of tests/compat/outcomes.py.
    """

    result: str
    reason: str = ""


def load_all(drivers: Mapping[str, Path], scratch: Path) -> dict[str, Load]:
    """Loads each driver and returns the outcome of each under its key.

    Args:
        drivers: key -> `.sys`; the `.pdb` beside it names functions and lines of a crash.
        scratch: a folder for the project, which keeps the run's artifacts.
    """
    outcomes, builds = {}, {}
    for number, (key, driver) in enumerate(drivers.items()):
        try:
            if uses_kmdf(driver):
                outcomes[key] = Load(REFUSED, "KMDF: the guest has none")
                continue
        except BuildError as error:
            outcomes[key] = Load(REFUSED, error.message)
            continue
        build = f"d{number}-" + re.sub(r"\W", "-", driver.stem)
        builds[build] = key
        folder = scratch / "drivers" / build
        folder.mkdir(parents=True)
        for source in (driver, driver.with_suffix(".pdb")):
            if source.is_file():
                shutil.copyfile(source, folder / f"driver{source.suffix}")
    if not builds:
        return outcomes
    (scratch / "winvm.toml").write_text(_CONFIG.format(builds=json.dumps([*builds])))
    (scratch / "scenarios").mkdir()
    (scratch / "scenarios" / "probe.py").write_text(_SCENARIO)
    _, said = winvm(scratch, RUN_S, "run", "--build", "all")
    (scratch / "run.txt").write_text(said)
    rows = _rows(scratch)
    for build, key in builds.items():
        outcomes[key] = judged(rows[build]) if build in rows else Load(NOT_LOADED, said.strip()[-SHOWN:])
    return {key: outcomes[key] for key in drivers}


def judged(row: Mapping[str, Any]) -> Load:
    """The outcome that a row of results.json shows."""
    message = str(row["message"])
    reason = _SERVICE.sub("", message)[:SHOWN]
    if row["outcome"] == "passed":
        return Load(LOADS)
    if message.startswith(_NOT_SHOWN) or row["outcome"] == "skipped":
        return Load(NOT_SHOWN, reason)
    return Load(CRASHES if row["crash"] else NOT_LOADED, reason)


def _rows(scratch: Path) -> dict[str, Mapping[str, Any]]:
    """Build -> its row in results.json; empty when the run left none."""
    try:
        results = json.loads((scratch / "artifacts" / "latest" / "results.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(one["build"]): one for one in results["scenarios"]}
