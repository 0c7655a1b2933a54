"""`winvm kd decode|key|listen`: a Windows kernel's debugger traffic, recorded or live."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.debuggers.kd.key import Key
from harness.display.terminal import printable
from harness.errors import ConfigurationError, KdError

if TYPE_CHECKING:
    from harness.debuggers.kd.capture.both_sides import RecordingDecoder
    from harness.debuggers.kd.capture.decode import CaptureSummary
    from harness.debuggers.kd.host import Event, KdHost

READ_SIZE = 1 << 16


@click.group()
def kd() -> None:
    """Kernel debugging: decode a capture, make a key, listen to a target."""


@kd.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def key(file: Path | None) -> None:
    """Make a key for KDNET.

    The key is printed, or written to the new FILE, which only its owner may read.
    """
    made = Key.generate()
    if file is None:
        click.echo(made.text)
    else:
        made.write(file)


@kd.command()
@click.argument("capture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", "key_text", metavar="W.X.Y.Z", help="The connection's key; see --key-file.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the key: unlike --key, no other user sees it.",
)
@click.option("--serial", is_flag=True, help="CAPTURE was taken from a serial line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def decode(capture: Path, key_text: str | None, key_file: Path | None, serial: bool, as_json: bool) -> None:
    """Decode recorded kernel debugger traffic.

    CAPTURE is a pcap or pcapng file. With --serial it holds the raw bytes that the target sent, or both
    directions as text: one line per read with seconds, T for the target or H for the host, and the bytes in
    hex. CAPTURE may be gzipped.
    """
    from harness.debuggers.kd.capture.both_sides import RecordingDecoder
    from harness.debuggers.kd.capture.decode import CaptureDecoder

    summary: CaptureSummary
    if serial:
        decoder = RecordingDecoder()
        both = _has_both_sides(capture)
        summary, events = decoder.summary, _serial_events(capture, decoder, both_sides=both)
    else:
        capture_decoder = CaptureDecoder(key_of(key_text, key_file))
        summary, events = capture_decoder.summary, _capture_events(capture, capture_decoder)
    damage: KdError | None = None
    try:
        for frame, time, kind, fields in events:
            if as_json:
                click.echo(json.dumps({"frame": frame, "time": time, "kind": kind, **fields}))
            elif kind not in ("ack", "control"):
                click.echo(f"{frame:>6} {_human(kind, fields)}")
    except KdError as error:  # events before the error are still shown
        damage = error
    if as_json:
        click.echo(json.dumps({"kind": "summary", **summary.fields()}))
    elif summary.packets or damage is None:
        kinds = ", ".join(f"{number} {kind}" for kind, number in summary.by_kind.most_common())
        nothing = "none of the kernel debugger's" if serial else "none that this key decrypts"
        click.echo(f"{summary.packets} packets: {kinds or nothing}")
        for warning in summary.warnings:
            click.echo(warning)
    if damage is not None:  # the damage is in a file that the user named
        raise ConfigurationError(damage.message, remedy=damage.remedy) from damage
    if not summary.decoded:
        raise _nothing_decoded(capture, summary, serial=serial)


def _nothing_decoded(capture: Path, summary: CaptureSummary, *, serial: bool) -> ConfigurationError:
    """Says why a capture shows nothing: it is the wrong file, or the wrong key."""
    if serial:
        return ConfigurationError(
            f"{capture} holds no packet of the kernel debugger's serial protocol.",
            remedy="Record the line from before the target starts, at its debugger's baud rate.",
        )
    if summary.bad_mac:
        return ConfigurationError(
            f"This key decrypts none of {summary.packets} KDNET datagrams.",
            remedy="Use the target's key; `bcdedit /dbgsettings` shows it there.",
        )
    if summary.packets:
        return ConfigurationError(
            f"None of {summary.packets} KDNET datagrams in {capture} can be read.",
            remedy="Start the capture before the target starts: the session's key is agreed on then.",
        )
    return ConfigurationError(
        f"{capture} holds no datagram of the kernel debugger's network protocol.",
        remedy="Capture whole frames of the target's UDP port; `bcdedit /dbgsettings` shows it there.",
    )


_Event = tuple[int, float, str, Mapping[str, object]]
"""Frame number from 1, UNIX time in seconds, kind, fields."""


def _capture_events(capture: Path, decoder: object) -> Iterator[_Event]:
    from harness.debuggers.kd.capture.decode import CaptureDecoder
    from harness.debuggers.kd.capture.file import udp_datagrams
    from harness.debuggers.kd.capture.udp import FrameCounts

    assert isinstance(decoder, CaptureDecoder)
    counts = decoder.summary.frames = FrameCounts()
    for datagram in udp_datagrams(capture, counts):
        if found := decoder.decode(datagram.payload):
            yield datagram.frame, datagram.time, *found


def _has_both_sides(capture: Path) -> bool:
    from harness.debuggers.kd.capture.file import opened
    from harness.debuggers.kd.capture.recording import is_recording

    try:
        with opened(capture) as file:
            return is_recording(file.read(64))
    except KdError as error:
        raise ConfigurationError(error.message, remedy=error.remedy) from error


def _serial_events(capture: Path, decoder: RecordingDecoder, *, both_sides: bool) -> Iterator[_Event]:
    from harness.debuggers.kd.capture.file import opened
    from harness.debuggers.kd.capture.recording import read_recording

    number = count(1)
    with opened(capture) as file:
        time = 0.0
        if both_sides:
            for passed in read_recording(file):
                time = passed.time
                for found in decoder.decode(passed.data, from_host=passed.from_host):
                    yield next(number), time, *found
        else:
            while data := file.read(READ_SIZE):
                for found in decoder.decode(data, from_host=False):
                    yield next(number), time, *found
        for found in decoder.finish():
            yield next(number), time, *found


def key_of(text: str | None, file: Path | None) -> Key:
    """The key that --key or --key-file gives."""
    if (text is None) == (file is None):
        raise ConfigurationError("No KDNET key is given.", remedy="Give either --key-file or --key.")
    return Key.parse(text) if text is not None else Key.read(file) if file is not None else Key.generate()


def _human(kind: str, fields: Mapping[str, object]) -> str:
    """One line about an event; everything in it may come from a hostile guest."""
    from harness.debuggers.kd.show import summary_line

    if kind == "dbgprint":
        return printable(str(fields["text"]).rstrip("\n").replace("\n", " | "))
    return printable(f"[{summary_line(kind, fields)}]")


@kd.command()
@click.option("--port", type=click.IntRange(0, 65535), help="UDP port that the target sends to.")
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--key", "key_text", metavar="W.X.Y.Z", help="The connection's key; see --key-file.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the key: unlike --key, no other user sees it.",
)
@click.option("--serial", type=click.Path(path_type=Path), help="Socket, pty or device of a serial line.")
@click.option("--hold", is_flag=True, help="Leave the target halted after an exception.")
@click.option(
    "--symbols",
    "symbol_path",
    metavar="PATH",
    default="",
    help="Drivers and PDBs for the report of a bugcheck, as for `winvm dump`; else _NT_SYMBOL_PATH.",
)
@click.option("--break-in", is_flag=True, help="Halt the target as soon as it connects.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def listen(
    port: int | None,
    bind: str,
    key_text: str | None,
    key_file: Path | None,
    serial: Path | None,
    hold: bool,
    symbol_path: str,
    break_in: bool,
    as_json: bool,
) -> None:
    """Act as a target's kernel debugger until Ctrl-C.

    winvm continues the target at once, unless --hold is given.

    Ctrl-\\ (SIGQUIT) halts a running target, and continues a held one.
    """
    from harness.commands.dump_page import chosen_symbols
    from harness.debuggers.kd.com.wire import KdcomWire
    from harness.debuggers.kd.host import KdHost
    from harness.debuggers.kd.net.wire import KdnetWire
    from harness.debuggers.kd.wire import Wire

    if (port is None) == (serial is None):
        raise ConfigurationError("There is nothing to listen on.", remedy="Give either --port or --serial.")
    wire: Wire
    if serial is not None:
        wire = KdcomWire.open(serial)
        click.echo(f"Listening on {serial}.", err=True)
    else:
        net = wire = KdnetWire(key_of(key_text, key_file), port or 0, bind)
        click.echo(f"Listening on {bind}, UDP port {net.port}.", err=True)
    host = KdHost(wire, Shown(as_json=as_json), hold=hold, symbols=chosen_symbols(symbol_path))
    signal.signal(signal.SIGQUIT, lambda _signal, _frame: host.resume() if host.held else host.break_in())
    if break_in:
        host.break_in()
    serve(host)


def serve(host: KdHost) -> None:
    """Acts as a target's kernel debugger until Ctrl-C, or until the line closes."""
    try:
        while True:
            host.step()
    finally:
        host.close()


class Shown:
    """Prints events as they come: readable lines, or one JSON object per line."""

    def __init__(self, *, as_json: bool) -> None:
        from harness.debuggers.kd.text import PrintedLines

        self._as_json = as_json
        self._lines = PrintedLines()

    def __call__(self, event: Event) -> None:
        """Prints one event."""
        if self._as_json:
            click.echo(json.dumps({"time": event.time, "kind": event.kind, **event.fields}))
            return
        if event.kind == "dbgprint":
            said = [printable(line) for line in self._lines.feed(str(event.fields["text"]))]
        else:
            said = [*map(printable, self._lines.flush()), _human(event.kind, event.fields)]
            if event.report is not None:
                from harness.dumps.text import page

                said += [f"  {line}" for line in page(event.report)]
        for line in said:
            click.echo(line)
