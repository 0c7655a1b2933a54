"""What is fuzzed: devices with their control codes, from the contract, the binary or the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contract.rows import read_contract
from harness.errors import ConfigurationError
from harness.fuzz.binary import control_codes, device_paths
from harness.project.config import Config

HEADER_LIMIT = 1 << 20
IOCTLS = re.compile(r"^#define\s+(\w+)_IOCTLS\(\w+\)", re.MULTILINE)
DEVICE = re.compile(r"\\(\?\?|Device|DosDevices)\\[ -\[\]-~\\]{1,200}")


@dataclass(frozen=True)
class Targets:
    """codes: by object path of the device. sizes: of the contract's structures. source: for a person."""

    codes: dict[str, list[int]]
    sizes: list[int] = field(default_factory=list)
    source: str = ""

    @property
    def document(self) -> list[dict[str, Any]]:
        """As the agent reads them."""
        return [{"device": device, "codes": codes} for device, codes in self.codes.items()]


def find(config: Config, driver: Path, devices: Sequence[str], codes: Sequence[int]) -> Targets:
    """What the command line names; else the contract's rows; else what the driver's file holds.

    Args:
        driver: the `.sys`.
        devices: of the command line, in any of the forms that Windows knows.
        codes: of the command line.

    Raises:
        ConfigurationError: no device is known.
        ContractError: the contract's header is not understood.
    """
    paths = [object_path(device) for device in devices]
    folder = config.driver_folder if config.driver_folder.is_dir() else config.root
    declared = None if paths and codes else _declared(folder)
    if declared and not paths:
        if codes:
            return Targets(
                {device: list(codes) for device in declared.codes}, declared.sizes, declared.source
            )
        return declared
    if declared and not codes and set(paths) <= declared.codes.keys():
        return Targets({path: declared.codes[path] for path in paths}, declared.sizes, declared.source)
    found = list(codes) or (sorted({c for row in declared.codes.values() for c in row}) if declared else [])
    source = "the command line"
    if not found:
        found, source = control_codes(driver), f"{driver.name}'s code"
    if not paths:
        paths = device_paths(driver)
    if not paths:
        raise ConfigurationError(
            f"{driver.name} names no device, and no contract declares one.",
            remedy=r"Name one: winvm fuzz --device \\.\MyDriver",
        )
    return Targets({path: list(found) for path in paths}, declared.sizes if declared else [], source)


def object_path(device: str) -> str:
    """`\\\\.\\Winvm`, `\\??\\Winvm`, `\\Device\\Winvm` or `Winvm` as an object path.

    Raises:
        ConfigurationError: it is none of them.
    """
    path = device
    if device.startswith("\\\\.\\"):
        path = "\\??\\" + device[4:]
    elif not device.startswith("\\"):
        path = "\\??\\" + device
    if not DEVICE.fullmatch(path):
        raise ConfigurationError(
            f"{device!r} is not the name of a device.", remedy=r"Write it as \\.\Name or \Device\Name."
        )
    return path


def _declared(folder: Path) -> Targets | None:
    """The rows of the first header below the folder that declares control codes."""
    for header in sorted(folder.rglob("*.h"), key=lambda path: (len(path.parts), path)):
        if header.stat().st_size > HEADER_LIMIT:
            continue
        if found := IOCTLS.search(header.read_text(encoding="utf-8", errors="replace")):
            contract = read_contract(header, found.group(1))
            codes: dict[str, list[int]] = {
                f"\\??\\{link}" if link else f"\\Device\\{name}": []
                for name, link in contract.devices.values()
            }
            for ioctl in contract.ioctls:
                name, link = contract.devices[ioctl.device]
                codes[f"\\??\\{link}" if link else f"\\Device\\{name}"].append(ioctl.code)
            sizes = sorted({structure.size for structure in contract.structures})
            return Targets(codes, sizes, header.name)
    return None
