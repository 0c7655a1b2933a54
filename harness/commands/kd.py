"""`winvm kd decode|key|listen`: what a Windows kernel says to its debugger, recorded or live."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from harness.debuggers.kd_key import Key
from harness.errors import ConfigurationError, KdError
from harness.terminal import printable

READ_SIZE = 1 << 16


@click.group()
def kd() -> None:
    """Kernel debugging: decode a capture, make a key, listen to a target."""


@kd.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def key(file: Path | None) -> None:
    """Make a key for KDNET: printed, or written to the new FILE that only its owner may read."""
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
@click.option("--serial", is_flag=True, help="CAPTURE holds the raw bytes of one side of a serial line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def decode(capture: Path, key_text: str | None, key_file: Path | None, serial: bool, as_json: bool) -> None:
    """Print what a recorded kernel said: pcap, pcapng, or a serial line's bytes; gzip too."""
    from harness.debuggers.kd_decode import CaptureDecoder, SerialDecoder, Summary

    summary: Summary
    if serial:
        decoder = SerialDecoder()
        summary, events = decoder.summary, _serial_events(capture, decoder)
    else:
        capture_decoder = CaptureDecoder(_key(key_text, key_file))
        summary, events = capture_decoder.summary, _capture_events(capture, capture_decoder)
    damage: KdError | None = None
    try:
        for frame, time, kind, fields in events:
            if as_json:
                click.echo(json.dumps({"frame": frame, "time": time, "kind": kind, **fields}))
            elif kind not in ("ack", "control"):
                click.echo(f"{frame:>6} {_human(kind, fields)}")
    except KdError as error:  # what was read before still counts
        damage = error
    if as_json:
        click.echo(json.dumps({"kind": "summary", **summary.fields()}))
    else:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.by_kind.most_common())
        click.echo(f"{summary.packets} packets: {kinds or 'none that this key opens'}")
        for warning in summary.warnings:
            click.echo(warning)
    if damage is not None:
        raise damage
    if summary.bad_mac and not summary.by_kind:
        raise ConfigurationError(
            f"Not one of {summary.packets} KDNET datagrams was made with this key.",
            remedy="Use the key that the target was set up with: `bcdedit /dbgsettings` shows it.",
        )


_Event = tuple[int, float, str, Mapping[str, object]]
"""Frame number from 1, UNIX time in seconds, kind, fields."""


def _capture_events(capture: Path, decoder: object) -> Iterator[_Event]:
    from harness.debuggers.capture_file import udp_datagrams
    from harness.debuggers.kd_decode import CaptureDecoder

    assert isinstance(decoder, CaptureDecoder)
    for datagram in udp_datagrams(capture):
        if found := decoder.decode(datagram.payload):
            yield datagram.frame, datagram.time, *found


def _serial_events(capture: Path, decoder: object) -> Iterator[_Event]:
    from harness.debuggers.kd_decode import SerialDecoder

    assert isinstance(decoder, SerialDecoder)
    number = 0
    with capture.open("rb") as file:
        while data := file.read(READ_SIZE):
            for found in decoder.decode(data):
                number += 1
                yield number, 0.0, *found


def _key(text: str | None, file: Path | None) -> Key:
    if (text is None) == (file is None):
        raise ConfigurationError("KDNET needs its key.", remedy="Give either --key-file or --key.")
    return Key.parse(text) if text is not None else Key.read(file) if file is not None else Key.generate()


def _human(kind: str, fields: Mapping[str, object]) -> str:
    """One line about an event; everything in it may come from a hostile guest."""
    if kind == "dbgprint":
        return printable(str(fields["text"]).rstrip("\n").replace("\n", " | "))
    shown = ", ".join(
        f"{name} {value:#x}" if isinstance(value, int) and not isinstance(value, bool) else f"{name} {value}"
        for name, value in fields.items()
        if name not in ("from", "sequence")
    )
    return printable(f"[{kind}] {shown}")
