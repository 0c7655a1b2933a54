"""ProcLook: process starts and exits, reported by the named event `Global\\ProcLook` and by a queue.

The event is pulsed and the newest note overwritten, so a slow listener misses some; the queue loses none.
Processes are started as `cmd /c exit` without a console, because each console would start a second process.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator

from agent import Child, Context, State, WaitTimeoutError, Win32Error, equal, one_of, raises_win32, scenario
from agent.win32 import constants
from agent.win32.device import Device
from agent.win32.overlapped import Pending
from scenarios.contract import ProcessEvent, ProcessNote, ProclookIoctl
from scenarios.restart import restart, start_again

LINK = "Symboliclnk"
EVENT = "Global\\ProcLook"
NEWEST = 0x222004
NEXT = int(ProclookIoctl.NEXT)
EVENT_BYTES = 32
ROOM = 64 * EVENT_BYTES
NEEDS = ("process-notify",)
DETACHED_PROCESS = 0x8  # no console (processthreadsapi.h)


def start_process() -> subprocess.Popen[bytes]:
    """Starts a process that ends by itself; the object's handle keeps the process id from being reused."""
    return subprocess.Popen(["cmd.exe", "/c", "exit"], creationflags=DETACHED_PROCESS)


def ask_next(device: Device) -> Pending:
    """A queued request that waits for the next process event."""
    return device.ioctl_async(NEXT, out=ROOM)


def events_in(output: bytes) -> list[ProcessEvent]:
    """The events of an answer, which must be whole."""
    equal(len(output) % EVENT_BYTES, 0, "bytes beyond whole events")
    return [ProcessEvent.from_buffer_copy(output, at) for at in range(0, len(output), EVENT_BYTES)]


def listen(device: Device, timeout_s: float) -> Iterator[ProcessEvent]:
    """Events as they come, until none has come for `timeout_s` seconds."""
    while True:
        pending = ask_next(device)
        try:
            output = pending.wait(timeout_s)
        except WaitTimeoutError:
            pending.cancel()
            try:
                output = pending.wait()
            except Win32Error:
                return
        yield from events_in(output)


def cancelled(pending: Pending) -> None:
    """The request ends as cancelled, or, on guests that report processes, with whole events."""
    try:
        output = pending.wait(2.0)
    except Win32Error as error:
        equal(error.code, constants.ERROR_OPERATION_ABORTED, "error of a cancelled request")
    else:
        assert events_in(output), "a request ended without an event and without being cancelled"


@scenario(tags=("smoke",))
def event_opens_by_name(t: Context) -> None:
    """The kernel's event is found as Global\\ProcLook and is not signalled while nothing happens."""
    with t.open_event(EVENT) as event, t.open_event(EVENT) as again:
        waits = [event.wait(0) or again.wait(0) for _ in range(10)]
        assert not all(waits), "the event stays signalled"
        if not t.has("process-notify"):
            equal(any(waits), False, "whether the event was signalled on a guest without process-notify")


@scenario
def event_outlives_a_reload(t: Context) -> None:
    """An event opened before the driver is restarted stays usable, and the driver finds its name again."""
    with t.open_event(EVENT) as before, t.services() as manager, manager.open(t.service) as service:
        restart(service)
        one_of(before.wait(0), (False, True), "a wait on the old handle")
    with t.open_event(EVENT) as after:
        after.wait(0)
    with t.open(LINK) as device:
        equal(len(device.ioctl(NEWEST, out=24)), 24, "bytes of the newest note")


@scenario
def newest_note_is_whole(t: Context) -> None:
    """NEWEST gives {pid, parent, created} with zeros for padding, and all zeros before the first."""
    with t.open(LINK) as device, t.memory(64) as memory:
        memory.write(b"\xfa" * 64)
        equal(device.ioctl_raw(NEWEST, 0, 0, memory.address, 64), 24, "byte count")
        content = memory.read()
        note = ProcessNote.from_buffer_copy(content)
        equal(content[24:], b"\xfa" * 40, "the buffer behind the note")
        equal(bytes(note.padding), b"\0" * 7, "padding")
        one_of(note.created, (0, 1), "created")
        if not t.has("process-notify"):
            equal(content[:24], b"\0" * 24, "the note on a guest without process-notify")


@scenario(cases=(0, 16, 23))
def newest_with_a_short_output(t: Context, room: int) -> None:
    """NEWEST with room for less than a note fails and writes nothing."""
    with t.open(LINK) as device, t.memory(24) as memory:
        memory.write(b"\x1f" * 24)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(NEWEST, 0, 0, memory.address if room else 0, room)
        equal(memory.read(), b"\x1f" * 24, "the output buffer")


@scenario(cases=(0, 1, 31))
def next_with_a_short_output(t: Context, room: int) -> None:
    """NEXT with room for less than one event fails at once instead of waiting for what would not fit."""
    with t.open(LINK, overlapped=True) as device, raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
        device.ioctl_async(NEXT, out=room).wait(2.0)


@scenario(tags=("smoke",))
def next_pends_and_is_cancelled(t: Context) -> None:
    """NEXT waits while there is no event, and CancelIoEx of each of three requests ends that one."""
    with t.open(LINK, overlapped=True) as device:
        requests = [ask_next(device) for _ in range(3)]
        if not t.has("process-notify"):
            equal([pending.done for pending in requests], [False] * 3, "requests ended by themselves")
        requests[1].cancel()
        cancelled(requests[1])
        if not t.has("process-notify"):
            equal([requests[0].done, requests[2].done], [False] * 2, "requests ended with the second")
        device.cancel_io_ex()
        cancelled(requests[0])
        cancelled(requests[2])


@scenario
def a_hundred_requests_cancelled(t: Context) -> None:
    """Of 100 waiting requests on two handles, cancelling those of one handle leaves the other's waiting."""
    with t.open(LINK, overlapped=True) as first, t.open(LINK, overlapped=True) as second:
        ours = [ask_next(first) for _ in range(50)]
        others = [ask_next(second) for _ in range(50)]
        first.cancel_io()
        for pending in ours:
            cancelled(pending)
        if not t.has("process-notify"):
            equal(sum(pending.done for pending in others), 0, "requests of the other handle that ended")
        second.cancel_io_ex()
        for pending in others:
            cancelled(pending)


@scenario
def next_needs_read_access(t: Context) -> None:
    """The I/O manager refuses NEXT, which demands read access, on a handle opened for writing only."""
    with (
        t.open(LINK, access=constants.GENERIC_WRITE, overlapped=True) as device,
        raises_win32(constants.ERROR_ACCESS_DENIED),
    ):
        ask_next(device).wait(1.0)
    with t.open(LINK, access=constants.GENERIC_WRITE) as device:
        equal(len(device.ioctl(NEWEST, out=24)), 24, "bytes of NEWEST, which any access may ask for")


@scenario
def unload_with_requests_waiting(t: Context) -> None:
    """Stopping the driver cancels waiting requests; no IRP is left to unloaded code."""
    with t.services() as manager, manager.open(t.service) as service:
        with t.open(LINK, overlapped=True) as device:
            requests = [ask_next(device) for _ in range(5)]
            if t.has("irp-cleanup"):
                device.cancel_io_ex()  # Windows does not unload under an open handle: nothing would end them
            restart_waiting = threading.Thread(target=restart, args=(service,), daemon=True)
            restart_waiting.start()
            for pending in requests:
                cancelled(pending)
        restart_waiting.join(t.deadline.remaining())
        equal(restart_waiting.is_alive(), False, "whether the restart is still under way")
    with t.open(LINK) as device:
        equal(len(device.ioctl(NEWEST, out=24)), 24, "bytes of the newest note")


@scenario(deadline_s=60)
def killed_process_leaves_no_requests(t: Context) -> None:
    """A process killed while its request waits is cleaned up: the driver can be restarted afterwards."""
    with t.spawn(wait_for_events) as child:
        equal(child.receive(), "waiting", "what the second process says")
        child.kill()
    with t.services() as manager, manager.open(t.service) as service:
        restart(service)
    with t.open(LINK, overlapped=True) as device:
        pending = ask_next(device)
        pending.cancel()
        cancelled(pending)


def wait_for_events(child: Child) -> None:
    """Second process: asks for the next event on two handles, says so, and waits to be killed."""
    with child.open(LINK, overlapped=True) as first, child.open(LINK, overlapped=True) as second:
        requests = [ask_next(first), ask_next(second)]
        child.send("waiting")
        child.receive()
        del requests


@scenario(needs=NEEDS, deadline_s=300)
def two_hundred_processes_in_order(t: Context) -> None:
    """200 rapid process starts and their exits are all queued, in order, without a gap, with the parent."""
    count, at_once = 200, 8
    with t.open(LINK, overlapped=True) as device:
        processes: list[subprocess.Popen[bytes]] = []
        while len(processes) < count:
            batch = [start_process() for _ in range(min(at_once, count - len(processes)))]
            processes += batch
            for process in batch:
                process.wait(t.deadline.remaining())
        pids = [process.pid for process in processes]
        missing = {(pid, created) for pid in pids for created in (0, 1)}
        seen: list[ProcessEvent] = []
        for event in listen(device, 5.0):
            seen.append(event)
            missing.discard((event.pid, event.created))
            if not missing:
                break
    equal(len(missing), 0, f"events missing of {2 * count}")
    first = seen[0].sequence
    equal(
        [event.sequence for event in seen], list(range(first, first + len(seen))), "sequence numbers, no gap"
    )
    # Another program's process may have had one of these ids before, so events are selected by the parent.
    ours = [event for event in seen if event.parent == os.getpid()]
    equal(len(ours), 2 * count, "events of this process's children: each started once, ended once")
    equal([event.pid for event in ours if event.created], pids, "starts, in order")
    place = {(event.pid, event.created): at for at, event in enumerate(ours)}
    early = [pid for pid in pids if place[pid, 0] < place[pid, 1]]
    equal(early, [], "processes whose exit was reported before their start")


@scenario(needs=NEEDS, tags=("smoke",))
def event_wakes_a_listener(t: Context) -> None:
    """A thread waiting on the named event wakes when a process starts, although the event is only pulsed."""
    woken = threading.Event()
    with t.open_event(EVENT) as event:

        def wait() -> None:
            if event.wait(20.0):
                woken.set()

        listener = threading.Thread(target=wait, daemon=True)
        listener.start()
        # A pulse before the thread waits is lost, and its wait cannot be observed: several processes start.
        for _ in range(20):
            start_process().wait(t.deadline.remaining())
            if woken.wait(0.2):
                break
        listener.join(t.deadline.remaining())
    equal(woken.is_set(), True, "whether the listener was woken")


@scenario(needs=NEEDS)
def newest_is_the_last_queued(t: Context) -> None:
    """NEWEST returns the same process event as the last one in the queue."""
    with t.open(LINK, overlapped=True) as queue, t.open(LINK) as device:
        for _ in range(10):  # another process of the system may start between the two requests
            process = start_process()
            process.wait(t.deadline.remaining())
            note = device.ioctl_struct(NEWEST, ProcessNote)
            last = list(listen(queue, 0.5))[-1]
            if (note.pid, note.parent, note.created) == (last.pid, last.parent, last.created):
                return
    raise AssertionError("in ten attempts NEWEST never returned the last event of the queue")


@scenario(needs=NEEDS)
def every_listener_gets_every_event(t: Context) -> None:
    """Two handles each get the events of the same ten processes; a handle opened later gets none of them."""
    with t.open(LINK, overlapped=True) as first, t.open(LINK, overlapped=True) as second:
        processes = [start_process() for _ in range(10)]
        for process in processes:
            process.wait(t.deadline.remaining())
        pids = {process.pid for process in processes}
        with t.open(LINK, overlapped=True) as late:
            told = [
                sorted((event.pid, event.created) for event in listen(device, 1.0) if event.pid in pids)
                for device in (first, second, late)
            ]
    expected = sorted((pid, created) for pid in pids for created in (0, 1))
    equal(told[0], expected, "events of the first handle")
    equal(told[1], expected, "events of the second handle")
    # An exit may be reported a moment after the process's handle is signalled, so only starts are compared.
    equal([pair for pair in told[2] if pair[1]], [], "starts reported to a handle opened afterwards")


@scenario(needs=NEEDS)
def small_answers_lose_nothing(t: Context) -> None:
    """With room for one event a request, twenty events come one by one in sequence."""
    with t.open(LINK, overlapped=True) as device:
        processes = [start_process() for _ in range(10)]
        for process in processes:
            process.wait(t.deadline.remaining())
        answers = [device.ioctl_async(NEXT, out=EVENT_BYTES + 7).wait(5.0) for _ in range(20)]
    equal([len(answer) for answer in answers], [EVENT_BYTES] * 20, "bytes of each answer")
    sequence = [events_in(answer)[0].sequence for answer in answers]
    equal(sequence, list(range(sequence[0], sequence[0] + 20)), "sequence numbers")


@scenario(needs=NEEDS, deadline_s=60)
def callback_gone_after_unload(t: Context) -> None:
    """After the driver has stopped, process starts and exits call nothing in its code."""
    with t.services() as manager, manager.open(t.service) as service:
        try:
            for _ in range(3):
                restart(service)
                start_process().wait(t.deadline.remaining())
            service.stop()
            service.wait_for(State.STOPPED)
            for _ in range(10):
                start_process().wait(t.deadline.remaining())
        finally:
            start_again(service)
    with t.open(LINK, overlapped=True) as device:
        process = start_process()
        told = {event.pid for event in listen(device, 2.0)}
        equal(process.pid in told, True, "whether the restarted driver reports a new process")
