"""`winvm image build|list`: guest images in the bench's home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.display.terminal import printable
from harness.errors import ConfigurationError
from harness.project import config as configuration

if TYPE_CHECKING:
    from harness.cli import Invocation
    from harness.images.windows.preparation import Request
    from harness.images.windows.provisioning import Driver
    from harness.journal import Journal

_file = click.Path(path_type=Path, dir_okay=False)


@click.group()
def image() -> None:
    """Build and list guest images."""


@image.command()
@click.argument("name", default="wine")
@click.option("--iso", type=_file, metavar="PATH", help="The Windows installation ISO.")
@click.option("--virtio-iso", type=_file, metavar="PATH", help="The virtio-win ISO, for virtio hardware.")
@click.option(
    "--openssh",
    type=_file,
    metavar="PATH",
    help="Win32-OpenSSH's OpenSSH-Win64.zip; by default Windows downloads its own where it brings none.",
)
@click.option(
    "--dry-run",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write all that would be used to a new folder, and install nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
@click.pass_obj
def build(
    invocation: Invocation,
    name: str,
    iso: Path | None,
    virtio_iso: Path | None,
    openssh: Path | None,
    target: Path | None,
    as_json: bool,
) -> None:
    """Build an image, unless one with the same inputs is there.

    NAME is wine (the default), or a Windows profile: windows-10, windows-11, windows-server-2019,
    windows-server-2022, windows-server-2025. Those are installed from your own ISO.
    """
    if name == "wine":
        if iso or virtio_iso or openssh or target:
            raise ConfigurationError(
                "The image wine is made from packages: it takes no ISO and has no dry run.",
                remedy="Name a Windows profile, such as windows-11, or leave these options out.",
            )
        _build_wine(as_json=as_json)
        return
    request = _request(invocation, name, iso, virtio_iso, openssh)
    if target:
        _dry_run(request, target, as_json=as_json)
    else:
        _build_windows(request, as_json=as_json)


@image.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(as_json: bool) -> None:
    """List the images that are there, those of each flavour newest first."""
    from harness.images.base import list_images
    from harness.images.windows.sealed import list_windows_images

    home = configuration.home()
    for found in (*list_images(home), *list_windows_images(home)):
        size = found.disk.stat().st_size
        if as_json:
            click.echo(json.dumps({"folder": str(found.folder), "bytes": size, **found.versions}))
        else:
            versions = " ".join(f"{name} {value}" for name, value in found.versions.items())
            click.echo(printable(f"{found.folder.name}  {size / 2**20:.0f} MiB  {versions}"))


def _build_wine(*, as_json: bool) -> None:
    from harness.images import wine

    with _told() as journal:
        built = wine.ensure(configuration.home(), journal)
    described = {"folder": str(built.folder), "digest": built.digest, **built.versions}
    click.echo(json.dumps(described) if as_json else described["folder"])


def _build_windows(request: Request, *, as_json: bool) -> None:
    from harness.images.windows.build import build as build_windows

    with _told() as journal:
        built = build_windows(request, configuration.home(), journal)
    described = {"folder": str(built.folder), "digest": built.digest, **built.versions}
    click.echo(json.dumps(described) if as_json else described["folder"])


def _dry_run(request: Request, target: Path, *, as_json: bool) -> None:
    from harness.images.windows.dryrun import dry_run

    with _told() as journal:
        written = dry_run(request, configuration.home(), target, journal)
    if as_json:
        click.echo(json.dumps({"folder": str(target), "files": [str(path) for path in written]}))
    else:
        for path in written:
            click.echo(str(path))


def _request(
    invocation: Invocation, name: str, iso: Path | None, virtio_iso: Path | None, openssh: Path | None
) -> Request:
    from harness.images.windows.media import windows_profiles
    from harness.images.windows.preparation import Request

    profiles = {profile.name: profile for profile in windows_profiles()}
    if name not in profiles:
        raise ConfigurationError(
            f"There is no image {name!r}.", remedy=f"Known images: wine, {', '.join(profiles)}."
        )
    if iso is None:
        raise ConfigurationError(
            f"{name} is installed from an ISO, and none is named.",
            remedy=f"Run: winvm image build {name} --iso PATH",
        )
    return Request(profiles[name], iso, virtio_iso, openssh, _driver(invocation))


def _driver(invocation: Invocation) -> Driver | None:
    """The driver of the project that this runs in, if it runs in one; its certificate is made if need be."""
    from harness.images.windows.provisioning import Driver
    from harness.toolchain.sign import TestCertificate

    try:
        path = invocation.config_path or configuration.find(Path.cwd())
    except ConfigurationError:
        return None
    config = configuration.load(path)
    certificate = TestCertificate.ensure(config.build_folder / "certificate")
    return Driver(config.driver.name, certificate.certificate.read_bytes())


@contextmanager
def _told() -> Iterator[Journal]:
    """A journal whose steps a person sees."""
    from harness.display.progress import Progress
    from harness.journal import Journal

    journal, progress = Journal(), Progress()
    journal.listen(progress)
    try:
        yield journal
    finally:
        progress.close()
