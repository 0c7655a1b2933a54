"""The live debugger host: answers everything a kernel reports, and continues the kernel.

It only holds a target when `hold` is set: load-symbols reports and exceptions are logged and continued,
a failed assertion is told to break once, other prompts to ignore, file requests are refused. While another
debugger has the target (`HandedOver`) the host only listens; once that one is gone, it answers the open
requests.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from harness.deadline import Deadline
from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.assertion import Assertions, breakpoint_of
from harness.debuggers.kd.break_in import BreakInWish
from harness.debuggers.kd.bugcheck import (
    AFTER_DUMP,
    BEFORE_DUMP,
    Bugcheck,
    BugcheckText,
    described,
    reason,
)
from harness.debuggers.kd.describe import Fields, describe, state_fields
from harness.debuggers.kd.evidence import HELD_SECONDS, SECONDS, evidence
from harness.debuggers.kd.halted import HaltedTarget, RequestRefusedError, is_breakpoint
from harness.debuggers.kd.images import LoadedImages
from harness.debuggers.kd.io import DebugIo, FileRequest, is_prompt
from harness.debuggers.kd.link import PacketLink, SilentTargetError, TargetRestartedError
from harness.debuggers.kd.manipulate import CONTINUE, HANDLED, NOT_HANDLED, Version, settles
from harness.debuggers.kd.packets import Packet, PacketType
from harness.debuggers.kd.processors import processors
from harness.debuggers.kd.state import STATUS_BREAKPOINT, STATUS_SINGLE_STEP, ExceptionRecord, StateChange
from harness.debuggers.kd.wire import Attached, HandedOver, Notice, TakenBack, Wire, WrongKey
from harness.dumps.summary import Summary
from harness.dumps.symbol_path import SymbolPath
from harness.errors import KdError
from harness.host.logger import logger

_LOG = logger("kd")
IDLE_S = 0.5
PATIENCE_S = 10.0
"""Time limit in seconds of one exchange with a halted target, and of all reads after a bugcheck.

A printed bugcheck is reported after this time even if no halt follows."""
_QUEUE_LIMIT = 64


@dataclass(frozen=True)
class Event:
    """An event of the target; kinds and fields are those of `winvm kd listen --json`.

    `time` is host UNIX time in seconds; `report` comes with a bugcheck or break-in whose kernel was read.
    """

    time: float
    kind: str
    fields: Fields
    report: Summary | None = None


class KdHost:
    """Serves one target over one wire. One thread calls `step`; any thread may ask for a break or to go on.

    Args:
        on_event: called with every event, in order, on the thread that calls `step`.
        hold: leave the target halted after an exception, until `resume`.
        symbols: where images and PDBs are, for the reports of bugchecks and break-ins.
        patience_s: time limit in seconds of one exchange and of all reads after a bugcheck; a printed
            bugcheck without a halt is reported after it.
    """

    def __init__(
        self,
        wire: Wire,
        on_event: Callable[[Event], None],
        *,
        hold: bool = False,
        symbols: SymbolPath | None = None,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wire = wire
        self._on_event = on_event
        self._hold = hold
        self._symbols = symbols
        self._patience_s = patience_s
        self._clock = clock
        self._link = PacketLink(wire, self._delivered, self._noticed, self._overheard)
        self._queue: deque[Packet] = deque()
        self._wish = BreakInWish()
        self._looks = True
        self._go_wanted = threading.Event()
        self._hold_this = self._unhurried = False
        self._held: StateChange | None = None
        self._again: Packet | None = None
        self._relayed = False
        self._left: Packet | None = None
        self._serving: Packet | None = None
        self._version: Version | None = None
        self._images = LoadedImages()
        self._text = BugcheckText()
        self._assertions = Assertions()
        self._raised: ExceptionRecord | None = None
        self._printed: Bugcheck | None = None
        self._silence: Deadline | None = None
        self._reported: Bugcheck | None = None

    @property
    def held(self) -> bool:
        """Whether the target stands halted until `resume`."""
        return self._held is not None

    @property
    def relayed(self) -> bool:
        """Whether another debugger has the target."""
        return self._relayed

    def break_in(self, *, look: bool = True) -> None:
        """Asks the target to halt; repeats the request until it halts, even before it connects.

        Args:
            look: read every processor then; it takes part of a second on a serial line.
        """
        self._looks = look
        self._wish.make()

    def stop_breaking_in(self) -> None:
        """Withdraws the request to halt."""
        self._wish.drop()

    def hold_here(self) -> None:
        """Leaves the target halted where it stands; called while an event of that halt is handled."""
        self._hold_this = True

    def take_time(self) -> None:
        """Reads more of a bugcheck than a run waits for; for a kernel that will be held there."""
        self._unhurried = True

    def resume(self) -> None:
        """Continues a held target."""
        self._go_wanted.set()

    def step(self, timeout_s: float = IDLE_S) -> None:
        """Receives and handles whatever arrives within `timeout_s`.

        Raises:
            KdError: the connection is lost.
        """
        self._ask_for_halt()
        self._link.pump(timeout_s)
        while self._queue:
            self._serving = packet = self._queue.popleft()
            answered = self._attempt(lambda packet=packet: self._serve(packet))  # type: ignore[misc]
            self._serving = None
            if not answered and not self._queue:
                # The target waits for the answer without a time limit, even after its machine was paused.
                self._again = packet
                self._queue.appendleft(packet)
                break
        if self._go_wanted.is_set() and not self._relayed:
            self._go_wanted.clear()
            if (held := self._held) is not None:
                self._held = None
                if not self._attempt(lambda: self._go_on(held)):
                    self._held = held
                    self._go_wanted.set()
        if self._silence is not None and self._silence.expired:
            self._report({"halted": False})

    def close(self) -> None:
        """Closes the wire; never raises."""
        self._wire.close()

    def _ask_for_halt(self) -> None:
        if self._held is None and not self._relayed and self._wish.due():
            (self._link.reset if self._wish.by_reset else self._wire.break_in)()

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Runs an action; if the target stops answering or restarts, the action ends and the host goes on.

        Returns:
            False when the target was silent: the action may be tried again.
        """
        try:
            action()
        except TargetRestartedError:
            return True
        except KdError as error:
            self._emit("warning", {"text": error.message})
            return not isinstance(error, SilentTargetError)
        return True

    def _emit(self, kind: str, fields: Fields, report: Summary | None = None) -> None:
        if kind != "dbgprint":  # dbgprint.log has them
            _LOG.debug("%s %s", kind, fields)
        self._on_event(Event(self._clock(), kind, fields, report))

    def _noticed(self, notice: Notice) -> None:
        if isinstance(notice, WrongKey):
            self._emit("wrong-key", {"source": notice.source})
        elif isinstance(notice, HandedOver):
            # The other debugger must answer what is open; if it goes at once, this host does.
            self._left = self._serving or (self._queue[0] if self._queue else self._left)
            self._queue.clear()
            self._held, self._relayed = None, True
            self._emit("handed-over", {"to": notice.debugger})
        elif isinstance(notice, TakenBack):
            self._relayed = False
            if self._left is not None:
                self._queue.append(self._left)
            self._left = None
            self._emit("taken-back", {"from": notice.debugger})
        elif notice.same_boot:
            self._emit("new-key", {"source": notice.source})
        else:
            self._attached(notice)

    def _attached(self, notice: Attached) -> None:
        self._queue.clear()
        self._held = self._left = self._version = None
        if self._printed is not None:
            self._report({"halted": False})
        self._reported = self._raised = None
        self._images.forget()
        self._emit("attached", {"source": notice.source, "restarted": notice.restarted})

    def _delivered(self, packet: Packet) -> None:
        """Handles prints at once; queues other packets until the current exchange has ended."""
        if packet.type == PacketType.DEBUG_IO:
            self._print(packet)
            if not is_prompt(packet):
                return
        if self._relayed:
            self._watch(packet)
        elif len(self._queue) < _QUEUE_LIMIT:
            self._queue.append(packet)

    def _watch(self, packet: Packet) -> None:
        """Reports a packet for the other debugger, and remembers whether that debugger must answer it."""
        kind, fields = describe(packet)
        if packet.type == PacketType.STATE_CHANGE64:
            with suppress(KdError):
                self._emit(*self._state(StateChange.parse(packet.payload)))
        elif packet.type == PacketType.FILE_IO:
            self._emit(kind, {"operation": fields.get("operation"), "path": fields.get("path")})
        self._left = packet

    def _overheard(self, packet: Packet) -> None:
        """Handles a packet from the other debugger to the target."""
        if self._left is not None and settles(packet, self._left):
            self._left = None

    def _print(self, packet: Packet) -> None:
        kind, fields = describe(packet)
        self._emit(kind, fields)
        self._assertions.printed(str(fields.get("text", "")))
        if kind == "dbgprint" and (found := self._text.feed(str(fields["text"]))):
            self._printed, self._silence = found, Deadline.after(self._patience_s)

    def _serve(self, packet: Packet) -> None:
        if packet.type == PacketType.STATE_CHANGE64:
            change = StateChange.parse(packet.payload)
            if packet is self._again:
                self._go_on(change)
            else:
                self._halted(change)
        elif packet.type == PacketType.FILE_IO:
            request = FileRequest.parse(packet.payload)
            if packet is not self._again:
                self._emit("file-io", {"operation": request.operation, "path": request.path, "refused": True})
            self._link.send(PacketType.FILE_IO, request.refusal(), Deadline.after(self._patience_s))
        elif packet.type == PacketType.DEBUG_IO:
            asked = DebugIo.parse(packet.payload)
            answer = asked.answer(self._assertions.answer(asked.text, can_break=self._is_x64))
            self._link.send(PacketType.DEBUG_IO, answer, Deadline.after(self._patience_s))

    def _halted(self, change: StateChange) -> None:
        kind, fields = self._state(change)
        if change.exception is None:
            self._emit(kind, fields)
            self._go_on(change)
            return
        told = self._printed or self._assertions.text  # what the kernel said explains this halt
        self._raised = self._raised if is_breakpoint(change) else change.exception
        asked = is_breakpoint(change) and self._wish.made and not self._assertions.text
        if is_breakpoint(change) and not asked and self._wish.left_over(change.pc) and not told:
            self._go_on(change)
            return
        self._emit(kind, fields | {"break_in": True} if asked else fields)
        again = is_breakpoint(change) and self._examine(change, asked=asked)
        if asked:
            self._wish.granted(change.pc)
        if self._hold or self._hold_this or again:
            self._hold_this = False
            self._held = change
            self._emit("held", {"processor": change.processor})
            return
        self._go_on(change)

    def _state(self, change: StateChange) -> tuple[str, Fields]:
        """Kind and fields of a halt, with the image it is in; takes note of an image it reports as loaded."""
        if change.symbols is not None:
            self._images.take(change.symbols)
        kind, fields = state_fields(change)
        return kind, fields | (self._images.placed(change.pc) if change.exception else {})

    def _go_on(self, change: StateChange) -> None:
        """Continues the target after an exception or a load-symbols report."""
        if change.exception is None:
            self._go(change, CONTINUE)
        else:
            handled = change.exception.code in (STATUS_BREAKPOINT, STATUS_SINGLE_STEP)
            self._go(change, HANDLED if handled else NOT_HANDLED)

    def _go(self, change: StateChange, status: int) -> None:
        """Continues past a breakpoint instruction; of symbol reports, only the boot debugger's need that."""
        if self._version is None:
            with suppress(RequestRefusedError, SilentTargetError):
                self._version = self._target(change).version()
        version, target, amd64 = self._version, self._target(change), self._is_x64
        boot_debugger = version is not None and version.boot_debugger
        if amd64 and (is_breakpoint(change) or (change.exception is None and boot_debugger)):
            target.step_over()
        # A RESET makes the target report its halt again; continuing it ends the repeated reports as well.
        self._queue = deque(one for one in self._queue if one.type != PacketType.STATE_CHANGE64)
        target.go(status, amd64=amd64)

    @property
    def _is_x64(self) -> bool:
        return self._version is not None and self._version.machine == kd_context.AMD64

    def _target(self, change: StateChange) -> HaltedTarget:
        return HaltedTarget(self._link, change, Deadline.after(self._patience_s))

    def _examine(self, change: StateChange, *, asked: bool) -> bool:
        """Finds why the target is at a breakpoint; True if it would hit the same one again once continued."""
        target = self._target(change)
        if asked:
            self._emit("break-in", *self._processors(target, change))
        why = reason(target)
        if self._printed is None and (asked or why not in (BEFORE_DUMP, AFTER_DUMP)):
            if not asked:
                self._called_from(target, change)
            return False
        if self._reported is not None:
            return why == AFTER_DUMP
        seconds = HELD_SECONDS if self._hold or self._unhurried else SECONDS
        found = evidence(target, self._printed, self._images.modules, self._symbols, seconds, self._raised)
        if self._printed is None and found.kept is None:
            self._called_from(target, change)
            return False
        self._printed = found.kept or self._printed
        self._report({"halted": True, **found.fields}, found.report)
        return False

    def _processors(self, target: HaltedTarget, change: StateChange) -> tuple[Fields, Summary | None]:
        if not self._looks:
            return {"processors": change.processors}, None
        return processors(target, change.processors, self._images.modules, self._symbols)

    def _called_from(self, target: HaltedTarget, change: StateChange) -> None:
        """Reports a breakpoint that an image has the kernel execute, or its assertion that failed."""
        assertion, self._assertions.text = self._assertions.text, ""
        with suppress(RequestRefusedError):
            modules = target.version().modules if assertion else 0
            found = breakpoint_of(target, change, self._images, modules, assertion)
            if found:
                self._emit("breakpoint", found)

    def _report(self, fields: Fields, report: Summary | None = None) -> None:
        found, self._printed, self._silence = self._printed, None, None
        if found is not None and found != self._reported:
            self._reported = found
            said: Fields = {"code": found.code, "parameters": list(found.parameters), **described(found)}
            self._emit("bugcheck", {**said, **fields}, report)
