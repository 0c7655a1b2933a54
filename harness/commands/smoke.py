"""`winvm smoke`: a quick subset in a guest that is kept warm; `--watch` runs it on every save."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from harness.agent.session import Debugging
from harness.cli import Invocation
from harness.commands import load_config
from harness.display.keyboard import Keyboard
from harness.display.progress import Progress
from harness.display.terminal import paragraph
from harness.display.unexpected import as_winvm_error
from harness.errors import BuildError, ConfigurationError, DriverLoadError, WinvmError
from harness.host.resources import guest_folder
from harness.outcome import GOOD, ScenarioResult
from harness.report.shown import printed_lines, result_lines
from harness.smoke.run import Request, Told
from harness.smoke.run import smoke as run_once
from harness.smoke.verdict import SmokeVerdict
from harness.smoke.watch import Sources

BISECT_CODES = {0: 0, 2: 125, 3: 255, 130: 255}
"""Exit code -> that of `git bisect run`: 125 skips a commit, over 127 ends the search (git-bisect(1))."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("-k", "keyword", metavar="EXPRESSION", help="Scenarios whose name matches, as pytest's -k.")
@click.option(
    "-m", "marker", metavar="EXPRESSION", help="Scenarios of a kind or tag, as pytest's -m; default smoke."
)
@click.option(
    "--bisect", "for_bisect", is_flag=True, help="Exit codes for `git bisect run`: 125 where nothing builds."
)
@click.option("--watch", is_flag=True, help="Run again on every save, until Ctrl-C; the guest stays warm.")
@click.pass_context
def smoke(
    context: click.Context,
    names: tuple[str, ...],
    guest: str | None,
    keyword: str | None,
    marker: str | None,
    watch: bool,
    for_bisect: bool,
) -> None:
    """Run a quick subset in a guest that is kept warm, suspended, until `winvm down`.

    NAME is as for `winvm run`; without names and options, the scenarios tagged `smoke` run.
    """
    invocation: Invocation = context.obj

    def request() -> Request:
        return Request(load_config(invocation), guest, keyword, marker, names)

    if watch:
        _watch(invocation, request)
    if not for_bisect:
        context.exit(_smoke(request(), time.monotonic()))
    try:
        code = _smoke(request(), time.monotonic())
    except ConfigurationError as error:
        click.echo(paragraph(error), err=True)
        code = error.exit_code
    context.exit(BISECT_CODES.get(code, 1))


def _watch(invocation: Invocation, request: Callable[[], Request]) -> None:
    """Runs until it is interrupted. Each run is a fork of this process, which has everything imported."""
    fork = multiprocessing.get_context("fork")
    sources = Sources.of(load_config(invocation), guest_folder() / "agent")
    started = time.monotonic()
    while True:
        child = fork.Process(target=_child, args=(request, started))
        child.start()
        try:
            child.join()
        except KeyboardInterrupt:
            child.join()  # Ctrl-C interrupted it as well; it ends its guest
            raise
        changed = sources.wait()
        started = time.monotonic()
        names = ", ".join(os.path.relpath(path) for path in changed[:3])
        click.echo(f"{time.strftime('%H:%M:%S')} {names}{', ...' if len(changed) > 3 else ''}")


def _child(request: Callable[[], Request], started: float) -> None:
    try:
        raise SystemExit(_smoke(request(), started))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _smoke(request: Request, started: float) -> int:
    """Runs once and prints what happens; the last line is the verdict, whatever happened."""

    def refused(error: WinvmError) -> None:
        click.echo(paragraph(error), err=True)
        what = {BuildError: "build failed", DriverLoadError: "driver not loaded"}.get(type(error), "not run")
        click.echo(f"smoke: {what} after {time.monotonic() - started:.1f} s")

    progress = Progress()
    told = Told(
        waiting=lambda: click.echo("Waiting for another winvm smoke of this project.", err=True),
        step=progress,
        result=partial(_show, (request.config.root, request.config.driver_folder)),
        verdict=_tell,
        refused=refused,
        finished=partial(_remember, request.config.artifacts_folder),
    )
    keyboard = Keyboard()

    def ask(text: str) -> str:
        with progress.held():
            return keyboard.ask(text)

    debugged = replace(request, debugging=Debugging(ask) if keyboard.attended else None)
    try:
        return run_once(debugged, told, started)
    except Exception as error:  # noqa: BLE001 - as in harness.__main__, and the verdict comes below it
        shown = as_winvm_error(error)
        refused(shown)
        return shown.exit_code
    finally:
        progress.close()


def _remember(artifacts: Path, run: Path) -> None:
    """Adds the run to the project's history; a smoke run that cannot be added is no failure."""
    from harness.report.digest import digest
    from harness.report.history import History
    from harness.report.recorded import RecordedRun
    from harness.report.reports import attempt

    def remember() -> None:
        with History(artifacts) as history:
            history.record(digest(RecordedRun(run)))

    attempt("The history", remember, lambda text: click.echo(text, err=True))


def _tell(verdict: SmokeVerdict) -> None:
    click.echo(verdict.line)


def _show(folders: tuple[Path, ...], result: ScenarioResult) -> None:
    """Prints a result that fails the run, with its evidence and what was printed."""
    if result.outcome in GOOD:
        return
    click.echo(f"{result.name}:")
    for line in (*result_lines(result, folders), *printed_lines(result)):
        click.echo(f"  {line}")
