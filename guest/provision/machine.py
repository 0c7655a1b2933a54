"""`Machine`: every operation on Windows that the steps use. `provision.windows` implements it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class ProvisionError(Exception):
    """Windows refused an operation; the text is one line and names the operation."""


class Kind(enum.IntEnum):
    """Types of registry data (winnt.h)."""

    SZ = 1
    EXPAND_SZ = 2
    DWORD = 4
    MULTI_SZ = 7


Data = int | str | tuple[str, ...]


@dataclass(frozen=True)
class RegistryData:
    """One value of the registry: an int for DWORD, strings for MULTI_SZ, else a string."""

    kind: Kind
    data: Data

    def __str__(self) -> str:
        content = ", ".join(self.data) if isinstance(self.data, tuple) else self.data
        return f"{self.kind.name} {content}"


@dataclass(frozen=True)
class Completed:
    """How a command ended; `code` is unsigned, as Windows has it."""

    code: int
    stdout: str
    stderr: str


class Machine(Protocol):
    """The machine that is provisioned. Registry keys are below HKEY_LOCAL_MACHINE, in the 64-bit view."""

    def value(self, key: str, name: str) -> RegistryData | None:
        """What the value holds; None when key or value do not exist, or its type is none of `Kind`."""

    def set_value(self, key: str, name: str, data: RegistryData) -> None:
        """Creates the key and sets the value; raises `ProvisionError`."""

    def delete_value(self, key: str, name: str) -> None:
        """Deletes the value if it is there; raises `ProvisionError`."""

    @property
    def restart_pending(self) -> bool:
        """Whether `note_restart` was called since Windows last started."""

    def note_restart(self) -> None:
        """Notes that a change waits for a restart; Windows forgets the note when it restarts."""

    def run(self, argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Completed:
        """Runs a program to its end, with `environment` added to this process's.

        Raises:
            ProvisionError: it cannot be started, or did not end in time and was killed.
        """

    def read_file(self, path: str) -> bytes | None:
        """A file's content; None when there is none. Raises `ProvisionError`."""

    def write_file(self, path: str, content: bytes) -> None:
        """Writes a file and creates its folders; raises `ProvisionError`."""

    def remove_file(self, path: str) -> None:
        """Removes a file if it is there; raises `ProvisionError`."""

    def copy_folder(self, source: str, target: str) -> None:
        """Copies a folder with its whole content over `target`; raises `ProvisionError`."""

    def code_integrity(self) -> int:
        """CodeIntegrityOptions of SYSTEM_CODEINTEGRITY_INFORMATION; raises `ProvisionError`."""

    def monotonic(self) -> float:
        """Seconds of a clock that only goes forward."""

    def pause(self, seconds: float) -> None:
        """Waits."""
