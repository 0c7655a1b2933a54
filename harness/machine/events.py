"""libvirt's lifecycle events of one domain, queued by the event thread until a caller takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from harness.deadline import Deadline
from harness.machine.bindings import libvirt
from harness.machine.connection import Connection, translated
from harness.machine.protocol import LifecycleEvent, MachineState

_STATES = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: MachineState.STOPPED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: MachineState.CRASHED,
}
_REASONS = {
    (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED): "booted",
    (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED): "restored",
    (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED): "resumed",
    (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT): "restored",
    (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED): "suspended",
    (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR): "disk error",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN): "shut down",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED): "destroyed",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED): "saved",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED): "QEMU died",
    (libvirt.VIR_DOMAIN_EVENT_CRASHED, libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED): "panicked",
}


class LifecycleEvents:
    """Collects the events of the domain called `name`, also of those made later under that name."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._changed = threading.Condition()
        self._pending: list[LifecycleEvent] = []
        self._last: MachineState | None = None
        self._api: Any = None
        self._listen()

    def _listen(self) -> None:
        """Registers with libvirt; registers again after its daemon was restarted."""
        api = self._connection.api
        if api is not self._api:
            with translated("Listening for libvirt's events"):
                self._id = api.domainEventRegisterAny(
                    None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None
                )
            self._api = api

    def _on_event(self, _api: Any, domain: Any, event: int, detail: int, _opaque: None) -> None:
        state = _STATES.get(event)
        if state is None or domain.name() != self._name:
            return
        with self._changed:
            reason = _REASONS.get((event, detail), f"event {event}, detail {detail}")
            self._pending.append(LifecycleEvent(time.time(), state, reason))
            self._last = state
            self._changed.notify_all()

    def take(self) -> Sequence[LifecycleEvent]:
        """Events not taken before, oldest first."""
        with self._changed:
            taken, self._pending = self._pending, []
            return taken

    def wait_for(self, state: MachineState, deadline: Deadline) -> bool:
        """Whether the newest event is, or by the deadline becomes, `state`."""
        self._listen()
        with self._changed:
            return self._changed.wait_for(lambda: self._last is state, deadline.remaining())

    def close(self) -> None:
        """Stops listening; never raises."""
        try:
            self._api.domainEventDeregisterAny(self._id)
        except libvirt.libvirtError:
            return
