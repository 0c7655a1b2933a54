"""Chooses the accelerator for guests on a host, by a functional probe: that /dev/kvm exists proves nothing.

On some hosts /dev/kvm opens and virtual CPUs can be made, yet QEMU aborts on an MSR or the first
interrupt in long mode is an "emulation failure" (seen inside a cloud VM). So a boot sector that enters long
mode and takes one interrupt is run under KVM with the CPU model that the domain will have.
"""

from __future__ import annotations

import base64
import enum
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.host import programs
from harness.host.programs import Run

QEMU = "qemu-system-x86_64"
OLDEST_TCG = (10, 0)
"""QEMU 7.2's TCG corrupts flags in cmpxchg16b and faults in user-mode IRETQ with SMAP: Wine dies."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PROBE_SECONDS = 8.0
"""A working KVM needs 0.1 s, TCG 0.2 s."""

SUCCESS = 0x2A << 1 | 1
"""QEMU's exit code when the payload writes 0x2a to isa-debug-exit."""

PAYLOAD = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfcbf0010b90018f3abc70600100320c70600200330c706003083000f20e06683c8200f22"
    "e066b8001000000f22d866b9800000c00f32660d000100000f30660f0116d07c0f20c0660d010000800f22c0ea617c08"
    "00b8100000008ed88ec08ed0b8ac7c00006689042530400000c70425324000000800008ec7042536400000000000000f"
    "011c25d67c000031dbcc83fb5a750ab82a00000066ba0105eef4ebfdbb5a00000048cf0f1f4400000000000000000000"
    "00000000009a200000000000009200001700b87c00003f000040"
).ljust(510, b"\0") + bytes((0x55, 0xAA))
"""`vm/probe/longmode.S`, assembled."""

_PROBE = f"""
disk=$(mktemp) && trap 'rm -f "$disk"' EXIT && echo "$1" | base64 -d >"$disk" && shift &&
timeout --signal KILL {PROBE_SECONDS:g} "$@" -drive "file=$disk,format=raw,if=ide"
"""
_KILLED = 128 + 9
"""A shell's exit code for a program that SIGKILL ended."""


class Accelerator(enum.StrEnum):
    """QEMU's accelerators that the bench uses."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Probe:
    """The accelerator that was chosen, and the reason as text for `winvm doctor`."""

    accelerator: Accelerator
    reason: str


class _Cached(BaseModel):
    boot_id: str
    qemu: str
    accelerator: Accelerator
    reason: str


def run_program(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """The real `Run`; a program that is not installed gives exit code 127, as in a shell."""
    try:
        done = programs.run(argv, Deadline.after(seconds), merged=True)
    except programs.ProgramDeadlineError:
        return None, ""
    except programs.MissingProgramError as error:
        return 127, error.message
    return done.code, done.text


def choose_accelerator(
    cache: Path, deadline: Deadline, *, run: Run = run_program, kvm: Path | None = Path("/dev/kvm")
) -> Probe:
    """The accelerator to use. `WINVM_ACCEL=tcg` overrides the probe; `=kvm` makes its failure an error.

    Args:
        cache: file that keeps the probe's result until the host reboots or QEMU changes.
        run: runs programs on the host that is probed.
        kvm: the KVM device of this host; None if another host is probed.

    Raises:
        ConfigurationError: `WINVM_ACCEL` holds something else.
        HostError: QEMU is missing, or is too old for TCG, or KVM is required and does not work.
    """
    version = qemu_version(run, deadline)
    wanted = _wanted()
    if wanted is Accelerator.TCG:
        probe = Probe(wanted, f"WINVM_ACCEL={wanted}")
    else:
        probe = _decide(cache, deadline, version, run, kvm)
    if wanted and probe.accelerator is not wanted:
        raise HostError(
            f"WINVM_ACCEL={wanted} cannot be used: {probe.reason}.",
            remedy="Unset WINVM_ACCEL to emulate the CPU, or run on a host whose KVM works.",
        )
    if probe.accelerator is Accelerator.TCG and _numbers(version) < OLDEST_TCG:
        raise HostError(
            f"QEMU {version} is too old to emulate the guest's CPU (KVM is not used: {probe.reason}).",
            remedy="Install QEMU 10 or newer; `winvm host install` takes Debian 12's from its backports.",
        )
    return probe


def qemu_version(run: Run, deadline: Deadline) -> str:
    """Version of the installed QEMU, e.g. `10.0.2`.

    Raises:
        HostError: there is none.
    """
    code, output = run([QEMU, "--version"], deadline.at_most(PROBE_SECONDS).remaining())
    match = re.search(r"version (\d+(?:\.\d+)+)", output)
    if code != 0 or match is None:
        raise HostError(
            f"{QEMU} does not run: {output.strip().rstrip('.') or code}.", remedy="Install qemu-system-x86."
        )
    return match[1]


def probe_kvm(run: Run, deadline: Deadline) -> Probe:
    """Runs the payload under KVM."""
    argv = ["sh", "-c", _PROBE, "sh", base64.b64encode(PAYLOAD).decode("ascii")]
    argv += [QEMU, "-machine", "pc", "-accel", "kvm", "-cpu", "host", "-m", "16"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-device", "isa-debug-exit,iobase=0x501,iosize=1"]
    code, output = run(argv, deadline.at_most(PROBE_SECONDS + 2).remaining())
    if code == SUCCESS:
        return Probe(Accelerator.KVM, "a long-mode payload ran under KVM")
    if code in (None, _KILLED):
        return Probe(Accelerator.TCG, "a long-mode payload hung under KVM")
    first = next(iter(output.strip().splitlines()), f"exit code {code}")
    return Probe(Accelerator.TCG, f"a long-mode payload failed under KVM: {first}")


def _wanted() -> Accelerator | None:
    name = os.environ.get("WINVM_ACCEL", "")
    if not name:
        return None
    try:
        return Accelerator(name)
    except ValueError as error:
        raise ConfigurationError(
            f"WINVM_ACCEL={name!r} names no accelerator.", remedy="Use kvm or tcg, or unset it."
        ) from error


def _decide(cache: Path, deadline: Deadline, version: str, run: Run, kvm: Path | None) -> Probe:
    if kvm and not kvm.exists():
        return Probe(Accelerator.TCG, f"there is no {kvm}")
    if kvm and not os.access(kvm, os.R_OK | os.W_OK):
        return Probe(Accelerator.TCG, f"{kvm} may not be opened by this user (add it to the group kvm)")
    boot_id = run(["cat", BOOT_ID], deadline.at_most(PROBE_SECONDS).remaining())[1].strip()
    try:
        known = _Cached.model_validate_json(cache.read_bytes())
        if (known.boot_id, known.qemu) == (boot_id, version):
            return Probe(known.accelerator, known.reason)
    except (OSError, ValidationError):
        pass  # nothing known yet
    probe = probe_kvm(run, deadline)
    known = _Cached(boot_id=boot_id, qemu=version, accelerator=probe.accelerator, reason=probe.reason)
    draft = cache.with_name(f"{cache.name}.{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(known.model_dump_json() + "\n", encoding="utf-8")
    draft.replace(cache)
    return probe


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
