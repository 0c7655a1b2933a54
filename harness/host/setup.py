"""Sets up a host: its packages by vm/host/install.sh, then libvirt's Python module, built against them.

That module is no dependency of winvm's wheel: it has none of its own, and does not build without libvirt's
headers.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from harness.errors import HostError
from harness.host import resources

BINDINGS = "libvirt-python>=10"


def install(*, dry_run: bool) -> None:
    """Installs what is missing; what is installed and how is printed by the programs that do it.

    Args:
        dry_run: only prints what would be installed.

    Raises:
        HostError: the host is refused, root is needed (the line to run is printed), or a program failed.
    """
    folder = resources.vm_folder() / "host"
    script = ["sh", str(folder / "install.sh"), *(["--dry-run"] if dry_run else [])]
    if subprocess.run(script, check=False, stdin=subprocess.DEVNULL).returncode:
        raise HostError("The host's packages are not complete.", remedy="Do what is said above.")
    if importlib.util.find_spec("libvirt"):
        return
    if dry_run:
        print(f"pip: {BINDINGS}")
        return
    _install_bindings(folder / "constraints.txt")


def _install_bindings(constraints: Path) -> None:
    print(f"winvm: building {BINDINGS} for {sys.executable}", flush=True)
    if importlib.util.find_spec("pip") is None:
        raise HostError(
            f"{sys.prefix} has no pip, which libvirt's Python module is built with.",
            remedy=f"Install '{BINDINGS}' there, as winvm was: for example, pipx inject winvm libvirt-python",
        )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run(
        [*pip, "-c", str(constraints), BINDINGS], check=False, stdin=subprocess.DEVNULL
    ).returncode:
        raise HostError(
            f"pip could not install {BINDINGS}.",
            remedy="Correct what pip says above, then run: winvm host install",
        )
