"""Runs the few host tools of a Windows image build. They mount nothing and leave no process behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, ImageError
from harness.host import programs


class HostTools:
    """The `Toolbox` for tools that need neither root nor namespaces of their own."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def run(
        self,
        argv: Sequence[str],
        *,
        root: Path | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Runs `argv` to its end.

        Raises:
            HostError: the tool is not installed.
            ImageError: it failed, or the deadline passed; carries the end of its output.
        """
        if root is not None:
            raise ValueError("HostTools runs nothing in another root")
        what = f"{Path(argv[0]).name} {argv[1] if len(argv) > 1 else ''}".strip()
        try:
            done = programs.run(argv, self._deadline, stdin=stdin, environment=environment, merged=True)
        except DeadlineError as error:
            raise ImageError(
                f"{what} was still running after {self._deadline.seconds:g} s.", remedy="Run it again."
            ) from error
        if done.code:
            raise ImageError(
                f"{what} failed with exit code {done.code} while the guest image was being built.",
                remedy="Correct the error below and run the build again.",
                detail=done.said,
            )
