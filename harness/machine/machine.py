"""One libvirt machine of a run: start, revert, suspend, screenshot, stop, destroy."""

from __future__ import annotations

from typing import Self

from harness.deadline import Deadline
from harness.machine.domain import MachineSpec
from harness.machine.ready import ReadyState
from harness.machine.runfolder import RunFolder


class LibvirtMachine:
    """The real `Machine` (see `protocol.py` for the operations). A context manager: leaving it destroys the
    machine unless its run folder is kept.

    Args:
        folder: the run folder of this process.
        spec: hardware and image.
        ready: what `start` and `revert` restore; None boots from the image instead.
        name: sub-folder of `folder`, unique in it.
    """

    def __init__(
        self, folder: RunFolder, spec: MachineSpec, ready: ReadyState | None, name: str = "guest"
    ) -> None:
        raise NotImplementedError

    @classmethod
    def attach(cls, folder: RunFolder, deadline: Deadline, name: str = "guest") -> Self:
        """The machine that another process left running in a kept folder, with its ports and generation.

        Raises:
            MachineError: there is no such machine, or it has died.
        """
        raise NotImplementedError
