"""A call stack from a thread's registers: unwound as far as unwind data reaches, scanned from there on."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap, call_target
from harness.dumps.image import UnreadableError
from harness.dumps.record import record
from harness.dumps.summary import Found, StackFrame, StackWord, VirtualMemory
from harness.dumps.unwind import x64
from harness.dumps.unwind.state import TARGET_SPAN, WORD, WORD_SIZE, State, bare_state, state_of

if TYPE_CHECKING:
    from harness.dumps.unwind.x64_code import Effort
    from harness.dumps.unwind.x64_entry import Entries

MAX_FRAMES = 2048
MAX_SCANS = 256
MAX_WORDS, MAX_COMPARED = 1 << 17, 1 << 20
"""Stack words of one dump that may stand for return addresses, and how many of them the scans compare."""
MAX_SEARCHED = 4096
"""Words in which one frame's return address is looked for by its function's start."""
IN_FRONT = 64
"""Bytes in front of an instruction that the smallest dumps do not keep."""
_KERNEL = 1 << 63


@record
class _Scanned:
    """The words of a stack from `start` to `end` that may be return addresses, and where they lie."""

    start: int
    end: int
    words: list[StackWord]
    locations: list[int]


class StackWalk:
    """Walks stacks of one dump or halted target.

    Args:
        addresses: modules, and their images in memory or in files.
        memory: of the stack.
        machine: `cpu.X64`, `cpu.ARM64` or `cpu.X86`; stacks of others are not walked.
    """

    def __init__(self, addresses: AddressMap, memory: VirtualMemory, machine: int) -> None:
        self._addresses = addresses
        self._memory = memory
        self._machine = machine
        self._scanned_stacks: list[_Scanned] = []
        self._words = 0
        self._compared = 0
        self._targets: dict[int, int | None] = {}
        self._scans = 0
        self._touched: set[int] = set()
        self._effort: Effort | None = None
        self._entries: Entries | None = None

    def walk(
        self, registers: Mapping[str, int], *, max_frames: int = MAX_FRAMES, max_scans: int = MAX_SCANS
    ) -> list[StackFrame]:
        """The frames, innermost first; the first is where `registers` stand. None without registers."""
        state = state_of(registers, self._machine)
        self._scans = max_scans
        return list(itertools.islice(self._frames(state), max_frames)) if state else []

    def scan(self, start: int, *, max_scans: int = MAX_SCANS) -> list[StackFrame]:
        """The frames of a stack of which only an address is known, from `start` on."""
        if self._machine not in WORD_SIZE:
            return []
        self._scans = max_scans
        first = self._scanned(bare_state(self._machine, 0, start, 0))
        return list(self._frames(first)) if first else []

    def _frames(self, state: State) -> Iterator[StackFrame]:
        yield self._frame(state, behind_scan=False)
        behind_scan = state.found is Found.SCAN
        seen = {(state.pc, state.sp)}
        for _ in range(MAX_FRAMES - 1):
            following = self._caller(state)
            if following is None or not following.pc or (following.pc, following.sp) in seen:
                return
            seen.add((following.pc, following.sp))
            yield self._frame(following, behind_scan)
            behind_scan |= following.found is Found.SCAN
            if following.found is Found.MACHINE_FRAME and following.pc < _KERNEL <= state.pc:
                return  # the rest is on the user's stack
            state = following

    def _frame(self, state: State, behind_scan: bool) -> StackFrame:
        place = self._addresses.place(state.pc, returns=not state.interrupted)
        return StackFrame(place, state.sp, state.location, state.found, behind_scan)

    def _caller(self, state: State) -> State | None:
        """The next frame by the first way that gives a plausible one; None at the stack's end."""
        if state.found is Found.FRAME_POINTER and state.frame_pointer == 0:
            return None  # the chain of frame records ends with one whose link is null
        for way in self._ways(state):
            try:
                caller = way(state)
                if not caller.pc and caller.found is not Found.CODE and not caller.frame_pointer:
                    return caller  # a thread's first function returns to nowhere
                if self._plausible(state, caller):
                    return caller
            except UnreadableError:
                continue
        return self._scanned(state)

    def _ways(self, state: State) -> Iterator[Callable[[State], State]]:
        # Right behind a call that does not return the next byte may belong to another image or to none.
        module = self._addresses.module_at(state.pc if state.interrupted else state.pc - 1)
        if module is None:
            if state.interrupted:  # a jump to where no code is: nothing was pushed behind the return address
                yield self._leaf
            return
        image = self._addresses.image(module)
        # What one dump in ten needs is imported when it is needed: `winvm dump` is to start quickly.
        if self._machine == cpu.X64:
            yield lambda state: self._checked(x64.step(image, module.base, state, self._memory), state)
            yield self._followed
            # The code in front is needed, which a minidump lacks; of a slow target too much would be read.
            if not self._addresses.slow and image.read(state.pc - module.base - IN_FRONT, 1):
                yield self._by_entry
        elif self._machine == cpu.X86:
            from harness.dumps.unwind import x86

            if state.interrupted and image.read(state.pc - module.base, 1) in x86.RETURNS:
                yield self._leaf
            yield lambda state: x86.by_frame_pointer(state, self._memory)
        else:
            from harness.dumps.unwind import arm64

            yield lambda state: arm64.step(image, module.base, state, self._memory)
            yield lambda state: arm64.by_frame_pointer(state, self._memory)

    def _followed(self, state: State) -> State:
        from harness.dumps.unwind.x64_code import follow

        self._touched.clear()
        return follow(self._addresses, state, self._memory, self._touched, self._pays())

    def _by_entry(self, state: State) -> State:
        from harness.dumps.unwind.x64_entry import Entries

        if self._entries is None:
            self._entries = Entries(self._addresses, self._memory, self._pays())
        stack = self._stack_of(state.sp)
        first = bisect.bisect_left(stack.locations, state.sp)
        return self._entries.caller(state, itertools.islice(stack.words, first, first + MAX_SEARCHED))

    def _pays(self) -> Effort:
        from harness.dumps.unwind.x64_code import Effort

        self._effort = self._effort or Effort()
        return self._effort

    def _checked(self, caller: State, state: State) -> State:
        """The caller, or what the code gives in its place where the function is no leaf.

        A function without unwind data is a leaf, which moves no stack pointer, or its data is missing.

        Raises:
            UnreadableError: nothing supports the word on top of the stack.
        """
        if caller.found is not Found.LEAF:
            return caller
        from harness.dumps.unwind.x64_code import calls_elsewhere, is_leaf

        leaf = is_leaf(self._addresses, state)
        if leaf or (leaf is None and caller.pc and not calls_elsewhere(self._addresses, caller.pc, state.pc)):
            return caller
        return self._followed(state)

    def _leaf(self, state: State) -> State:
        if self._machine == cpu.X64:
            caller = x64.returned(self._memory, state, Found.LEAF)
        elif self._machine == cpu.X86:
            from harness.dumps.unwind import x86

            caller = x86.leaf(state, self._memory)
        else:
            from harness.dumps.unwind import arm64

            caller = arm64.returned(state.copy(), Found.LEAF)
        if not caller.pc:
            raise UnreadableError("a return address")
        return caller

    def _plausible(self, state: State, caller: State) -> bool:
        """Whether the caller's stack lies above, and its address follows a call, where that is known."""
        sp = caller.sp
        if caller.found is Found.MACHINE_FRAME:
            return bool(sp) and (caller.pc < _KERNEL or self._addresses.place(caller.pc).module is not None)
        if sp < state.sp or (sp == state.sp and self._machine != cpu.ARM64) or sp - state.sp > WORD >> 16:
            return False
        module = self._addresses.module_at(caller.pc - 1)
        if module is not None and caller.found is Found.UNWOUND and self._addresses.slow:
            return True  # its unwind data is read next, which tells as much as the call would
        if module is not None:
            return self._addresses.called(module, caller.pc) is not False
        return self._addresses.place(caller.pc, returns=True).module is not None  # an unloaded one

    def _scanned(self, state: State) -> State | None:
        """The nearest word above that may be a return address; rather one whose call leads here."""
        if not self._scans:
            return None
        self._scans -= 1
        first: StackWord | None = None
        within = state.pc if state.interrupted else state.pc - 1
        stack = self._stack_of(state.sp)
        for at in range(bisect.bisect_left(stack.locations, state.sp), len(stack.words)):
            word = stack.words[at]
            if word.location in self._touched:
                continue
            first = first or word
            self._compared += 1
            if self._compared > MAX_COMPARED:
                break
            if word.called and self._leads_to(word, within):
                first = word
                break
        if first is None:
            return None
        return bare_state(
            self._machine, first.place.address, first.location + WORD_SIZE[self._machine], first.location
        )

    def _stack_of(self, sp: int) -> _Scanned:
        """The stack that `sp` lies in; a stack is read once."""
        for known in self._scanned_stacks:
            if known.start <= sp <= known.end:
                return known
        words = self._addresses.scan(sp) if self._words < MAX_WORDS else []
        self._words += len(words)
        able = [word for word in words if word.called is not False and word.place.offset]
        end = words[-1].location if words else sp
        found = _Scanned(sp, end, able, [word.location for word in able])
        if words:
            self._scanned_stacks.append(found)
        return found

    def _leads_to(self, word: StackWord, pc: int) -> bool:
        """Whether the call before a return address names a function that `pc` seems to lie in."""
        if self._machine != cpu.X64:
            return False
        address = word.place.address
        if address not in self._targets:
            self._targets[address] = call_target(self._addresses, address)
        target = self._targets[address]
        return target is not None and 0 <= pc - target < TARGET_SPAN
