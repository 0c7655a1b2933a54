"""virtio drivers out of the virtio-win ISO: those that the profile's hardware needs, and fwcfg for dumps.

Its layout is <driver>/<Windows>/amd64. Setup fails if it finds a driver for several versions of Windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.guests.windows.image.bounded import FileRefusedError, answer, ask
from harness.guests.windows.image.iso import names_in, opened, readable_size
from harness.guests.windows.spec.profile import WindowsProfile

STORAGE, NETWORK = "viostor", "NetKVM"
DUMP = "fwcfg"
"""Tells QEMU what it needs to write a Windows dump; taken whenever there is an ISO that has it."""
OPTIONAL = "?"
"""Begins the name of a folder that the ISO may lack."""
SUFFIXES = (".inf", ".cat", ".sys", ".dll", ".exe")
"""Files that an INF may name. Symbol files are left out: they are larger than all the others."""
FILES_LIMIT = 40
BYTES_LIMIT = 32 << 20
"""Of one file."""
_WHICH = "Name the virtio-win ISO: --virtio-iso PATH."


def needed_drivers(profile: WindowsProfile) -> list[str]:
    """Drivers that Windows does not include; none for SATA and e1000e."""
    hardware = profile.hardware
    disk = [STORAGE] if hardware.disk_bus == "virtio" else []
    return disk + ([NETWORK] if hardware.control_nic == "virtio" else [])


def read_drivers(profile: WindowsProfile, iso: Path | None, deadline: Deadline) -> Mapping[str, bytes]:
    """`<driver>/<file>` -> content of what the profile needs.

    Raises:
        ConfigurationError: it needs drivers and there is no ISO, or the ISO lacks one of them.
        HostError: the ISO cannot be read by this user.
        DeadlineError: it was not read in time.
    """
    needed = needed_drivers(profile)
    if not needed and iso is None:
        return {}
    if iso is None:
        raise ConfigurationError(
            f"{profile.name} has virtio hardware, which needs the drivers {', '.join(needed)}.", remedy=_WHICH
        )
    readable_size(iso, _WHICH)
    with tempfile.TemporaryDirectory(prefix="winvm-drivers-") as folder:
        below = f"{profile.install.virtio}/amd64"
        folders = [*(f"{name}/{below}" for name in needed), f"{OPTIONAL}{DUMP}/{below}"]
        ask(__name__, iso, [folder, *folders], deadline)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def _extract(arguments: list[str]) -> dict[str, Any]:
    path, target, *folders = arguments
    iso = opened(path)
    keys = {"joliet_path": iso.has_joliet(), "rr_path": iso.has_rock_ridge(), "udf_path": iso.has_udf()}
    key = next((key for key, there in keys.items() if there), None)
    if key is None:
        raise FileRefusedError("has none of the long file names that the virtio-win ISO has", _WHICH)
    for wanted in folders:
        folder = wanted.removeprefix(OPTIONAL)
        names = [name for name in names_in(iso, **{key: f"/{folder}"}) if name.lower().endswith(SUFFIXES)]
        if not any(name.lower().endswith(".inf") for name in names):
            if wanted.startswith(OPTIONAL):
                continue
            raise FileRefusedError(f"holds no driver in {folder}", _WHICH)
        if len(names) > FILES_LIMIT:
            raise FileRefusedError(f"holds {len(names)} files in {folder}", _WHICH)
        driver = Path(target) / folder.partition("/")[0]
        driver.mkdir()
        for name in names:
            with iso.open_file_from_iso(**{key: f"/{folder}/{name}"}) as file:
                if file.length() > BYTES_LIMIT or not Path(name).name == name:
                    raise FileRefusedError(f"holds a file that is no driver's in {folder}", _WHICH)
                (driver / name).write_bytes(file.read())
    return {}


if __name__ == "__main__":
    answer(_extract)
