"""Writes to a folder everything that an installation would use, and starts nothing.

    autounattend.xml    the answer file            configuration.iso   the second CD, and
    domain.xml          libvirt's domain           configuration.txt   what is on it
    qemu.txt            QEMU's command line        media.json          what the ISO holds, and the choice
    secrets/            made for this folder; a real installation makes its own

The folder is as secret as an image: mode 0700, files 0600.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.guests.windows.image.build import PROBE_S
from harness.guests.windows.image.configuration import ANSWER_FILE, listing, write_iso
from harness.guests.windows.image.credentials import make_windows_secrets, write_secret
from harness.guests.windows.image.preparation import Preparation, Request, prepare
from harness.guests.windows.spec.domain import WindowsSpec
from harness.host.ports import choose_ports
from harness.journal import Journal, StepKind
from harness.machine.accelerator import choose_accelerator
from harness.machine.connection import translated
from harness.machine.domain import ADDRESS, HostSide
from harness.machine.protocol import Channels
from harness.machine.runfolder import RunFolder

NAME = "guest"
KEY = "000000000000"


def dry_run(request: Request, home: Path, target: Path, journal: Journal) -> list[Path]:
    """Fills `target`, which must be new or empty; returns the files.

    Raises:
        ConfigurationError: `target` holds something, or a file that the request names cannot be used.
        HostError, ImageError, DeadlineError: see `prepare`.
    """
    _claim(target)
    preparation = prepare(request, home, journal)
    secrets = make_windows_secrets(target / "secrets")
    files = preparation.configuration(secrets)
    settings = target / "configuration.iso"
    write_iso(settings, files)
    xml = _domain(preparation, settings, home)
    texts = {
        ANSWER_FILE: files[ANSWER_FILE].decode("utf-8"),
        "configuration.txt": listing(files),
        "domain.xml": xml,
        "media.json": json.dumps(_found(preparation), indent=2) + "\n",
    }
    with journal.step(StepKind.IMAGE, "image: QEMU's command line"):
        texts["qemu.txt"] = _command_line(xml, home)
    for name, text in texts.items():
        write_secret(target / name, text.encode("utf-8"))
    return sorted(path for path in target.rglob("*") if path.is_file())


def _claim(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.chmod(0o700)
        used = next(target.iterdir(), None)
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written to: {error.strerror}.", remedy="Name a new folder: --dry-run FOLDER."
        ) from error
    if used is not None:
        raise ConfigurationError(f"{target} is not empty.", remedy="Name a new folder: --dry-run FOLDER.")


def _domain(preparation: Preparation, settings: Path, home: Path) -> str:
    request = preparation.request
    assert request.iso
    accelerator = choose_accelerator(home / "accelerator.json", Deadline.after(PROBE_S)).accelerator
    media = (request.iso.resolve(), settings.resolve())
    folder = settings.resolve().parent
    spec = WindowsSpec(folder, request.profile, accelerator, media=media, online=preparation.online)
    channels = Channels.inside(folder)
    serials = (channels.console, channels.journal, channels.com3, channels.com4)
    ports = choose_ports(request.profile.hardware.forwards, ADDRESS)
    host = HostSide(folder / "disk.qcow2", serials, channels.dbgprint, ports, channels.clock)
    return spec.render(host, name=NAME, key=KEY)


def _command_line(xml: str, home: Path) -> str:
    """QEMU's command line as libvirt would run it; without libvirt, the reason why it is not known."""
    try:
        with RunFolder.create(home / "runs") as folder:
            connection = folder.connection
            with translated("Asking libvirt for QEMU's command line"):
                line = str(connection.api.domainXMLToNative("qemu-argv", xml, 0))
    except HostError as error:
        return f"not known: {error}\n"
    return line.replace(" -", " \\\n  -") + "\n"


def _found(preparation: Preparation) -> dict[str, object]:
    media, choice = preparation.media, preparation.choice
    return {
        "iso": str(media.iso),
        "bytes": media.size,
        "file": media.file,
        "images": [asdict(image) for image in media.images],
        "index": choice.image.index,
        "edition": choice.image.edition,
        "language": choice.language,
        "evaluation days": choice.evaluation_days,
        "product key": choice.product_key,
        "openssh": preparation.ssh,
        "online": preparation.online,
        "drivers": sorted(preparation.drivers),
    }
