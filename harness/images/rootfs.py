"""The guest's root file system: Debian packages, the recipe's own files, Wine without its debug sections."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.images.contained import Toolbox
from harness.images.recipe import Recipe

WINE_PE = Path("usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
"""Wine's builtin Windows modules, relative to the root."""

_STRIP = "find . -type f -print0 | xargs -0 -n 40 -P 2 llvm-strip-19 --strip-debug"


def make_rootfs(recipe: Recipe, mirror: str, root: Path, kernel_folder: Path, tools: Toolbox) -> None:
    """Unpacks and configures the packages in `root`, and leaves the kernel's .deb in `kernel_folder`.

    Raises:
        ImageError, HostError: see `ContainedTools.run`.
    """
    kernel_folder.mkdir()
    hook = f"sh '{recipe.folder / 'download-kernel'}' '{recipe.kernel_package}' '{kernel_folder}'"
    tools.run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=essential",
            f"--include={','.join(recipe.packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.excluded_paths),
            f"--customize-hook={hook}",
            recipe.suite,
            str(root),
            mirror,
        ],
        environment={"TMPDIR": str(root.parent), "LC_ALL": "C.UTF-8"},
    )


def strip_wine(root: Path, tools: Toolbox) -> None:
    """Strips DWARF from Wine's Windows modules: it is two thirds of their size and makes a minidump slow.

    Must run before `make_prefix`, which copies the modules.
    """
    tools.run(["sh", "-c", f"cd '{root / WINE_PE}' && {_STRIP}"])


def add_overlay(recipe: Recipe, root: Path) -> None:
    """Copies `rootfs/` of the recipe into `root`; files that start with `#!` become executable.

    A wheel carries no file modes, so they are not taken from the source.
    """
    overlay = recipe.folder / "rootfs"
    for source in sorted(overlay.rglob("*")):
        if source.is_file():
            target = root / source.relative_to(overlay)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.read_bytes().startswith(b"#!") else 0o644)
    busybox = root / "usr/bin/busybox"
    for name in ("usr/sbin/init", "usr/bin/ip", "usr/bin/hostname"):
        link = root / name
        link.unlink(missing_ok=True)
        link.symlink_to("/" + str(busybox.relative_to(root)))


def write_banner(root: Path, digest: str, versions: dict[str, str]) -> None:
    """Writes what the guest shows on its screen at boot."""
    clear = "\033[H\033[2J"
    found = "".join(f"  {name:<8} {version}\n" for name, version in versions.items())
    text = f"{clear}\n  winvm guest, image {digest[:12]}\n\n{found}\n"
    (root / "etc/winvm/banner").write_text(text, encoding="utf-8")


def package_version(root: Path, package: str) -> str:
    """The version of an installed Debian package; empty when dpkg's database does not name it."""
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line)
        if fields.get("Package") == package:
            return fields.get("Version", "")
    return ""
