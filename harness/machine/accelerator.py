"""Which accelerator really runs a guest on this host: a functional probe, never the existence of /dev/kvm."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline


class Accelerator(enum.StrEnum):
    """QEMU's accelerators that the bench uses."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Probe:
    """What was decided and why, in words for `doctor`."""

    accelerator: Accelerator
    reason: str


def choose_accelerator(cache: Path, deadline: Deadline) -> Probe:
    """The accelerator to use; `WINVM_ACCEL=kvm|tcg` overrides, the probe's result is kept in `cache`.

    Raises:
        ConfigurationError: `WINVM_ACCEL` holds something else.
        HostError: QEMU is missing, or is too old (< 10) for TCG.
    """
    raise NotImplementedError
