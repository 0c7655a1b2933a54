"""`machine.json` in a machine's folder: what another process needs to take the machine over."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import MachineError
from harness.machine.savedstate import ReadyState
from harness.machine.spec import RecordedSpec

RECORD = "machine.json"


class MachineRecord(BaseModel):
    """The machine's spec, saved state, host ports and generation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: RecordedSpec
    ready: ReadyState | None
    ports: dict[str, int]
    generation: int

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the record of the machine in `folder`; raises `MachineError` if there is none."""
        try:
            return cls.model_validate_json((folder / RECORD).read_bytes())
        except (OSError, ValidationError) as error:
            raise MachineError(
                f"Run {folder.parent.name} has no machine {folder.name} that can be taken over.",
                remedy="Run winvm down, then winvm up.",
            ) from error

    def save(self, folder: Path) -> None:
        """Writes the record of the machine in `folder`."""
        (folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
