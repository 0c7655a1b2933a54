"""The offline SYSTEM hive: which control set boots next, and a service's start type, through hivexregedit.

Keys: `Select\\Current`, `ControlSetNNN\\Services\\NAME`, value `Start` (Microsoft Learn: HKLM\\SYSTEM\\
CurrentControlSet\\Services registry tree). hivex leaves the hive marked as clean, so that Windows does not
replay the hive's transaction logs over the change.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, MachineError
from harness.host import confined
from harness.offline import tool

REGISTRY_FILE = "Windows Registry Editor Version 5.00"
DISABLED = 4
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CONTROL_SETS = 999


class SystemHive:
    """A SYSTEM hive in a host file, which `hand_over` gives to the user that parses it.

    Raises:
        MachineError: the file is no SYSTEM hive, or a damaged one.
        HostError, DeadlineError: hivexregedit is missing, or did not end.
    """

    def __init__(self, file: Path, deadline: Deadline) -> None:
        self._file = file
        self._deadline = deadline
        confined.hand_over(file)
        current = self._dword("Select", "Current")
        if current is None or not 0 < current <= _CONTROL_SETS:
            raise MachineError(
                f"{file.name} does not say which control set boots: Select\\Current is {current}.",
                remedy="Name the disk of a guest whose installation of Windows was completed.",
            )
        self._services = f"ControlSet{current:03}\\Services"

    def start_type(self, service: str) -> int | None:
        """A service's start: 0 boot, 1 system, 2 automatic, 3 demand, 4 disabled; None if there is none."""
        return self._dword(f"{self._services}\\{_checked(service)}", "Start")

    def set_start_type(self, service: str, start: int) -> None:
        """Changes the start type of a service that is there.

        Raises:
            ConfigurationError: there is no such service.
        """
        if self.start_type(service) is None:
            raise ConfigurationError(
                f"The guest has no service {service!r}.",
                remedy="Name the driver as winvm.toml does. A service created just before the crash may be"
                " in the hive's transaction log only, which is lost; then there is nothing to disable.",
            )
        change = f'{REGISTRY_FILE}\n\n[{self._services}\\{service}]\n"Start"=dword:{start:08x}\n'
        argv = ["hivexregedit", "--merge", str(self._file)]
        tool.run(argv, self._deadline, change.encode(), writes=[self._file])

    def _dword(self, key: str, value: str) -> int | None:
        try:
            argv = ["hivexregedit", "--export", str(self._file), key]
            text = tool.run(argv, self._deadline, reads=[self._file])
        except MachineError as error:
            if b"not found" in error.detail.encode():
                return None
            raise
        own = text.decode("utf-8", "replace").split("\n[", 2)[1]  # without its subkeys
        found = re.search(rf'^"{value}"=dword:([0-9a-f]{{1,8}})\s*$', own, re.MULTILINE | re.IGNORECASE)
        return int(found[1], 16) if found else None


def _checked(service: str) -> str:
    """A name that is safe in a registry path and in a .reg file."""
    if not _SERVICE.fullmatch(service):
        raise ConfigurationError(
            f"{service!r} is no name of a driver's service.", remedy="Name the driver as winvm.toml does."
        )
    return service
