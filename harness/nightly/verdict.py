"""The verdict on one cell of a night: how its run ended, and what is new in it."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.report.news import News


class CellVerdict(enum.StrEnum):
    """The verdict on a cell's run, compared with the night before."""

    QUIET = "quiet"  # nothing failed that had not failed before
    NEWS = "news"  # a new failure or a new crash
    KNOWN = "known"  # a known failure or crash, in a strict night
    BROKEN = "broken"  # the cell did not run, or not to its end
    SKIPPED = "skipped"  # the guest lacks a capability that the cell needs


class CellResult(BaseModel):
    """The result of a cell.

    Attributes:
        run: id of its run in the nightly artifacts; empty if it never began.
        host: URI of the libvirt host, or `this host`.
        exit_code: what the cell contributes to the night's exit code. It is not its run's exit code, in which
            known failures count.
        message: why the cell is broken or skipped.
        log: the output of `winvm run`, a file in the night's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    verdict: CellVerdict
    exit_code: int = 0
    run: str = ""
    host: str = ""
    seconds: float = 0.0
    message: str = ""
    log: str = ""
    news: News = News()

    @classmethod
    def load(cls, folder: Path, cell: str) -> CellResult:
        """Reads a cell's result from the night's folder; raises `OSError` if none was saved."""
        return cls.model_validate_json((folder / f"{file_stem(cell)}.json").read_bytes())

    def save(self, folder: Path) -> None:
        """Writes the result to the night's folder."""
        (folder / f"{file_stem(self.cell)}.json").write_text(self.model_dump_json(indent=1), encoding="utf-8")


def lines(result: CellResult) -> list[str]:
    """What is new in a cell, one line for each kind of change."""
    kinds = ((field.name, getattr(result.news, field.name)) for field in dataclasses.fields(result.news))
    return [f"{kind.replace('_', ' ')}: {', '.join(names)}" for kind, names in kinds if names]


def file_stem(cell: str) -> str:
    """The name of a cell's files in the night's folder, without their endings."""
    return cell.replace("/", "_")
