"""The record of a survey: which outcome each project had, and what differs from it now.

tests/compat/measured.toml explains its entries.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.compat.first_hour import Seen
from tests.compat.outcomes import AFTER_BUILD, BUILDS


@dataclass(frozen=True)
class Measured:
    """One entry of the record: facts about a project, and its outcome on the day of the survey."""

    repository: str
    commit: str
    folder: str
    outcome: str
    name: str = ""
    reason: str = ""

    @property
    def place(self) -> str:
        """Its folder below that of a list: the repository's own name comes first."""
        return f"{self.repository.rpartition('/')[2]}/{self.folder}"


def recorded(path: Path) -> list[Measured]:
    """The entries of a record."""
    with path.open("rb") as file:
        return [Measured(**entry) for entry in tomllib.load(file)["outcome"]]


def differing(seen: Iterable[Seen], record: Iterable[Measured]) -> Iterator[str]:
    """One line for each project whose outcome is another than the recorded one.

    A project that builds and was not loaded this time does not differ from one that was.
    """
    known = {(one.place, one.name): one for one in record}
    for one in seen:
        was = known.get((one.project.folder, one.project.name))
        if was is None or one.result == was.outcome:
            continue
        if one.result != BUILDS or was.outcome not in AFTER_BUILD:
            yield f"{one.project.folder}: {one.result}, recorded as {was.outcome}"
