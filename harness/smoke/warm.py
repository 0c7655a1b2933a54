"""The suspended guest between two invocations: its record in the run folder, and whether it still fits."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.agent.handover import Handover
from harness.machine.protocol import MachineState
from harness.machine.runfolder import runs_of
from harness.machine.savedstate import ReadyState
from harness.machine.spec import Spec

RECORD = "warm.json"


class WarmGuest(BaseModel):
    """The record that one invocation leaves of its suspended guest for the next.

    Attributes:
        project: key from `harness.run.live.project_key`.
        agent: SHA-256 (hex) of the agent that waits in the guest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str
    agent: str
    handover: Handover

    def save(self, folder: Path) -> None:
        """Writes the record into the run folder."""
        (folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The record in a run folder; None if there is none or it is damaged."""
        try:
            return cls.model_validate_json((folder / RECORD).read_bytes())
        except (OSError, ValidationError):
            return None


def find(runs: Path, project: str) -> Path | None:
    """The newest run folder with a warm guest of the project whose QEMU process is alive."""
    for folder in reversed(runs_of(runs)):
        record = WarmGuest.load(folder)
        if record and record.project == project:
            return folder
    return None


def unfit(
    warm: WarmGuest,
    state: MachineState,
    is_: Spec,
    wanted: Spec,
    ready: ReadyState | None,
    agent: str,
) -> str:
    """Why a warm guest cannot be used; empty if it can.

    Args:
        state: state of its machine.
        is_: what its machine was made of.
        wanted: what a new machine would be made of.
        ready: ready state that a new machine would be restored from; None if there is none yet.
        agent: SHA-256 of the agent that is to run.
    """
    if state is not MachineState.PAUSED:
        return f"it is {state}, not suspended"
    if is_ != wanted:
        return "the guest image, the profile or the accelerator has changed"
    if ready is None or ready.facts != warm.handover.standby:
        return "the saved state that it was restored from is gone"
    if warm.agent != agent:
        return "the agent or the scenarios have changed"
    return ""
