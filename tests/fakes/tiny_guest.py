"""A guest for tests of the machine: 75 bytes that say `boot` on COM1 once, then count `0` to `9` for ever.

It boots in 0.3 s. Digits without a `boot` before them prove that a RAM state was restored and not booted.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from harness.guests.wine.spec import MachineSpec
from harness.machine.accelerator import Accelerator
from harness.project.profile import Hardware, Profile, Timeouts

# A multiboot 1 kernel at 1 MiB in 32-bit code: header with load addresses (flags bit 16), then
#     mov dx, 0x3f8; print "boot\n"; loop: out dx, al for al = '0'..'9', 3,000,000 rounds of LOOP after each
KERNEL = bytes.fromhex(
    "02b0ad1b00000100fe4f51e4000010000000100000000000000000002000100066baf803be45001000ac84c07403eeeb"
    "f8b030eefec03c397602b030b9c0c62d00e2feebee626f6f740a00"
)


def make_image(folder: Path) -> Path:
    """An image folder with that kernel and an empty disk."""
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(KERNEL)
    (folder / "initrd.img").write_bytes(b"unused")
    (folder / "manifest.json").write_text(json.dumps({"cmdline": "unused"}))
    disk = folder / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    disk.chmod(0o444)
    return folder


def profile() -> Profile:
    """The smallest hardware a profile may have."""
    return Profile(
        name="tiny",
        guest="wine",
        hardware=Hardware(memory_mib=256, forwards={"winrm": 5986, "ssh": 22}),
        timeouts=Timeouts(boot=60, restore=30, answer=30, stop=1),
    )


def spec(image: Path, session: str = "") -> MachineSpec:
    """The machine of these tests: always emulated, so that it runs wherever QEMU does."""
    return MachineSpec.checked(image, profile(), Accelerator.TCG, session)
