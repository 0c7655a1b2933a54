"""`winvm debug`: attaches WinDbg or ntoseye to the running guest's kernel; winvm keeps listening.

Command lines of the debuggers: Microsoft Learn, "Live Kernel-Mode Debugging Using WinDbg (Classic)", and
ntoseye's own documentation (dmaivel/ntoseye, docs/setup).
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.kd import Shown, serve
from harness.debuggers.kd.line import KernelLine
from harness.errors import ConfigurationError

if TYPE_CHECKING:
    from harness.debuggers.kd.com.relay import KdcomRelayWire
    from harness.debuggers.kd.host import Event
    from harness.debuggers.kd.net.relay import KdnetRelayWire
    from harness.run.live import LiveGuest

SOCKET = "debugger.sock"
LOG = "debug.log"
DEBUGGER_PORT = 50001
"""Default port: a debugger of a KDNET target listens on it, one of a serial target connects to it."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="UDP port in the target's debug settings.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the connection's key.",
)
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on for the target.")
@click.option("--serial", type=click.Path(path_type=Path), help="Socket, pty or device of a serial line.")
@click.option("--to", metavar="HOST:PORT", help="KDNET: where the debugger listens.")
@click.option("--tcp", metavar="ADDRESS:PORT", help="Serial: where WinDbg connects to, on this machine.")
@click.option("--socket", type=click.Path(path_type=Path), help="Serial: where ntoseye connects to.")
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="Append events to this file.")
@click.option("--break-in", is_flag=True, help="Halt the target once, so that it prints to winvm again.")
@click.option("--show-key", is_flag=True, help="Print the key itself in the command lines.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def debug(
    port: int | None,
    key_file: Path | None,
    bind: str,
    serial: Path | None,
    to: str | None,
    tcp: str | None,
    socket: Path | None,
    log: Path | None,
    break_in: bool,
    show_key: bool,
    as_json: bool,
) -> None:
    """Attach WinDbg or ntoseye to the guest's kernel, and log its DbgPrint.

    winvm relays between target and debugger until Ctrl-C. An attached debugger controls the target; while
    there is none, winvm answers the target. Ctrl-\\ (SIGQUIT) takes the target back from a debugger that
    went away without detaching, and halts a target that winvm controls. --port or --serial name a target
    that winvm did not start.
    """
    from harness.debuggers.kd.host import KdHost

    if port is None and serial is None:
        from harness.project import config
        from harness.run import live

        guest = live.find(config.home())
        line = kernel_line(guest)
        socket, log = socket or guest.machine / SOCKET, log or guest.machine / LOG
        break_in = True  # a kernel that found no debugger prints nothing until it is halted once
    else:
        line = KernelLine(serial, port or 0, key_file)
    shown = Shown(as_json=as_json)
    wire, told = (
        _serial(line.serial, socket, tcp) if line.serial else _kdnet(line, bind, to, show_key=show_key)
    )
    for text in told:
        click.echo(text, err=as_json)
    if log:
        click.echo(f"Events are logged to {log}.", err=True)
    host = KdHost(wire, _logged(log, shown) if log else shown)

    def on_quit(_signal: int, _frame: object) -> None:
        if host.relayed:
            wire.reclaim()
        else:
            host.break_in()

    signal.signal(signal.SIGQUIT, on_quit)
    if break_in:
        host.break_in()
    serve(host)


def kernel_line(guest: LiveGuest) -> KernelLine:
    """The debugger connection of a running guest's kernel; see `LiveGuest.kernel_line`."""
    return guest.kernel_line()


def _kdnet(
    line: KernelLine, bind: str, to: str | None, *, show_key: bool
) -> tuple[KdnetRelayWire, list[str]]:
    from harness.debuggers.kd.key import Key
    from harness.debuggers.kd.net.relay import KdnetRelayWire
    from harness.guests.windows.debugger import adapter_of

    if line.key_file is None:
        raise ConfigurationError("No KDNET key is given.", remedy="Give --key-file.")
    key = Key.read(line.key_file)
    debugger = _endpoint(to, "--to") if to else ("127.0.0.1", DEBUGGER_PORT)
    adapter = adapter_of(line.adapter) if line.adapter else None
    wire = KdnetRelayWire(key, line.port, debugger, bind, adapter=adapter)
    file = shlex.quote(str(line.key_file.absolute()))
    here, there = (key.text, key.text) if show_key else (f'"$(cat {file})"', f"<contents of {file}>")
    where = "the guest's network adapter" if adapter else f"{bind}, UDP port {wire.port}"
    return wire, [
        f"Listening for the target on {where}. winvm relays it to a debugger on {debugger[0]}:{debugger[1]}.",
        "ntoseye, on this machine:",
        f"    ntoseye --backend kdnet --connect 127.0.0.1:{debugger[1]} --kdnet-key {here}",
        f"WinDbg, on another machine, with --to ITS-ADDRESS:{debugger[1]} here:",
        f"    windbg -k net:port={debugger[1]},key={there}",
    ]


def _serial(path: Path, socket: Path | None, tcp: str | None) -> tuple[KdcomRelayWire, list[str]]:
    from harness.debuggers.kd.com.relay import KdcomRelayWire, listen_tcp, listen_unix

    socket = socket or Path(SOCKET)
    told = [
        f"Listening to the target on {path}.",
        "ntoseye, on this machine:",
        f"    ntoseye --connect {shlex.quote(str(socket.absolute()))}",
    ]
    listeners = []
    if tcp:
        address, port = _endpoint(tcp, "--tcp")
        listeners.append(listen_tcp(address, port))
        port = listeners[0].getsockname()[1]
        told += ["WinDbg, on another machine:", f"    windbg -k com:ipport={port},port={address}"]
    else:
        told += [
            f"WinDbg, on another machine, with --tcp THIS-ADDRESS:{DEBUGGER_PORT} here:",
            f"    windbg -k com:ipport={DEBUGGER_PORT},port=THIS-ADDRESS",
        ]
    listeners.append(listen_unix(socket))
    return KdcomRelayWire.between(path, listeners), told


def _endpoint(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ConfigurationError(f"{option} {text} is not an address.", remedy="Write it as HOST:PORT.")
    return host.strip("[]"), int(port)


def _logged(log: Path, shown: Callable[[Event], None]) -> Callable[[Event], None]:
    """Also writes events to a file, in the format of dbgprint.log."""
    from harness.debuggers.kd.show import summary_line
    from harness.debuggers.kd.text import PrintedLines
    from harness.debuggers.log import DebugLog
    from harness.display.terminal import printable

    file, lines = DebugLog(log), PrintedLines()

    def take(event: Event) -> None:
        if event.kind == "dbgprint":
            said = [("dbgprint", line) for line in lines.feed(str(event.fields["text"]))]
        else:
            begun = [("dbgprint", line) for line in lines.flush()]
            said = [*begun, ("kd", printable(summary_line(event.kind, event.fields)))]
        file.append(event.time, said)
        shown(event)

    return take
