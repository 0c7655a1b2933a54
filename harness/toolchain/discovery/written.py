"""Writes the first winvm.toml and scenarios of an existing driver from what was found of it.

Every file can be changed afterwards; what exists is never overwritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from harness.project.scaffold import Written, project_name, write_project
from harness.toolchain.discovery.examine import Examined, examine

NAME_LIMIT = 64
SHOWN = 5
CODES_HEAD = '''"""The driver's control codes: names from its headers, values computed by clang."""

from __future__ import annotations

import enum


class Ioctl(enum.IntEnum):
    """Names as in the driver's headers."""

'''
EXAMPLE_HEAD = '''"""First scenarios, written by `winvm init`. Add what the driver should do."""

from __future__ import annotations

from agent import {names}
{more}
{devices}
@scenario(tags=("smoke",))  # `winvm smoke` runs it
def driver_runs(t: Context) -> None:
    """The driver's service is running."""
    with t.services() as services, services.open(t.service) as service:
        equal(service.status().state, State.RUNNING, "state of the service")
'''
OPENS = '''

@scenario(tags=("smoke",), cases=DEVICES{needs})
def opens(t: Context, path: str) -> None:
    """The device can be opened and closed.{when}"""
    with t.open(path):
        pass
'''
PLUG_AND_PLAY_NEEDS = ', needs=("inf-package",)'
PLUG_AND_PLAY = """

    The driver makes it in its AddDevice routine: there is none until its INF is installed for a device.
    """
SURVIVES = '''

@scenario(cases={code.name: code for code in Ioctl}NEEDS)
def survives_empty_request(t: Context, code: Ioctl) -> None:
    """The driver answers, refuses or keeps the request without buffers; it must not crash of it."""
    with t.open(DEVICES["FIRST"], overlapped=True) as device:
        try:
            pending = device.ioctl_async(code)
            if not pending.ends_within(2.0):
                t.note("the driver kept the request, which is cancelled")
                pending.cancel()
            pending.wait(5.0)
            t.note("answered")
        except Win32Error as error:
            t.note(f"refused: {error}")
'''


def begin_project(folder: Path, name: str | None = None) -> tuple[Written, Examined]:
    """Examines a folder and writes the files of a winvm project that it does not have.

    Args:
        name: of the driver; by default, what its project or its INF calls it, or the folder's name.

    Raises:
        ConfigurationError: the name cannot be used, or the folder cannot be written to.
    """
    examined = examine(folder, name)
    driver = examined.driver
    if driver is None:
        return write_project(folder, name or project_name(folder)), examined
    service = driver.service.name if driver.service else driver.name
    chosen = name or _valid(service) or project_name(folder)
    files = {"scenarios/example.py": _example(examined)}
    if examined.codes and _devices(examined):
        files["scenarios/codes.py"] = CODES_HEAD + "".join(
            f"    {code} = 0x{value:08X}\n" for code, value in examined.codes.items()
        )
    return write_project(folder, chosen, driver.settings, files, _remarks(folder, examined)), examined


def _valid(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:NAME_LIMIT]


def _devices(examined: Examined) -> dict[str, str]:
    """Case id -> how a program names each device: its link, or the device object where it has no link."""
    names = examined.names
    paths = {link: rf"\\.\{link}" for link in names.links}
    if not paths:
        paths = {device: rf"\\.\GLOBALROOT\Device\{device}" for device in names.devices}
    return {re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[:64]: path for name, path in paths.items()}


def _example(examined: Examined) -> str:
    devices = _devices(examined)
    codes = bool(examined.codes and devices)
    names = ["Context", "State", *(["Win32Error"] if codes else []), "equal", "scenario"]
    table = [f'    "{name}": r"{path}",' for name, path in devices.items()]
    text = EXAMPLE_HEAD.format(
        names=", ".join(names),
        more="\nfrom scenarios.codes import Ioctl\n" if codes else "",
        devices="\n".join(["DEVICES = {", *table, "}", "\n"]) if devices else "",
    )
    needs, when = (PLUG_AND_PLAY_NEEDS, PLUG_AND_PLAY) if examined.names.plug_and_play else ("", "")
    text += OPENS.format(needs=needs, when=when) if devices else ""
    return text + (SURVIVES.replace("FIRST", next(iter(devices))).replace("NEEDS", needs) if codes else "")


def _remarks(folder: Path, examined: Examined) -> list[str]:
    """Comments for winvm.toml: what else was found and may be wanted."""
    found, driver = examined.folder, examined.driver
    lines = [
        f"Also here: driver {other.name} ({_first(other.settings)})."
        for other in found.drivers
        if other is not driver
    ]
    lines += [f"INF: {_relative(path, folder)}." for path in found.infs[:SHOWN]]
    lines += [f"Program, perhaps a test: {_relative(path, folder)}." for path in found.programs[:SHOWN]]
    lines += [f"Device interface: {name}." for name in examined.names.interfaces]
    return [line for line in lines if line.isprintable()]


def _first(settings: dict[str, object]) -> str:
    key, value = next(iter(settings.items()))
    if isinstance(value, list):
        value = ", ".join(map(str, value[:SHOWN])) + (
            f" and {len(value) - SHOWN} more" if len(value) > SHOWN else ""
        )
    return f"{key} {value}"


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder.resolve())


def summary(examined: Examined) -> Iterable[str]:
    """What was found, one line each, for the terminal."""
    driver = examined.driver
    if driver is None:
        yield "found  no driver: no project, no sources with DriverEntry, no x64 .sys"
        return
    yield f"found  driver {driver.name}: {_first(driver.settings)}"
    for name in _devices(examined).values():
        made = ", made in AddDevice: not before plug and play finds it" * examined.names.plug_and_play
        yield f"found  device {name}{made}"
    if examined.codes:
        count, first = len(examined.codes), ", ".join(list(examined.codes)[:2])
        yield f"found  {count} control code{'s' * (count > 1)}: {first}{', ...' * (count > 2)}"
    if examined.trouble:
        yield f"note   {examined.trouble}"
    for note in examined.folder.notes[:SHOWN]:
        yield f"note   {note}"
