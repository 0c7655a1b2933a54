"""The Wine guest image: found by the digest of its inputs, or built.

A build works in `images/.build-<random>/` and renames the finished folder into place, so an image is
either complete or absent. The next build removes the folders of killed builds.
"""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.host.private import private_folder
from harness.images import disk, kernel, prefix, rootfs
from harness.images import python_download as windows_python
from harness.images.base import BaseImage, images_folder, load
from harness.images.contained import ContainedTools, check_host
from harness.images.crashdump import add_crashdump
from harness.images.credentials import make_secrets
from harness.images.inputs import Inputs, gather
from harness.images.mirror import debian_mirror
from harness.journal import Journal, StepKind
from harness.toolchain.wdk.exports import kernel_modules
from harness.toolchain.wine_exports import wine_exports

BUILD_S = 1800.0
"""A build takes about 70 s on two cores; the rest is for slow mirrors."""

Build = Callable[[Inputs, Path, Path, Journal, Deadline], None]
"""Makes the sub-folder `image` of a work folder from: inputs, home, work folder, journal, deadline."""

_WORK = ".build-"


def ensure(home: Path, journal: Journal, build: Build | None = None, mirror: str | None = None) -> BaseImage:
    """The image of the installed recipe: the cached one, or a new one (needs root, a minute or two).

    Processes that ask at the same time wait for one build.

    Args:
        build: by default `build_image`.
        mirror: of Debian, for `build_image`; None: see `debian_mirror`.

    Raises:
        HostError: not root, no disk space, a tool is missing.
        ImageError: a build step failed; carries the end of its log.
    """
    inputs = gather()
    image = find(home, inputs)
    if image:
        private_folder(image.folder)  # older versions let others read it
        return image
    private_folder(home)
    images = private_folder(images_folder(home))
    with hold(
        images / ".lock", lambda: journal.note("waiting for another process that is building the guest image")
    ):
        remove_leftovers(images)
        image = find(home, inputs)  # the other process may have built this one
        if image is None:
            image = _build_into_place(inputs, home, journal, build or partial(build_image, mirror=mirror))
    return image


def find(home: Path, inputs: Inputs | None = None) -> BaseImage | None:
    """The cached image of the installed recipe, if there is a whole one; costs a few file reads."""
    try:
        return load(_place(home, inputs or gather()))
    except ImageError:
        return None


def key(inputs: Inputs) -> str:
    """The name of the image's folder; equal inputs have equal keys."""
    return f"wine-{inputs.digest[:12]}"


def remove_leftovers(images: Path) -> list[Path]:
    """Removes what killed builds left under `images`; the caller holds the build lock."""
    found = sorted(images.glob(f"{_WORK}*"))
    for folder in found:
        shutil.rmtree(folder)
    return found


def build_image(
    inputs: Inputs,
    home: Path,
    work: Path,
    journal: Journal,
    deadline: Deadline,
    *,
    mirror: str | None = None,
) -> None:
    """The build itself, step by step."""
    check_host()
    disk.check_space(home)
    recipe, root, packages, image = inputs.recipe, work / "root", work / "packages", work / "image"
    tools = ContainedTools(build_log(home), deadline)
    image.mkdir()
    with journal.step(StepKind.IMAGE, "image: Windows Python, downloaded by hash"):
        sdist = windows_python.download(recipe, home / "downloads", tools)
    with journal.step(StepKind.IMAGE, "image: Debian and Wine packages"):
        rootfs.make_rootfs(recipe, debian_mirror(given=mirror), root, packages, tools)
        rootfs.add_overlay(recipe, root)
    with journal.step(StepKind.IMAGE, "image: Wine without debug sections"):
        rootfs.strip_wine(root, tools)
    with journal.step(StepKind.IMAGE, "image: Wine prefix"):
        prefix.make_prefix(recipe, root, tools)
    with journal.step(StepKind.IMAGE, "image: Windows Python, signatures verified"):
        windows_python.install(recipe, sdist, root, tools)
    with journal.step(StepKind.IMAGE, "image: secrets, kernel, initial RAM disk"):
        winrmd = windows_python.compile_zipapp(inputs.winrmd, prefix.WINRMD, root, tools)
        seriald = windows_python.compile_zipapp(inputs.seriald, prefix.SERIALD, root, tools)
        prefix.add_winvm(root, winrmd, seriald, inputs.standby, make_secrets(image / "secrets"))
        add_crashdump(recipe, root, work, tools)
        tree = kernel.unpack_kernel(packages, tools)
        release = kernel.write_kernel(tree, recipe, root / "usr/bin/busybox", image)
        versions = _versions(root, inputs, release)
        rootfs.write_banner(root, inputs.digest, versions)
        exports = {
            name: wine_exports(module)
            for name in kernel_modules()
            if (module := root / rootfs.WINE_PE / name).is_file()
        }
        (image / "exports.json").write_text(json.dumps(exports), encoding="utf-8")
    with journal.step(StepKind.IMAGE, "image: disk"):
        disk.write_disk(root, image / "base.qcow2", recipe.disk_mib, tools)
    _write_manifest(image, inputs, versions)


def build_log(home: Path) -> Path:
    """Output of the tools of the last build."""
    return images_folder(home) / "build.log"


def _build_into_place(inputs: Inputs, home: Path, journal: Journal, build: Build) -> BaseImage:
    place = _place(home, inputs)
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=place.parent))
    build_log(home).write_bytes(b"")
    # Guest files are made in here by root-owned tools that must be able to look up the path.
    work.chmod(0o755)
    try:
        with journal.step(StepKind.IMAGE, "image: build", digest=inputs.digest):
            build(inputs, home, work, journal, Deadline.after(BUILD_S))
            if place.exists():  # damaged, or `find` had found it
                shutil.rmtree(place)
            private_folder(work / "image").rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load(place)


def _place(home: Path, inputs: Inputs) -> Path:
    return images_folder(home) / key(inputs)


def _versions(root: Path, inputs: Inputs, kernel_release: str) -> dict[str, str]:
    """The versions that a report names."""
    return {
        "debian": (root / "etc/debian_version").read_text(encoding="ascii").strip(),
        "kernel": kernel_release,
        "wine": rootfs.package_version(root, "wine"),
        "python": inputs.recipe.python.version,
    }


def _write_manifest(image: Path, inputs: Inputs, versions: dict[str, str]) -> None:
    base = image / "base.qcow2"
    manifest = {
        "digest": inputs.digest,
        "cmdline": inputs.recipe.cmdline,
        "disk_size": base.stat().st_size,
        "disk_sha256": file_sha256(base),
        "versions": versions,
        "built": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    (image / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
