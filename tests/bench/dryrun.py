"""Measures `winvm image build --dry-run` for every Windows profile: answer file, configuration ISO, domain.

`python -m tests.bench.dryrun`. Whole processes, one after the other, as a person would run them; the ISOs are
small ones made here, since only their metadata is read. Windows Python is made beforehand, as the first build
does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.windows.image.python import python_zip
from harness.guests.windows.image.tools import HostTools
from harness.guests.windows.spec.profile import WindowsProfile
from harness.project import config
from harness.project.profiles import shipped
from tests.bench.row import Row
from tests.fakes.windows_media import ENTERPRISE_11, windows_iso


def measure() -> list[Row]:
    """Seconds for all profiles together."""
    downloads = config.home() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    python_zip(downloads, HostTools(Deadline.after(600)))
    with tempfile.TemporaryDirectory(prefix="winvm-dry-run-") as name:
        found = {
            profile.name: _seconds(profile, Path(name) / profile.name) for profile in shipped(WindowsProfile)
        }
    detail = {profile: round(seconds, 2) for profile, seconds in found.items()}
    return [Row("Dry run, every Windows profile", sum(found.values()), "s", 10, detail=detail)]


def media(profile: WindowsProfile, folder: Path) -> Path:
    """An ISO that the profile takes, without anything that could be installed."""
    install = profile.install
    properties = {
        **ENTERPRISE_11,
        "VERSION/BUILD": str(install.newest_build),
        "INSTALLATIONTYPE": install.kind,
        "EDITIONID": next(iter(install.editions)),
    }
    return windows_iso(folder, properties)


def _seconds(profile: WindowsProfile, folder: Path) -> float:
    iso = media(profile, folder)
    winvm = [str(Path(sys.executable).with_name("winvm")), "image", "build", profile.name, "--iso", str(iso)]
    started = time.perf_counter()
    subprocess.run([*winvm, "--dry-run", str(folder / "dry")], capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    rows = measure()
    for row in rows:
        print("  ".join(row.cells), dict(row.detail))
    sys.exit(0 if all(row.met for row in rows) else 1)
