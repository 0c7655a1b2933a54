"""`winvm console|key|type`: the screen and the keyboard of a guest that runs, whoever started it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import click

from harness.deadline import Deadline
from harness.machine import console as machine_console
from harness.machine.console import Console
from harness.machine.keys import Chord, chord, typed
from harness.machine.rfb import Keyboard
from harness.project import config

VIEWERS = ("xtigervncviewer", "vncviewer")
"""TigerVNC's viewer, which opens UNIX sockets."""
KEYS_S = 600.0
TEXT_LIMIT = 4096

_guest = click.option(
    "--guest", metavar="NAME", default="", help="Profile, or RUN/MACHINE; needed where several guests run."
)


@click.command()
@_guest
@click.option("--list", "listing", is_flag=True, help="Only list the guests that run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and open no viewer.")
def console(guest: str, listing: bool, as_json: bool) -> None:
    """Say how to see a guest's screen, and open a viewer where there is one.

    Works for every guest that runs on this host: during an installation, in a run, after `winvm up`. The
    screen is on a UNIX socket that only you can open.
    """
    runs = config.home() / "runs"
    found = machine_console.consoles(runs) if listing else [machine_console.find(runs, guest)]
    for one in found:
        if as_json:
            click.echo(json.dumps({"guest": one.name, "profile": one.profile, "socket": str(one.socket)}))
        else:
            click.echo(f"{one.name}  {one.profile or 'starting'}" if listing else directions(one))
    if not listing and not as_json:
        view(found[0])


@click.command()
@_guest
@click.argument("keys", nargs=-1, required=True)
def key(guest: str, keys: tuple[str, ...]) -> None:
    """Press keys in a guest: `winvm key shift+f10`, `winvm key down down enter`.

    A key is named by what it types on the US layout, or as esc, tab, ctrl, alt, win, f1, delete.
    """
    _press(guest, [chord(names) for names in keys])


@click.command(name="type")
@_guest
@click.option("--enter", is_flag=True, help="Press Enter after the text.")
@click.argument("text")
def type_text(guest: str, enter: bool, text: str) -> None:
    """Type a text in a guest, as on a keyboard with the US layout: `winvm type --enter 'dir C:\\'`."""
    if len(text) > TEXT_LIMIT:
        raise click.UsageError(f"the text has more than {TEXT_LIMIT} characters; use winvm push for files")
    _press(guest, typed(text + "\n" * enter))


def directions(found: Console) -> str:
    """How a person gets to see the screen, in a few lines."""
    path = found.socket
    return (
        f"{found.profile or found.name}: VNC on {path}\n"
        f"  here:                  {VIEWERS[1]} {path}    (TigerVNC)\n"
        f"  from another computer: ssh -L 5901:{path} {os.uname().nodename}, then vncviewer 127.0.0.1:5901"
    )


def view(found: Console) -> bool:
    """Opens a viewer that outlives this process; False if there is no viewer or no desktop."""
    viewer = next(filter(None, map(shutil.which, VIEWERS)), None)
    if viewer is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    subprocess.Popen(
        [viewer, str(found.socket)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return True


def _press(guest: str, chords: list[Chord]) -> None:
    found = machine_console.find(config.home() / "runs", guest)
    with Keyboard(found.socket, Deadline.after(KEYS_S)) as keyboard:
        keyboard.press(chords)
