"""State that another process needs to continue with an agent that was released in a suspended guest."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Handover(BaseModel):
    """The state of a released agent and of its guest's disk.

    Attributes:
        standby: location of the agent in the guest.
        nonce: names the agent in its in-band markers.
        debug_read: bytes in the machine's debug channel at the suspension.
        next_id: id of the next scenario; ids are not reused.
        deployed: guest path -> SHA-256 (hex) of the file pushed there.
        checkpoint: `deployed` in the state that a revert restores; None if that is the image's ready state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    standby: Mapping[str, str]
    nonce: str
    debug_read: int
    next_id: int
    deployed: Mapping[str, str]
    checkpoint: Mapping[str, str] | None
