"""`winvm image build|provision|report|key|list|profiles|probe|capabilities`: images in the bench's home."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from harness.commands import warn_of_broken_flavours
from harness.display.terminal import paragraph, printable
from harness.errors import ConfigurationError
from harness.project import config as configuration

if TYPE_CHECKING:
    from harness.cli import Invocation
    from harness.guests.flavour import BuildOption
    from harness.journal import Journal
    from harness.project.config import Config


class _BuildCommand(click.Command):
    """Has the options of all image flavours, and looks them up when it is called."""

    left_out: ClassVar[frozenset[str]] = frozenset()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from harness.guests.registry import build_options

        options = [_option(option) for option in build_options() if option.name not in self.left_out]
        argument, *own = super().get_params(ctx)
        return [argument, *options, *own]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        warn_of_broken_flavours()  # first: an option that is unknown may be one of theirs
        return super().parse_args(ctx, args)


class _ProvisionCommand(_BuildCommand):
    """The options without those that Setup alone uses."""

    left_out = frozenset({"iso", "virtio-iso", "dry-run", "resume", "keep", "edition"})


def _option(option: BuildOption) -> click.Parameter:
    names = [f"--{option.name}", f"option_{option.name}".replace("-", "_")]
    if option.kind == "flag":
        return click.Option(names, is_flag=True, help=option.help)
    kind = click.Path(path_type=Path, dir_okay=option.folder, file_okay=not option.folder)
    return click.Option(
        names, type=str if option.kind == "word" else kind, metavar=option.metavar, help=option.help
    )


@click.group()
def image() -> None:
    """Build and list guest images."""


@image.command(cls=_BuildCommand)
@click.argument("name", default=configuration.DEFAULT_PROFILE)
@click.option(
    "--mirror",
    metavar="URL",
    help="Debian mirror of the wine image; default is WINVM_MIRROR, else the host's.",
)
@click.option(
    "--console", is_flag=True, help="Say how to watch the installation; open a viewer if there is one."
)
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
@click.pass_obj
def build(
    invocation: Invocation,
    /,
    name: str,
    mirror: str | None,
    console: bool,
    as_json: bool,
    **options: Path | str | bool | None,
) -> None:
    """Build an image, unless one with the same inputs exists.

    NAME is wine (the default), or a Windows profile: windows-10, windows-11, windows-server-2019,
    windows-server-2022, windows-server-2025, or your own. Windows is installed from your own ISO. reactos-x64
    is made from the live CD of a ReactOS that was built for WinDbg; no run uses it yet.
    """
    from harness.images.mirror import chosen

    chosen(mirror)
    _build(invocation, name, options, console=console, as_json=as_json, mirror=mirror)


@image.command(cls=_ProvisionCommand)
@click.argument("name")
@click.option("--console", is_flag=True, help="Say how to watch it; open a viewer if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
@click.pass_obj
def provision(
    invocation: Invocation, /, name: str, console: bool, as_json: bool, **options: Path | str | bool | None
) -> None:
    """Provision an installed Windows again, without Windows Setup, and seal the image.

    It needs the end of Setup, which a failed build keeps, and a build with --keep.
    """
    _build(invocation, name, options, console=console, as_json=as_json, again=True)


@image.command()
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The archive to write.")
@click.pass_obj
def report(invocation: Invocation, /, name: str, output: Path | None) -> None:
    """Pack the evidence of a failed installation into one zip, to attach to a bug report.

    NAME is the profile. The zip holds the guest's journal, screenshots, the logs from its disk, the profile
    and versions of this host's programs. It holds no password, key or answer file.
    """
    from harness.images.evidence import pack
    from harness.images.hostfacts import facts
    from harness.project.profiles import find_profile

    profile = find_profile(name, _project(invocation))
    target = output or Path(f"winvm-{name}-report.zip")
    packed = pack(configuration.home(), name, target, facts(profile))
    click.echo(f"{target}: {len(packed)} files")


def _build(
    invocation: Invocation,
    name: str,
    given: Mapping[str, Path | str | bool | None],
    *,
    console: bool,
    as_json: bool,
    mirror: str | None = None,
    again: bool = False,
) -> None:
    """Builds, or provisions again, and prints what was made."""
    from harness.guests.flavour import BuildRequest, DryRun
    from harness.guests.registry import build_options, flavour_of
    from harness.project.profiles import find_profile, listed, misnamed

    project = _project(invocation)
    known = [one.name for one in listed(project)]
    if name not in known and all(file.stem != name for file in misnamed(project)):
        known.sort(key=lambda one: (one != configuration.DEFAULT_PROFILE, one))
        raise ConfigurationError(f"There is no image {name!r}.", remedy=f"Known images: {', '.join(known)}.")
    profile = find_profile(name, project)
    paths: dict[str, Path] = {}
    words: dict[str, str] = {}
    for option in build_options():
        value = given.get(f"option_{option.name}".replace("-", "_"))
        if isinstance(value, Path):
            paths[option.name] = value
        elif value:
            words[option.name] = value if isinstance(value, str) else ""
    flavour = flavour_of(profile)
    if again and all(option.name != "keep" for option in flavour.build_options):
        raise ConfigurationError(
            f"The image {name} is not made in stages.", remedy=f"Build it again: winvm image build {name}"
        )
    request = BuildRequest(
        profile,
        paths,
        configuration.home(),
        lambda: _config(invocation),
        words=words,
        mirror=mirror,
        again=again,
        shown=lambda folder: _show(folder, name) if console else None,
    )
    with _told() as journal:
        built = flavour.build(request, journal)
    if isinstance(built, DryRun):
        files = [str(path) for path in built.files]
        described: dict[str, object] = {"folder": str(built.folder), "files": files}
        text = "\n".join(files)
    else:
        described = {"folder": str(built.folder), "digest": built.digest, **built.versions}
        text = str(built.folder)
    click.echo(json.dumps(described) if as_json else text)


@image.command()
@click.argument("name", default=configuration.DEFAULT_PROFILE)
@click.pass_obj
def key(invocation: Invocation, /, name: str) -> None:
    """Print the key of an image, for a cache of `images` in WINVM_HOME.

    Equal inputs have equal keys: the recipe, the guest's programs and the code that builds the image. Needs
    neither libvirt nor an image.
    """
    from harness.guests.registry import image_key

    click.echo(image_key(name, _project(invocation)))


@image.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_(as_json: bool) -> None:
    """List the images on this host, those of each flavour newest first."""
    from harness.guests.registry import flavours

    warn_of_broken_flavours()
    home = configuration.home()
    for found in (image for flavour in flavours() for image in flavour.images(home)):
        try:
            size = found.disk.stat().st_size
        except OSError as error:
            click.echo(
                printable(f"{found.folder.name}  damaged: {error.strerror}: {error.filename}"), err=True
            )
            continue
        if as_json:
            more = {"warnings": found.warnings} if found.warnings else {}
            click.echo(json.dumps({"folder": str(found.folder), "bytes": size, **found.versions, **more}))
        else:
            versions = " ".join(f"{name} {value}" for name, value in found.versions.items())
            click.echo(printable(f"{found.folder.name}  {size / 2**20:.0f} MiB  {versions}"))
            for warning in found.warnings:
                click.echo(printable(f"    warning: {warning}"))


@image.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_obj
def profiles(invocation: Invocation, as_json: bool) -> None:
    """List the guest profiles and their files.

    winvm looks for a profile in profiles/ beside winvm.toml, then in WINVM_HOME/profiles, then among its
    own.
    """
    from harness.project.profiles import listed, misnamed, misnamed_error

    for file in misnamed(_project(invocation)):
        click.echo(paragraph(misnamed_error(file)), err=True)
    for found in listed(_project(invocation)):
        if as_json:
            line = {"name": found.name, "origin": found.origin, "file": str(found.file)}
            click.echo(json.dumps(line))
        else:
            click.echo(printable(f"{found.name:24} {found.origin:8} {found.file}"))


@image.command()
@click.argument("name", default=configuration.DEFAULT_PROFILE)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, as the manifest has them.")
@click.pass_obj
def probe(invocation: Invocation, /, name: str, as_json: bool) -> None:
    """Find out again what the guest of a profile can show.

    Small probes run in a guest, one for each capability; what they find is written into the image's manifest.
    The first run in an image does the same by itself.
    """
    from harness.project.profile import CAPABILITIES
    from harness.project.profiles import find_profile
    from harness.run.probing import probe as run_probes

    with _told() as journal:
        found = run_probes(find_profile(name, _project(invocation)), journal)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    for capability in sorted(CAPABILITIES):
        one = found.of(capability)
        click.echo(printable(f"{capability:22} {one.verdict:10} {one.message}").rstrip())


@image.command()
def capabilities() -> None:
    """Print a Markdown table of what the images on this host can show."""
    from harness.guests.registry import flavours
    from harness.project import measured

    home = configuration.home()
    images = [image for flavour in flavours() for image in flavour.images(home)]
    click.echo(
        measured.table({found.folder.name: measured.read(found.manifest) for found in images}), nl=False
    )


def _show(machine: Path, name: str) -> None:
    """Says on stderr how to see the machine's screen, and opens a viewer."""
    from harness.commands.console import directions, view
    from harness.machine.channels import VNC_SOCKET
    from harness.machine.console import Console

    found = Console(f"{machine.parent.name}/{machine.name}", name, machine / VNC_SOCKET)
    for line in directions(found).splitlines():
        click.echo(printable(line), err=True)
    view(found)


def _project(invocation: Invocation) -> Path | None:
    """The folder of winvm.toml, if this runs in a project."""
    try:
        return (invocation.config_path or configuration.find(Path.cwd())).resolve().parent
    except ConfigurationError:
        return None


def _config(invocation: Invocation) -> Config | None:
    """The configuration of the project that this runs in; None outside a project."""
    try:
        path = invocation.config_path or configuration.find(Path.cwd())
    except ConfigurationError:
        return None
    return configuration.load(path)


@contextmanager
def _told() -> Iterator[Journal]:
    """A journal whose steps are shown on the terminal."""
    from harness.display.progress import Progress
    from harness.journal import Journal

    journal, progress = Journal(), Progress()
    journal.listen(progress)
    try:
        yield journal
    finally:
        progress.close()
