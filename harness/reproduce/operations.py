"""Reads the operations before a crash from the agent's journal, and finds those that a replay can issue.

guest/agent/win32/device.py writes them, guest/agent/replay.py issues them. The journal is part of a bundle,
so it is untrusted: it is read up to a limit, and lines that are not operations are skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from harness.errors import BundleError
from harness.host.fileend import last_bytes

READ_LIMIT = 4 << 20
SENT_LIMIT = 900 << 10
"""Largest list of operations in bytes; the agent accepts commands of up to 1 MiB."""
CLOSING = ("CloseHandle", "CloseHandle after error")

_Argument = StrictBool | StrictInt | Annotated[str, Field(max_length=4096)]


class Operation(BaseModel):
    """One operation that a replay can issue: its name, its text for a person, its arguments."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    op: Annotated[str, Field(max_length=64)]
    detail: Annotated[str, Field(max_length=1000)] = ""
    call: Annotated[dict[str, _Argument], Field(max_length=16)]

    @property
    def opens(self) -> object:
        """Number of the handle that the operation opens; None if it opens none."""
        return self.call.get("opens")

    @property
    def on(self) -> object:
        """Number of the handle that the operation uses; None if it opens one."""
        return self.call.get("on")

    def __str__(self) -> str:
        given = self.call.get("in")
        return f"{self.op} {self.detail}" + (f" input={given}" if given else "")


@dataclass(frozen=True)
class Recording:
    """The operations of the scenario's last run in the journal.

    left_out: names of operations that no replay can issue, with their numbers: services, second processes,
    hostile pointers, long inputs, handles whose opening is not in the journal.
    """

    operations: tuple[Operation, ...]
    left_out: Mapping[str, int]


def recorded(journal: Path, scenario: str) -> Recording:
    """Reads the journal for the last run of a scenario.

    Raises:
        BundleError: there is no journal, or it holds no operation of the scenario, or too many to send.
    """
    try:
        entries = [entry for entry in _entries(journal) if entry.get("scenario") == scenario]
    except OSError as error:
        raise BundleError(f"{journal.name} cannot be read: {error.strerror}.") from error
    entries = [entry for entry in entries if entry.get("run") == entries[-1].get("run")]
    found = closed(operation for entry in entries if (operation := _operation(entry)))
    left_out = Counter(str(entry.get("op"))[:64] for entry in entries)
    left_out.subtract(operation.op for operation in found)
    if not found:
        raise BundleError(
            f"The journal holds no operation of {scenario} that a replay can issue.",
            remedy="Reproduce without --minimise.",
        )
    if (size := len(json.dumps(sendable(found)))) > SENT_LIMIT:
        raise BundleError(
            f"The journal holds {len(found)} operations, {size} bytes; a replay can send {SENT_LIMIT} bytes.",
            remedy="Reproduce without --minimise.",
        )
    names = {name: count for name, count in left_out.items() if count > 0 and name not in CLOSING}
    return Recording(tuple(found), names)


def sendable(operations: Iterable[Operation]) -> list[tuple[str, dict[str, Any]]]:
    """The operations in the form that the agent accepts."""
    return [(operation.op, dict(operation.call)) for operation in operations]


def closed(operations: Iterable[Operation]) -> list[Operation]:
    """The operations without those on handles that none of them opens."""
    found: list[Operation] = []
    opened: set[object] = set()
    for operation in operations:
        if operation.opens is not None:
            opened.add(operation.opens)
        elif operation.on not in opened:
            continue
        found.append(operation)
    return found


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    for line in last_bytes(journal, READ_LIMIT).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # truncated by the crash, or by the limit
        if isinstance(entry, dict):
            yield entry


def _operation(entry: dict[str, Any]) -> Operation | None:
    try:
        operation = Operation.model_validate(entry)
    except ValidationError:
        return None
    return operation if (operation.opens is None) != (operation.on is None) else None
