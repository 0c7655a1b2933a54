"""The boundary between packet layer and transport: what a wire carries, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.debuggers.kd.ids import Ids
from harness.debuggers.kd.packets import Damage, Packet


@dataclass(frozen=True)
class Attached:
    """A session begins. `restarted`: there was one before; `same_boot`: the target has not rebooted since."""

    source: str
    restarted: bool
    same_boot: bool


@dataclass(frozen=True)
class ConnectionCheck:
    """The target asks whether the new key works."""


@dataclass(frozen=True)
class WrongKey:
    """Datagrams arrive from `source` that were made with another key than ours."""

    source: str


@dataclass(frozen=True)
class HandedOver:
    """Another debugger has the target from now on; the packets between them arrive as `Overheard`."""

    debugger: str


@dataclass(frozen=True)
class TakenBack:
    """The other debugger is gone: this host answers the target again."""

    debugger: str


@dataclass(frozen=True)
class Overheard:
    """A packet between the target and the other debugger, which acknowledge it themselves."""

    packet: Packet
    from_debugger: bool


Notice = Attached | WrongKey | HandedOver | TakenBack
Arrival = Packet | Damage | Overheard | ConnectionCheck | Notice


class Wire(Protocol):
    """Carries KD packets. Raises `KdError` when the line is gone."""

    ids: Ids
    retry_s: float
    """Seconds of silence after which a packet is sent again."""

    def send(self, packet: Packet) -> None:
        """Sends one packet; without a session it is dropped."""

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """What has arrived; waits at most `timeout_s` seconds for it."""

    def break_in(self) -> None:
        """Asks a running target to halt."""

    def close(self) -> None:
        """Closes the line; never raises."""
