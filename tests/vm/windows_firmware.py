"""A process that boots Windows domains without a Windows: firmware, and boot sectors of a few bytes.

`python -m tests.vm.windows_firmware WORK ARGUMENTS...` does one piece of work and prints what it saw as JSON.
libvirt's driver allows one root a process, so this is one.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.windows.spec.domain import KD_SOCKET, NVRAM, WindowsSpec
from harness.guests.windows.spec.profile import WindowsProfile
from harness.machine.accelerator import Accelerator
from harness.machine.machine import LibvirtMachine
from harness.machine.protocol import Machine, Panic
from harness.machine.ready import launch
from harness.machine.runfolder import RunFolder
from harness.project import config
from tests.fakes.profiles import windows_profile

BOOT_S = 90.0
SHELL = "UEFI Interactive Shell"
"""What OVMF starts when its boot manager found nothing to boot."""

PANICS = bytes.fromhex(
    "baf802" "b042" "ee"  # mov dx, 0x2f8 (COM2); mov al, 'B'; out dx, al
    "ba0505" "b001" "ee"  # mov dx, 0x505 (pvpanic); mov al, 1 (panicked); out dx, al
    "baf802" "b041" "ee"  # the same again with 'A'
    "f4ebfd"  # hlt; jmp back
)  # fmt: skip


@contextmanager
def image(boot_sector: bytes = b"") -> Iterator[Path]:
    """An image folder whose disk holds nothing but a boot sector."""
    folder = Path(tempfile.mkdtemp(prefix="winvm-firmware-"))
    try:
        raw = folder / "raw"
        raw.write_bytes(
            boot_sector.ljust(510, b"\0") + (b"\x55\xaa" if boot_sector else b"") + bytes(1 << 20)
        )
        convert = ["qemu-img", "convert", "-O", "qcow2", str(raw), str(folder / "base.qcow2")]
        subprocess.run(convert, check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def changed(profile: WindowsProfile, **hardware: object) -> WindowsProfile:
    """The profile with other hardware."""
    return profile.model_copy(update={"hardware": profile.hardware.model_copy(update=hardware)})


class Com1:
    """What the firmware prints on COM1, which is the debugger's socket or a file.

    A socket is read all the time: firmware that finds its line full takes it for broken.
    """

    def __init__(self, machine: Machine) -> None:
        self._file = machine.channels.console
        self._seen = bytearray()
        self._line: socket.socket | None = None
        path = machine.folder / KD_SOCKET
        if path.is_socket():
            self._line = socket.socket(socket.AF_UNIX)
            self._line.connect(str(path))
            threading.Thread(target=self._drain, args=(self._line,), daemon=True).start()

    def text(self) -> str:
        """All of it so far."""
        return (bytes(self._seen) if self._line else self._file.read_bytes()).decode(
            "utf-8", "backslashreplace"
        )

    def type(self, text: str) -> None:
        """Types on the socket."""
        assert self._line
        self._line.sendall(text.encode())

    def close(self) -> None:
        """Closes the socket."""
        if self._line:
            self._line.shutdown(socket.SHUT_RDWR)

    def _drain(self, line: socket.socket) -> None:
        while data := line.recv(65536):
            self._seen += data


def wait(what: str, until: Callable[[], bool]) -> None:
    """Waits for a condition in the guest."""
    deadline = Deadline.after(BOOT_S)
    while not until():
        deadline.check(what)
        time.sleep(0.1)


def boots(pictures: Path, *names: str) -> dict[str, object]:
    """Boots each profile's domain as for an installation from empty media, to the end of the boot manager."""
    found: dict[str, object] = {}
    with image() as folder, RunFolder.create(config.home() / "runs") as run:
        disc = folder / "empty.iso"
        disc.write_bytes(bytes(1 << 20))
        for name in names:
            profile = windows_profile(name)
            spec = WindowsSpec(folder, profile, Accelerator.TCG, media=(disc,))
            with LibvirtMachine(run, spec, None) as machine:
                started = time.monotonic()
                machine.start(Deadline.after(BOOT_S))
                com1 = Com1(machine)
                wait(f"The firmware of {name}", lambda com1=com1: SHELL in com1.text())  # type: ignore[misc]
                machine.screenshot(pictures / f"{name}.png", Deadline.after(BOOT_S))
                found[name] = {
                    "state": machine.state(),
                    "said": com1.text(),
                    "variables": (machine.folder / NVRAM).stat().st_size,
                    "seconds": round(time.monotonic() - started, 1),
                }
    return found


def panics(on_bugcheck: str) -> dict[str, object]:
    """A boot sector under BIOS, on virtio devices, that writes to COM2, panics, and writes again."""
    hardware = {"firmware": "bios", "disk_bus": "virtio", "control_nic": "virtio", "kd": "kdnet"}
    profile = changed(windows_profile("windows-10"), **hardware, on_bugcheck=on_bugcheck)
    heard: list[Panic] = []
    with image(PANICS) as folder, RunFolder.create(config.home() / "runs") as run:
        spec = WindowsSpec.checked(folder, profile, Accelerator.TCG)
        with LibvirtMachine(run, spec, None) as machine:
            machine.on_panic(heard.append)
            machine.start(Deadline.after(BOOT_S))
            wait("The panic", lambda: bool(heard))
            if on_bugcheck == "dump":
                wait("What follows it", lambda: machine.channels.journal.read_bytes() == b"BA")
            return {
                "panics": len(heard),
                "code": heard[0].code,
                "state": machine.state(),
                "journal": machine.channels.journal.read_text(),
                "events": [f"{event.state} {event.reason}" for event in machine.events()],
            }


def restores() -> dict[str, object]:
    """A UEFI guest that is saved, restored, and reverted; its debugger's line is there each time."""
    profile = changed(windows_profile("windows-11"), memory_mib=512)
    with image() as folder, RunFolder.create(config.home() / "runs") as run:
        with LibvirtMachine(
            run, WindowsSpec(folder, profile, Accelerator.TCG, media=(folder / "raw",)), None
        ) as first:
            first.start(Deadline.after(BOOT_S))
            shutil.copyfile(first.folder / NVRAM, folder / NVRAM)
        spec = WindowsSpec.checked(folder, profile, Accelerator.TCG)
        before = ""

        def wait_ready(machine: Machine, deadline: Deadline) -> None:
            nonlocal before
            com1 = Com1(machine)
            wait("The firmware", lambda: "Shell>" in com1.text())
            before = com1.text()
            com1.close()

        machine, _ = launch(spec, run, wait_ready, Deadline.after(BOOT_S), Deadline.after(BOOT_S))
        answers = []
        with machine:
            for _ in range(2):
                com1 = Com1(machine)
                com1.type("ver\r")
                wait("The restored shell", lambda com1=com1: "UEFI v" in com1.text())  # type: ignore[misc]
                answers.append(com1.text())
                machine.revert(Deadline.after(BOOT_S))
            return {"before": before, "answers": answers, "generation": machine.generation}


def enlightened() -> dict[str, object]:
    """What only KVM makes use of, started without it: libvirt and QEMU take the devices and features."""

    class Emulated(WindowsSpec):
        def render(self, *arguments: object, **named: object) -> str:
            xml = super().render(*arguments, **named)  # type: ignore[arg-type]
            return xml.replace('type="kvm"', 'type="qemu"').replace("host-passthrough", "maximum")

    profile = changed(windows_profile("windows-11"), kd="kdnet", memory_mib=512)
    with image() as folder, RunFolder.create(config.home() / "runs") as run:
        spec = Emulated(folder, profile, Accelerator.KVM, media=(folder / "raw",))
        with LibvirtMachine(run, spec, None) as machine:
            machine.start(Deadline.after(BOOT_S))
            pid = (run.root / "run" / "qemu" / f"{machine.name}.pid").read_text(encoding="ascii").strip()
            command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
            return {"state": machine.state(), "command": command}


if __name__ == "__main__":
    work, *arguments = sys.argv[1:]
    if work == "boots":
        print(json.dumps(boots(Path(arguments[0]), *arguments[1:])))
    elif work == "panics":
        print(json.dumps(panics(*arguments)))
    else:
        print(json.dumps({"restores": restores, "enlightened": enlightened}[work]()))
