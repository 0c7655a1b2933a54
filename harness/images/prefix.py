"""The Wine prefix (the guest's C: drive), made natively on the host inside the guest's root file system.

Natively it takes ten seconds; inside the emulated guest it takes minutes.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from harness.images.base import Secrets
from harness.images.contained import Toolbox
from harness.images.recipe import Recipe
from harness.images.rootfs import WINE_PE

PREFIX = Path("winvm/prefix")
"""WINEPREFIX, relative to the root."""
DRIVE_C = PREFIX / "drive_c"
WINRMD = "C:\\winvm\\winrmd.pyz"
"""Where the guest's session finds the WinRM endpoint."""
SERIALD = "C:\\winvm\\seriald.pyz"
"""Where it finds the endpoint of the serial line."""
_FOLDERS = ("dumps", "run", "secrets")


def make_prefix(recipe: Recipe, root: Path, tools: Toolbox) -> None:
    """Creates the prefix with the recipe's registry settings.

    Raises:
        ImageError, HostError: see `ContainedTools.run`.
    """
    (root / PREFIX.parent).mkdir()
    run_wine(root, tools, "$WINELOADER wineboot --init")
    run_wine(
        root,
        tools,
        "cat > /tmp/prefix.reg && $WINELOADER regedit /S Z:/tmp/prefix.reg && rm /tmp/prefix.reg",
        stdin=(recipe.folder / "prefix.reg").read_bytes(),
    )
    # Otherwise a changed time stamp of Wine's own files makes the guest update the prefix at boot.
    (root / PREFIX / ".update-timestamp").write_text("disable\n", encoding="ascii")
    link_builtins(root)


def run_wine(root: Path, tools: Toolbox, command: str, *, stdin: bytes = b"") -> None:
    """Runs a shell command in `root` with the guest's Wine environment, until its Wine server has ended."""
    script = f". /etc/winvm/environment && export WINEDEBUG=-all && {command} && $WINESERVER --wait"
    tools.run(["/bin/sh", "-c", script], root=root, stdin=stdin)


def link_builtins(root: Path) -> int:
    """Replaces the prefix's copies of Wine's builtin modules by hard links to them; returns bytes saved.

    To Windows programs a hard link is an ordinary file, and Wine loads its own file in either case.
    """
    builtins = root / WINE_PE
    saved = 0
    for copy in (root / DRIVE_C).rglob("*"):
        original = builtins / copy.name
        if copy.is_symlink() or not copy.is_file() or not original.is_file():
            continue
        if not copy.samefile(original) and filecmp.cmp(copy, original, shallow=False):
            copy.unlink()
            os.link(original, copy)
            saved += original.stat().st_size
    return saved


def add_winvm(root: Path, winrmd: bytes, seriald: bytes, standby: bytes, secrets: Secrets) -> None:
    """Fills `C:\\winvm` (endpoints, standby interpreter, secrets, empty folders) and sshd's keys."""
    winvm = root / DRIVE_C / "winvm"
    for name in _FOLDERS:
        (winvm / name).mkdir(parents=True)
    (winvm / "secrets").chmod(0o700)
    (winvm / "winrmd.pyz").write_bytes(winrmd)
    (winvm / "seriald.pyz").write_bytes(seriald)
    (winvm / "standby.py").write_bytes(standby)
    for path in (secrets.certificate, secrets.key, secrets.password_file):
        shutil.copy(path, winvm / "secrets" / path.name)
    ssh = root / "etc/ssh"
    for key in ssh.glob("ssh_host_*"):  # made by the package's own set-up
        key.unlink()
    shutil.copy(secrets.host_key.with_suffix(""), ssh / "ssh_host_ed25519_key")
    shutil.copy(secrets.client_key.with_name(f"{secrets.client_key.name}.pub"), ssh / "authorized_keys")
