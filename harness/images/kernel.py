"""Kernel and initial RAM disk for direct boot: BusyBox, modules, one script; no udev, no compression.

The RAM disk is not compressed: QEMU loads megabytes in no time, an emulated processor unpacks them slowly.
"""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import ImageError
from harness.images.contained import Toolbox
from harness.images.recipe import Recipe

_APPLETS = ("sh", "mount", "insmod", "switch_root")
_FILE, _FOLDER, _LINK = 0o100000, 0o040000, 0o120000


def unpack_kernel(packages: Path, tools: Toolbox) -> Path:
    """Unpacks the one kernel .deb in `packages`; returns the unpacked tree.

    Raises:
        ImageError: there is not exactly one, or it cannot be unpacked.
    """
    found = sorted(packages.glob("*.deb"))
    if len(found) != 1:
        raise ImageError(
            f"The package mirror gave {len(found)} kernels.", remedy="Run: apt-get update, then build again."
        )
    tree = packages / "tree"
    tools.run(["dpkg-deb", "-x", str(found[0]), str(tree)])
    return tree


def write_kernel(tree: Path, recipe: Recipe, busybox: Path, folder: Path) -> str:
    """Writes `vmlinuz` and `initrd.img` into `folder`; returns the kernel's version.

    Raises:
        ImageError: the package lacks the kernel or a module.
    """
    kernel = next(tree.glob("boot/vmlinuz-*"), None)
    if kernel is None:
        raise ImageError("The kernel package holds no boot/vmlinuz-*.", remedy=_remedy(recipe))
    shutil.copyfile(kernel, folder / "vmlinuz")
    modules = {name: _module(tree, name, recipe) for name in recipe.modules}
    init = (recipe.folder / "initrd" / "init").read_bytes()
    (folder / "initrd.img").write_bytes(initrd(init, busybox.read_bytes(), modules))
    return kernel.name.removeprefix("vmlinuz-")


def initrd(init: bytes, busybox: bytes, modules: dict[str, bytes]) -> bytes:
    """The cpio archive: `init` is process 1; /modules holds the modules and their load order."""
    entries: list[tuple[str, int, bytes]] = [
        *((folder, _FOLDER | 0o755, b"") for folder in ("bin", "dev", "modules", "root")),
        ("bin/busybox", _FILE | 0o755, busybox),
        *((f"bin/{applet}", _LINK | 0o777, b"busybox") for applet in _APPLETS),
        *((f"modules/{name}.ko", _FILE | 0o644, content) for name, content in modules.items()),
        ("modules/order", _FILE | 0o644, "".join(f"{name}\n" for name in modules).encode()),
        ("init", _FILE | 0o755, init),
    ]
    return b"".join(_newc(entries))


def _module(tree: Path, name: str, recipe: Recipe) -> bytes:
    path = next(tree.rglob(f"{name}.ko.xz"), None)
    if path is None:
        raise ImageError(f"The kernel package holds no module {name}.", remedy=_remedy(recipe))
    try:
        return lzma.decompress(path.read_bytes())
    except lzma.LZMAError as error:
        raise ImageError(f"{path.name} cannot be unpacked: {error}.", remedy=_remedy(recipe)) from error


def _newc(entries: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """The kernel's cpio format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    for inode, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        encoded = name.encode() + b"\0"
        links = 2 if mode & _FOLDER == _FOLDER else 1
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
        yield header + b"\0" * (-len(header) % 4)
        yield content + b"\0" * (-len(content) % 4)


def _remedy(recipe: Recipe) -> str:
    return f"Name another kernel_package in {recipe.folder / 'recipe.toml'}."
