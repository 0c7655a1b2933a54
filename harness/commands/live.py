"""`winvm up|down|exec|push|pull|shell|logs`: one guest, used by hand."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.deadline import Deadline
from harness.display.suggestion import did_you_mean
from harness.display.terminal import printable
from harness.errors import ConfigurationError, DeadlineError, TransportError
from harness.interfaces import GuestProcess
from harness.project import config
from harness.run import live

PULL_LIMIT = 4 << 30
COPY_DEADLINE_S = 600.0
FOREVER_S = 10 * 365 * 86400.0


@click.command()
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("--build", "build_name", metavar="NAME", help="Driver build to load; default is the first one.")
@click.option("--json", "as_json", is_flag=True, help="Print the guest's address and ports as JSON.")
@click.pass_context
def up(context: click.Context, guest: str | None, build_name: str | None, as_json: bool) -> None:
    """Start a guest with the driver loaded, and leave it running until `winvm down`.

    A project has one such guest per profile. If that guest is already up, `winvm up` prints it.
    """
    from harness.display.progress import Progress
    from harness.run.artifacts import Artifacts
    from harness.run.pipeline import bring_up
    from harness.run.plan import make_plan

    def waiting() -> None:
        click.echo("Waiting for another winvm up of this project.", err=True)

    invocation: Invocation = context.obj
    loaded = load_config(invocation)
    plan = make_plan(loaded, guest)
    build = build_name or loaded.driver.builds[0]
    if build not in loaded.driver.builds:
        raise ConfigurationError(
            f"There is no driver build {build!r}.{did_you_mean(build, loaded.driver.builds)}",
            remedy=f"Choose one of the builds in winvm.toml: {', '.join(loaded.driver.builds)}.",
        )
    artifacts, progress = Artifacts(loaded.artifacts_folder / "up"), Progress()
    artifacts.journal.listen(progress)
    try:
        guest_up = bring_up(plan, artifacts, build, waiting)
    finally:
        progress.close()
    if as_json:
        click.echo(guest_up.model_dump_json())
    else:
        ports = ", ".join(f"{name} on {guest_up.address}:{port}" for name, port in guest_up.ports.items())
        loaded_driver = f"driver {guest_up.build}, {guest_up.driver[:6]}"
        click.echo(f"Guest {guest_up.profile} is up, {loaded_driver}: {ports}. End it with: winvm down")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the ended guests' run folders as JSON.")
def down(as_json: bool) -> None:
    """End every guest that `up` or `smoke` left behind, and remove its files."""
    from harness.machine.leftovers import end_kept
    from harness.machine.runfolder import runs_of

    ended = []
    for folder in runs_of(config.home() / "runs"):
        end_kept(folder, Deadline.after(60.0))
        ended.append(str(folder))
    if as_json:
        click.echo(json.dumps({"ended": ended}))
    else:
        click.echo(
            f"Ended {len(ended)} guest{'' if len(ended) == 1 else 's'}." if ended else "No guest was up."
        )


@click.command(
    name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "--timeout", "timeout_s", type=float, default=FOREVER_S, help="Seconds until the program is ended."
)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def execute(context: click.Context, timeout_s: float, argv: tuple[str, ...]) -> None:
    """Run a Windows program in the guest; streams its output and returns its exit code.

    All words after the program belong to it, `-h` and `--timeout` too. Standard input is passed on unless
    it is a terminal. Example: `winvm exec --timeout 60 C:\\dir\\program.exe arguments`
    """
    context.exit(_attached(list(argv), Deadline.after(timeout_s), interactive=False))


@click.command()
@click.pass_context
def shell(context: click.Context) -> None:
    """Open cmd.exe in the guest, line by line; leave it with `exit` or end of input."""
    context.exit(_attached(["cmd.exe"], Deadline.after(FOREVER_S), interactive=True))


@click.command()
@click.argument("local", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("guest_path")
def push(local: Path, guest_path: str) -> None:
    """Copy a file into the guest: `winvm push LOCAL C:\\dir\\name`."""
    from harness.run.pipeline import reach

    files = reach(live.find(config.home())).files
    try:
        size = files.push(local, guest_path, Deadline.after(COPY_DEADLINE_S))
    finally:
        files.close()
    click.echo(f"{local} -> {guest_path}: {size} bytes")


@click.command()
@click.argument("guest_path")
@click.argument("local", type=click.Path(dir_okay=False, path_type=Path))
def pull(guest_path: str, local: Path) -> None:
    """Copy a file out of the guest: `winvm pull C:\\dir\\name LOCAL`."""
    from harness.run.pipeline import reach

    files = reach(live.find(config.home())).files
    try:
        size = files.pull(guest_path, local, Deadline.after(COPY_DEADLINE_S), PULL_LIMIT)
    finally:
        files.close()
    click.echo(f"{guest_path} -> {local}: {size} bytes")


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Keep printing until interrupted.")
@click.option("--all", "everything", is_flag=True, help="Print Wine's own messages too, not only DbgPrint.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def logs(follow: bool, everything: bool, as_json: bool) -> None:
    """Print the debug output of the guest that is up."""
    from harness.debuggers.tail import FileTail

    guest = live.find(config.home())
    tail = FileTail(guest.debug_output())
    lines, partial = guest.debug_lines(), b""
    try:
        while True:
            data = tail.read(1 << 20)
            *complete, partial = (partial + data).split(b"\n")
            for raw in complete:
                line = lines.parse(raw.decode("utf-8", "backslashreplace").rstrip("\r"), time.time())
                if line.source != "dbgprint" and not everything:
                    continue
                click.echo(
                    json.dumps({"source": line.source, "text": line.text})
                    if as_json
                    else printable(line.text)
                )
            if not data:
                if not follow:
                    return
                time.sleep(0.1)
    finally:
        tail.close()


def _attached(argv: list[str], deadline: Deadline, *, interactive: bool) -> int:
    """Runs `argv` with this process's standard streams; returns the exit code as Linux can carry it."""
    from harness.run.pipeline import reach

    transport = reach(live.find(config.home())).transport
    try:
        process = transport.start(argv, deadline)
        try:
            if interactive or not sys.stdin.isatty():
                threading.Thread(target=_feed, args=(process, sys.stdin.buffer), daemon=True).start()
            for stream, data in process.receive(deadline):
                _print(sys.stderr if stream == "stderr" else sys.stdout, data)
        finally:
            process.terminate()
    finally:
        transport.close()
    if process.exit_code is None:
        raise DeadlineError(
            f"{argv[0]} did not end within {deadline.seconds:g} s and was ended.", remedy="Raise --timeout."
        )
    if process.exit_code > 255:
        click.echo(f"winvm: {printable(argv[0])} ended with exit code {process.exit_code:#x}.", err=True)
        return 255
    return process.exit_code


def _feed(process: GuestProcess, source: BinaryIO) -> None:
    """Passes standard input on, a line or a block at a time."""
    try:
        while data := source.readline(1 << 16):
            process.send(data)
        process.send(b"", end=True)
    except (TransportError, ValueError):
        return  # the program has ended and does not read its input any more


def _print(stream: object, data: bytes) -> None:
    """Writes raw bytes to a file or pipe; a terminal gets no control characters from the guest."""
    assert hasattr(stream, "buffer")
    assert hasattr(stream, "isatty")
    if stream.isatty():
        text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        data = "\n".join(printable(line) for line in text.split("\n")).encode()
    stream.buffer.write(data)
    stream.buffer.flush()
