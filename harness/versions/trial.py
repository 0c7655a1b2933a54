"""One trial of one version: its driver is built and its scenarios run in the warm guest of its project.

Each trial is a fork of this process: scenario modules of another commit must not meet those of the last one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from harness.deadline import Deadline
from harness.display.terminal import lines_of
from harness.display.unexpected import as_winvm_error
from harness.errors import BuildError, ConfigurationError, HostError, WinvmError
from harness.machine.leftovers import end_kept
from harness.outcome import ScenarioResult
from harness.project import config as configuration
from harness.project.config import Config
from harness.run.live import project_key
from harness.smoke.run import Request, Told, smoke
from harness.smoke.warm import find

END_S = 60.0


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        results: of each scenario that ran.
        unusable: why it cannot be tried: it does not build, or has none of the scenarios; else empty.
        refused: why its driver was not loaded, or crashed while it was; else empty.
        seconds: wall time.
    """

    results: tuple[ScenarioResult, ...] = ()
    unusable: str = ""
    refused: str = ""
    seconds: float = 0.0


def attempt(load: Callable[[], Config], asked: Request) -> Trial:
    """Runs a version's scenarios; the guest stays warm for the next trial.

    Args:
        load: reads the version's configuration.
        asked: which scenarios; its configuration is replaced by that one.

    Raises:
        HostError: the host or the guest failed, so that nothing is known of the version.
    """
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_child, args=(sending, load, asked))
    began = time.monotonic()
    child.start()
    sending.close()
    try:
        found = receiving.recv()
    except EOFError:
        found = HostError("The trial's process ended without a result.", remedy="Run it again with winvm -v.")
    finally:
        child.join()  # also after Ctrl-C, which interrupted it as well: it ends its guest
    if isinstance(found, Trial):
        return replace(found, seconds=time.monotonic() - began)
    raise found


def _child(sending: Connection, load: Callable[[], Config], asked: Request) -> None:
    results: list[ScenarioResult] = []
    refusals: list[str] = []
    told = Told(
        waiting=lambda: None,
        step=lambda _: None,
        result=results.append,
        verdict=lambda _: None,
        refused=lambda error: refusals.append(error.message),
    )
    found: Trial | HostError
    try:
        smoke(replace(asked, config=load()), told, time.monotonic())
        found = Trial(tuple(results), refused="".join(refusals))
    except (BuildError, ConfigurationError) as error:
        found = Trial(unusable=_short(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # noqa: BLE001 - every error reaches the parent
        shown = as_winvm_error(error)
        found = HostError(shown.message, remedy=shown.remedy)
    sending.send(found)


def _short(error: WinvmError) -> str:
    """The message, with the first line of the compiler's that says `error`."""
    said = (line for line in lines_of(error.detail or "") if "error" in line)
    return " ".join(filter(None, (error.message, next(said, ""))))


def end_guest(root: Path, profile: str) -> None:
    """Ends the warm guest that trials of a project left.

    Raises:
        DeadlineError, HostError, MachineError: see `end_kept`.
    """
    runs = configuration.home() / "runs"
    if folder := find(runs, project_key(root, profile)):
        end_kept(folder, Deadline.after(END_S))
