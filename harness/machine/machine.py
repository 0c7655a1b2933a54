"""One libvirt machine of a run: start, revert, suspend, screenshot, save, stop, destroy."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.deadline import Deadline
from harness.errors import DeadlineError, InfrastructureError, MachineError
from harness.host.fileend import last_text
from harness.machine.accelerator import Accelerator
from harness.machine.bindings import libvirt
from harness.machine.channels import SOCKETS
from harness.machine.clock import clock_ends
from harness.machine.connection import translated, within
from harness.machine.domain import ADDRESS, UUIDS, HostSide
from harness.machine.events import LifecycleEvents
from harness.machine.monitor import dump_into
from harness.machine.overlay import OVERLAY_SPACE, create_overlay, require_space
from harness.machine.panic import PanicEvents, runs
from harness.machine.protocol import Channels, LifecycleEvent, MachineState, MemoryDump, OnPanic
from harness.machine.qemu_host import Here, QemuHost, There
from harness.machine.qemu_user import user_for
from harness.machine.record import MachineRecord
from harness.machine.runfolder import RunFolder
from harness.machine.savedstate import DISK, MEMORY, ReadyState
from harness.machine.savefile import Identity, copy_for, identity
from harness.machine.screen import shoot
from harness.machine.spec import Spec
from harness.machine.trouble import DiskErrors, paused_by_error

CHECKPOINT = "checkpoint"
LOG_TAIL_BYTES = 4000
LOG_BYTES = 256 << 10
LOOK_BELOW = "QEMU's log is below; winvm doctor checks the host."
PORT_ATTEMPTS = 5
DESTROY_SECONDS = 20.0
KEY_MILLISECONDS = 100
"""How long a key stays down."""

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: MachineState.STOPPED,
    libvirt.VIR_DOMAIN_SHUTOFF: MachineState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: MachineState.CRASHED,
}


class LibvirtMachine:
    """The real `Machine` (see `protocol.py` for the operations). A context manager: leaving it destroys the
    machine unless its run folder is kept.

    Args:
        folder: the run folder of this process.
        spec: hardware and image.
        ready: what `start` and `revert` restore; None boots from the image instead.
        name: sub-folder of `folder`, unique in it; at most 12 characters (libvirt's socket paths). Without
            a daemon it is the same for every machine of one spec: each then restores the saved state itself,
            not a copy.
    """

    def __init__(self, folder: RunFolder, spec: Spec, ready: ReadyState | None, name: str = "guest") -> None:
        self._run = folder
        self._spec = spec
        self._ready = ready
        self._name = name
        self._connection = folder.connection
        self._key = ready.key if ready else spec.ready_key(self._connection.versions())
        self._ports: dict[str, int] = {}
        self._generation = 0
        # A daemon's domains share one space of names and uuids; the embedded driver's root is this run's own.
        claim = folder.claim
        self._domain_name = claim.domain_name(name) if claim else name
        self._uuid_of = self._domain_name if claim else self._key
        self._copied: ReadyState | None = None
        self._place = _place(folder, self.folder, self._domain_name)
        kvm = spec.accelerator is Accelerator.KVM
        self._user = user_for(folder.path, shared=self._connection.shared, kvm=kvm, group=folder.memory)
        self._events = LifecycleEvents(self._connection, self._domain_name)
        self._panics = PanicEvents(self._connection, self._domain_name)
        self._disk_errors = DiskErrors(self._connection, self._domain_name)

    @classmethod
    def attach(cls, folder: RunFolder, name: str = "guest") -> Self:
        """The machine that another process left running in a kept folder, with its ports and generation.

        Raises:
            MachineError: there is no such machine, or it has died.
        """
        record = MachineRecord.load(folder.path / name)
        machine = cls(folder, record.spec, record.ready, name)
        machine._ports, machine._generation = dict(record.ports), record.generation
        if machine.state() is MachineState.STOPPED:
            raise MachineError(
                f"Machine {name} of run {folder.id} is not running any more.",
                remedy="Run winvm down, then winvm up.",
                detail=machine.log_tail(),
            )
        return machine

    @property
    def spec(self) -> Spec:
        """Hardware and image."""
        return self._spec

    @property
    def ready(self) -> ReadyState | None:
        """What `start` and `revert` restore."""
        return self._ready

    @property
    def name(self) -> str:
        """See `Machine`."""
        return self._name

    @property
    def folder(self) -> Path:
        """See `Machine`."""
        return self._run.path / self._name

    @property
    def address(self) -> str:
        """See `Machine`."""
        return ADDRESS

    @property
    def ports(self) -> Mapping[str, int]:
        """See `Machine`."""
        return dict(self._ports)

    @property
    def channels(self) -> Channels:
        """See `Machine`."""
        return Channels.inside(self.folder)

    @property
    def disk(self) -> Path:
        """See `Machine`."""
        return self.folder / "disk.qcow2"

    @property
    def generation(self) -> int:
        """See `Machine`."""
        return self._generation

    def start(self, deadline: Deadline) -> None:
        """See `Machine`."""
        if self.state() is not MachineState.STOPPED:
            raise MachineError(f"Machine {self._name} is already running.", remedy="Use revert.")
        self._require_space("starting a machine, which is saved at its first restore,")
        self._launch(deadline)

    def revert(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._power_off()
        self._launch(deadline)

    def suspend(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._call("Suspending", lambda: self._domain().suspend(), deadline)

    def resume(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._call("Resuming", lambda: self._domain().resume(), deadline)

    def inject_nmi(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._call("A non-maskable interrupt for", lambda: self._domain().injectNMI(), deadline)

    def press_key(self, key: int, deadline: Deadline) -> None:
        """See `Machine`."""

        def press() -> None:
            self._domain().sendKey(libvirt.VIR_KEYCODE_SET_LINUX, KEY_MILLISECONDS, [key], 1, 0)

        self._call("Pressing a key of", press, deadline)

    def screenshot(self, file: Path, deadline: Deadline) -> Path:
        """See `Machine`."""

        api, unseen = self._connection.api, not self._connection.shared
        self._call("A screenshot", lambda: shoot(api, self._domain(), file, unseen=unseen), deadline)
        return file

    def dump_memory(self, file: Path, form: MemoryDump, deadline: Deadline) -> None:
        """See `Machine`."""

        written = self._place.visible(file)

        def dump() -> None:
            dump_into(self._domain(), written, form.value, unseen=not self._connection.shared)

        self._call("Dumping the memory of", dump, deadline)
        if written != file:
            shutil.move(written, file)

    def save(self, memory: Path, disk: Path, deadline: Deadline) -> None:
        """Stops the machine, leaving its RAM and devices in `memory` and its disk overlay in `disk`."""
        self._call("Saving", lambda: self._domain().save(str(memory)), deadline)
        shutil.move(self.disk, disk)
        if self._user:
            self._user.take_back(disk)

    def checkpoint(self, deadline: Deadline) -> None:
        """See `Machine`."""
        self._require_space("saving a checkpoint")
        folder = self.folder / CHECKPOINT
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
        folder.mkdir()
        folder.chmod(0o711)
        self.save(folder / MEMORY, folder / DISK, deadline)
        before, self._ready = self._ready, ReadyState(folder, self._key, {})
        try:
            self._launch(deadline)
        except InfrastructureError:
            self._ready = before
            raise

    def state(self) -> MachineState:
        """See `Machine`."""
        try:
            domain = self._domain()
            state, _reason = domain.state()
        except libvirt.libvirtError:
            return MachineState.STOPPED
        if state == libvirt.VIR_DOMAIN_CRASHED and runs(domain):
            return MachineState.RUNNING  # it panicked, and was kept running to write its dump
        return _STATES.get(state, MachineState.RUNNING)

    def trouble(self) -> str:
        """See `Machine`."""
        with contextlib.suppress(libvirt.libvirtError):
            if paused := paused_by_error(self._domain(), self._disk_errors.found):
                return paused
        return self._place.fate()

    def qemu_log(self) -> str:
        """See `Machine`."""
        return self._place.log(LOG_BYTES)

    def events(self) -> Sequence[LifecycleEvent]:
        """See `Machine`."""
        return self._events.take()

    def on_panic(self, listener: OnPanic) -> None:
        """See `Machine`."""
        self._panics.listener = listener

    def stop(self, deadline: Deadline) -> None:
        """See `Machine`."""
        with contextlib.suppress(libvirt.libvirtError):  # no such domain, or QEMU does not answer any more
            self._domain().shutdown()
            self._events.wait_for(MachineState.STOPPED, deadline)
        self._power_off()

    def destroy(self) -> None:
        """See `Machine`."""
        self._power_off()
        self._events.close()
        self._panics.close()
        self._disk_errors.close()
        self._place.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self) -> str:
        """The ends of QEMU's log and of the console, for errors."""
        logs = {
            "QEMU": self._place.log(LOG_TAIL_BYTES),
            "console": last_text(self.channels.console, LOG_TAIL_BYTES),
        }
        return "\n".join(f"--- {title} ---\n{text}" for title, text in logs.items() if text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._run.kept:
            self.destroy()

    def _domain(self) -> Any:
        return self._connection.api.lookupByName(self._domain_name)

    def _require_space(self, what: str) -> None:
        """The same for a start as for the checkpoint after it: a run that begins can be restored."""
        needed = self._spec.profile.hardware.memory_mib * 2**20 + OVERLAY_SPACE
        require_space(self._run.path, needed, what)

    def _launch(self, deadline: Deadline) -> None:
        self.folder.mkdir(exist_ok=True)
        self.disk.unlink(missing_ok=True)
        for name, source in self._spec.copied.items():
            shutil.copyfile(source, self.folder / name)
        if self._ready:
            self._spec.require_base()
            create_overlay(self.disk, self._ready.disk, deadline)
        else:
            self._spec.create_disk(self.disk, deadline)
        self._generation += 1
        self._panics.listen()
        self._disk_errors.listen()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            forwards = self._spec.profile.hardware.forwards
            ports, qemus_ports = self._place.ports(forwards, self._ports, deadline)
            self._ports = dict(ports)
            try:
                self._create(qemus_ports, deadline)
                break
            except MachineError as error:
                # The probed port was taken before QEMU bound it; the wording is QEMU 10's.
                if attempt == PORT_ATTEMPTS or "host forwarding rule" not in error.message:
                    raise
                self._ports = {}
                self._place.forget_ports()
        MachineRecord(
            spec=self._spec, ready=self._ready, ports=self._ports, generation=self._generation
        ).save(self.folder)

    def _create(self, ports: Mapping[str, int], deadline: Deadline) -> None:
        console, journal, dbgprint, com3, com4 = self._new_channel_files()
        clock = self._place.make_clock(self.channels.clock)
        host = HostSide(self.disk, (console, journal, com3, com4), dbgprint, ports, clock)
        xml = self._spec.render(host, name=self._domain_name, key=self._uuid_of)
        sockets = self.folder / SOCKETS
        sockets.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            copies = [self.folder / name for name in self._spec.copied]
            own = [self.disk, sockets, *clock_ends(clock), *copies]
            xml = self._user.confined(xml, self.folder, own, self._below_disk())
        self._place.starting()
        api = self._connection.api
        if self._ready:
            memory = str(self._restorable(self._ready, deadline))
            self._call("Restoring", lambda: api.restoreFlags(memory, xml, 0), deadline)
        else:
            self._call("Starting", lambda: api.createXML(xml, 0), deadline)

    def _below_disk(self) -> list[Path]:
        own = [self._ready.disk] if self._ready else []  # a checkpoint's lies on that of a ready state
        return [self._spec.base, *own, *(set(self._spec.image.glob(f"ready-*/{DISK}")) - set(own))]

    def _restorable(self, ready: ReadyState, deadline: Deadline) -> Path:
        """The save file of a state; if another domain was saved in it, a copy for this one, made once."""
        own = Identity(self._domain_name, uuid.uuid5(UUIDS, self._uuid_of))
        if identity(ready.memory) == own:
            return ready.memory
        copy = self.folder / MEMORY
        if self._copied != ready:
            copy_for(ready.memory, copy, own, deadline)
            self._copied = ready
        return copy

    def _new_channel_files(self) -> list[Path]:
        """Empty files for this generation, with the stable names leading to them."""
        files = []
        for name, stable in vars(self.channels).items():
            file = stable.with_name(f"{name}-{self._generation}.log")
            file.write_bytes(b"")
            link = stable.with_suffix(".new")
            link.unlink(missing_ok=True)
            link.symlink_to(file.name)
            link.replace(stable)
            files.append(file)
        return files

    def _call(self, what: str, call: Callable[[], Any], deadline: Deadline) -> Any:
        deadline.check(f"{what} machine {self._name}")
        try:
            with translated(f"{what} machine {self._name}", LOOK_BELOW, self.log_tail):
                return within(deadline, f"{what} machine {self._name}", call, self._place.end_qemu)
        except DeadlineError as error:
            error.detail = self.log_tail()
            raise

    def _power_off(self) -> None:
        """libvirt ends QEMU; where it cannot, QEMU is killed."""
        deadline = Deadline.after(DESTROY_SECONDS)
        with contextlib.suppress(libvirt.libvirtError):
            within(
                deadline, f"Destroying {self._name}", lambda: self._domain().destroy(), self._place.end_qemu
            )
        for _ in deadline.tries(every=0.01):
            if self.state() is MachineState.STOPPED:
                return
        deadline.check(f"Destroying machine {self._name}", "End its QEMU process by hand.")


def _place(run: RunFolder, machine: Path, domain: str) -> QemuHost:
    if run.remote:
        return There(run.remote, run.connection, machine, domain)
    return Here(run.connection, machine, domain, run.memory)
