"""The debug stream of a guest whose Windows kernel is debugged over KDNET or a serial line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from harness.deadline import Deadline
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.host import Event, KdHost
from harness.debuggers.kd.show import summary_line
from harness.debuggers.kd.state import STATUS_ASSERTION_FAILURE, STATUS_BREAKPOINT
from harness.debuggers.kd.text import PrintedLines
from harness.debuggers.kd.wire import Wire
from harness.debuggers.log import LOG_LIMIT
from harness.debuggers.logged import LoggedStream
from harness.display.terminal import printable, unstyled
from harness.dumps.summary import Summary
from harness.dumps.text import page
from harness.errors import DeadlineError, KdError
from harness.interfaces import Halt
from harness.outcome import KernelCrash

HELD_S = 12.0
"""From the report of a crash to the end of what is read of its halt, at most."""


class KdDebugStream(LoggedStream):
    """Implements `harness.interfaces.DebugStream` and `KernelDebugger`: a live debugger host in a thread.

    DbgPrint becomes records of source `dbgprint`, everything else the kernel reports records of source `kd`.

    Args:
        wire: the connection to the target, which this stream owns.
        log: where every record is written with its host time (`dbgprint.log`).
        nonce: names this run in the agent's markers `WINVM-MARK <nonce> begin|end <id> <name>`.
    """

    def __init__(
        self,
        wire: Wire,
        log: Path,
        nonce: str,
        log_limit: int = LOG_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(log, f"WINVM-MARK {nonce} ", log_limit)
        self._lines = PrintedLines()
        self._watched: frozenset[str] = frozenset()
        self._hold_crashes = self._will_hold = False
        self._clock = clock
        self.host = KdHost(wire, self._take, clock=clock)
        self._halt: Halt | None = None
        self._report: Summary | None = None
        self._lost: KdError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="kd-debug-stream", daemon=True)
        self._thread.start()

    def rearm(self) -> None:
        """Forgets the crash after the guest was reverted; its kernel connects anew by itself."""
        self._report = None
        self._forget()

    def crash_report(self) -> Summary | None:
        """See `harness.crash.analysis.SeesCrash`."""
        return self._report

    def watch(self, images: Collection[str]) -> None:
        """See `harness.interfaces.WatchesDriver`.

        At a breakpoint or failed assertion, a kernel without a debugger stops with a bugcheck; one with a
        debugger waits, and continues if told to. Any other exception is reported to a debugger only if no
        handler took it, and its bugcheck follows.
        """
        self._watched = frozenset(image.casefold() for image in images)

    def hold_crashes(self) -> None:
        """See `harness.interfaces.HoldsKernel`."""
        self._hold_crashes = True
        self.host.take_time()

    @property
    def held(self) -> bool:
        """See `harness.interfaces.HoldsKernel`. A crash is reported before the whole halt has been read."""
        for _ in Deadline.after(HELD_S if self._will_hold else 0.0).tries(every=0.02):
            if self.host.held:
                break
        return self.host.held

    def release(self) -> None:
        """See `harness.interfaces.HoldsKernel`."""
        if self.held:
            self.host.resume()
        self._will_hold = False

    def lend(self) -> None:
        """See `harness.interfaces.HoldsKernel`."""
        self._end()

    def break_in(self, deadline: Deadline) -> Halt:
        """See `harness.interfaces.KernelDebugger`."""
        with self._changed:
            self._halt = None
            self.host.break_in()
            self._changed.wait_for(lambda: self._halt or self._lost, deadline.remaining())
            self.host.stop_breaking_in()
            if self._halt is not None:
                return self._halt
        if self._lost is not None:
            raise KdError(f"The kernel cannot be halted: {self._lost.message}")
        raise DeadlineError(f"The kernel did not halt within {deadline.seconds:g} s.")

    def close(self) -> None:
        """Stops listening; never raises."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(5.0)
            self.host.close()

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                self.host.step(0.1)
        except KdError as error:
            with self._changed:
                self._lost = error
            self._record(self._clock(), [("harness", error.message)])

    def _take(self, event: Event) -> None:
        if event.kind == "dbgprint":
            lines = self._lines.feed(str(event.fields["text"]))
            self._record(event.time, [("dbgprint", line) for line in lines])
            return
        begun = [("dbgprint", line) for line in self._lines.flush()]
        said = printable(summary_line(event.kind, event.fields))
        if event.kind == "break-in":
            with self._changed:
                self._halt = _halt(event.fields)
        if event.kind == "bugcheck":
            self._report = event.report
        report = [("kd", unstyled(line)) for line in page(event.report)] if event.report else []
        crash = _crash(event, said) or self._stopped(event, said)
        if crash is not None and self._hold_crashes and event.fields.get("halted", True):
            self._will_hold = True
            self.host.hold_here()
        self._record(event.time, [*begun, ("kd", said), *report], crash)

    def _stopped(self, event: Event, said: str) -> KernelCrash | None:
        """The crash to report for a breakpoint or a failed assertion in a watched image; else None."""
        fields = event.fields
        code, pc = fields.get("code"), fields.get("pc")
        image, _, offset = str(fields.get("place", "")).partition("+")
        if (
            event.kind not in ("exception", "breakpoint")
            or image.casefold() not in self._watched
            or not offset
        ):
            return None
        if fields.get("break_in") or not isinstance(code, int) or not isinstance(pc, int):
            return None
        if code not in (STATUS_BREAKPOINT, STATUS_ASSERTION_FAILURE):
            return None
        note = f"At {fields['place']}. The debugger continued the kernel; without one it would have stopped."
        return KernelCrash("exception", code, (code, pc), time=event.time, text=said, notes=(note,))


def _halt(fields: Fields) -> Halt:
    registers, places, count = fields.get("registers"), fields.get("places"), fields.get("processors")
    stacks = fields.get("stacks")
    return Halt(
        count if isinstance(count, int) else 0,
        {int(number): values for number, values in registers.items()} if isinstance(registers, dict) else {},
        {int(number): place for number, place in places.items()} if isinstance(places, dict) else {},
        {int(number): _frames(frames) for number, frames in stacks.items()}
        if isinstance(stacks, dict)
        else {},
    )


def _frames(frames: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(f"{frame['at']} ?" if frame.get("guessed") else frame["at"] for frame in frames)


def _crash(event: Event, said: str) -> KernelCrash | None:
    parameters = event.fields.get("parameters")
    code = event.fields.get("code")
    if event.kind != "bugcheck" or not isinstance(parameters, list) or not isinstance(code, int):
        return None
    modules = event.fields.get("modules")
    named = modules[-8:] if isinstance(modules, list) else []
    notes = tuple(f"{module['path']} at {module['base']:#x}" for module in named)
    return KernelCrash("bugcheck", code, tuple(parameters), time=event.time, text=said, notes=notes)
