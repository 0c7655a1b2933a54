"""Small stand-ins for an image build: a source tree with every input, and a build that takes no time."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from harness.deadline import Deadline
from harness.host import resources
from harness.images.credentials import make_secrets
from harness.images.inputs import Inputs
from harness.journal import Journal

DISK = b"a disk" * 1000


def copy_inputs(target: Path) -> tuple[Path, Path]:
    """Copies the repository's vm/ and guest/ inputs below `target`; returns both."""
    vm, guest = target / "vm", target / "guest"
    shutil.copytree(resources.vm_folder() / "wine", vm / "wine")
    for package in ("winrmd", "seriald"):  # with what seriald's links lead to
        shutil.copytree(resources.guest_folder() / package, guest / package)
    (guest / "agent").mkdir()
    shutil.copy(resources.guest_folder() / "agent" / "standby.py", guest / "agent")
    return vm, guest


class FakeBuild:
    """Makes a tiny image; counts its calls, and fails with `error` if that is set."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self, inputs: Inputs, home: Path, work: Path, journal: Journal, deadline: Deadline) -> None:
        self.calls += 1
        image = work / "image"
        image.mkdir()
        (image / "base.qcow2").write_bytes(DISK)
        if self.error:
            raise self.error
        for name in ("vmlinuz", "initrd.img", "exports.json"):
            (image / name).write_bytes(b"{}")
        make_secrets(image / "secrets")
        manifest = {
            "digest": inputs.digest,
            "cmdline": inputs.recipe.cmdline,
            "disk_size": len(DISK),
            "disk_sha256": hashlib.sha256(DISK).hexdigest(),
            "versions": {"wine": "10.0"},
        }
        (image / "manifest.json").write_text(json.dumps(manifest))
