"""The return address of an x64 function by its code from its start on, where no unwind data tells it.

Code that does not come back, such as a loop without end or a call at a function's end, leads to no return.
What the instructions between the function's start and the frame's did to the stack pointer tells as much. A
start is where the call before a return address leads to, or where padding ends; it is believed if the word
that it makes the return address follows a call which may have led there.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator

from harness.dumps.attribution import AddressMap, call_target
from harness.dumps.image import UnreadableError
from harness.dumps.summary import Found, Module, NoMemory, StackWord, VirtualMemory
from harness.dumps.unwind.state import RSP, TARGET_SPAN, WORD, State, stack_word
from harness.dumps.unwind.x64 import NONVOLATILE
from harness.dumps.unwind.x64_code import ENDS, Effort, Pushed, execute, targets
from harness.dumps.unwind.x64_instruction import LONGEST, Flow, Instruction, decoded

MAX_CODE = 400
"""Instructions of one function that are followed."""
MAX_CALLED, MAX_STARTS = 32, 16
_ENTRY = 1 << 61
"""Stack pointer at a function's start, for following its code: it points to the return address."""
_UNCHANGED = 1 << 62
"""Values of registers at a function's start: this, and the register's number above bit 32."""
_FRAME = 1 << 20
_PADDING = re.compile(
    rb"(?:[\xcc\xc3\x90]|\x0f\x1f(?:\0|\x40\0|\x44\0\0|\x80\0{4}|\x84\0{5}))(?![\xcc\x90])", re.DOTALL
)
"""The last instruction that runs into nothing: a return, a breakpoint or a NOP of the lengths in use."""
_PROLOGUES = (
    b"\x48\x83\xec",
    b"\x48\x81\xec",
    *(bytes([push]) for push in range(0x53, 0x58) if push != 0x54),
)
_PROLOGUES += tuple(bytes([0x40 | extended, push]) for extended in (0, 1) for push in range(0x53, 0x58))
"""How functions start that no padding is in front of: the stack pointer is lowered."""
_HOMES = 0x20
"""Bytes that a caller keeps for the called function's arguments, right above the return address."""
_MOV_EAX = 0xB8
_SIZE_IN_RAX = (b"\x48\x29\xc4", b"\x48\x2b\xe0")  # sub rsp, rax: behind a call that touches the pages


class Entries:
    """Finds callers by their callees' starts, on the stacks of one dump.

    Args:
        memory: of the stack.
        effort: pays for every instruction that is followed.
    """

    def __init__(self, addresses: AddressMap, memory: VirtualMemory, effort: Effort) -> None:
        self._addresses = addresses
        self._memory = memory
        self._effort = effort
        self._known: dict[tuple[int, int], _Reached | None] = {}

    def caller(self, state: State, words: Iterable[StackWord]) -> State:
        """The caller's state.

        Args:
            words: the stack's words in modules, from the stack pointer on.

        Raises:
            UnreadableError: no start of the function is found that agrees with the stack.
        """
        module = self._addresses.module_at(state.pc if state.interrupted else state.pc - 1)
        if module is None:
            raise UnreadableError("code")
        least = 0 if state.interrupted else _HOMES
        returns = {word.location: word for word in words if word.called}
        for start in self._starts(state, module, returns.values()):
            if self._effort.left <= 0:
                break
            found = self._located(module, start, state)
            word = returns.get(found[0]) if found else None
            if not found or not word or not self._may_lead(word, start):
                continue
            # What only padding makes a start may be a place in the function's body: a frame must be seen.
            if call_target(self._addresses, word.place.address) == start or found[0] > state.sp + least:
                return _caller(state, word, found[1], self._memory)
        raise UnreadableError("the start of the function")

    def _starts(self, state: State, module: Module, words: Iterable[StackWord]) -> Iterator[int]:
        """Where the function may start: what was called, then what follows padding; the nearest first."""
        near: set[int] = set()
        far: list[int] = []
        for word in itertools.islice(words, MAX_CALLED):
            target = call_target(self._addresses, word.place.address)
            if target is None or not module.base <= target < module.end:
                continue
            if 0 <= state.pc - target < TARGET_SPAN:
                near.add(target)
            elif target not in far:
                far.append(target)
        yield from sorted(near, reverse=True)
        for start in self._behind_padding(state, module):
            if start not in near:
                yield start
        yield from far[:MAX_STARTS]

    def _behind_padding(self, state: State, module: Module) -> Iterator[int]:
        here = state.pc - module.base
        at = max(0, here - TARGET_SPAN)
        code = self._addresses.image(module).read(at, here - at)
        ends = {found.end() for found in _PADDING.finditer(code)}
        ends |= {end for end in range(-at & 15, len(code), 16) if code.startswith(_PROLOGUES, end)}
        for end in sorted(ends, reverse=True)[:MAX_STARTS]:
            yield module.base + at + end

    def _may_lead(self, word: StackWord, start: int) -> bool:
        """Whether the call before a word may have led to the function at `start`, also by a tail call."""
        target = call_target(self._addresses, word.place.address)
        if target is None or target == start:
            return True
        module = self._addresses.module_at(target)
        waiting, seen = deque([target]), {target}
        for _ in range(MAX_CODE):
            if not waiting or module is None:
                return False
            at = waiting.popleft()
            if at == start:
                return True
            instruction, _ = self._decoded(module, at)
            if instruction is None:
                continue
            if instruction.flow is Flow.ANYWHERE:
                return True
            following = targets(instruction, at + instruction.length)
            waiting.extend(found for found in following if found not in seen)
            seen.update(following)
        return False

    def _decoded(self, module: Module, at: int) -> tuple[Instruction | None, bytes]:
        if not module.base <= at < module.end:
            return None, b""
        self._effort.left -= 1
        code = self._addresses.image(module).read(at - module.base, LONGEST)
        return decoded(code), code

    def _located(self, module: Module, start: int, state: State) -> tuple[int, dict[int, int | None]] | None:
        """The return address's location, and where each non-volatile register was stored.

        None stands for one that still has the caller's value.
        """
        goal = start, -state.pc if state.interrupted else state.pc
        if goal not in self._known:
            self._known[goal] = self._reached(module, start, state)
        reached = self._known[goal]
        if reached is None:
            return None
        for number in (RSP, *NONVOLATILE):
            value, actual = reached.registers[number], state.registers[number]
            if value is not None and actual is not None and abs(value - _ENTRY) < _FRAME:
                moved = actual - value
                break
        else:
            return None
        location = (_ENTRY + moved) & WORD
        kept = {at: None if held is None else (held + moved) & WORD for at, held in reached.kept.items()}
        return (location, kept) if location >= state.sp else None

    def _reached(self, module: Module, start: int, state: State) -> _Reached | None:
        """Follows the code from `start` to the frame's instruction."""
        registers: list[int | None] = [_UNCHANGED | number << 32 for number in range(16)]
        registers[RSP] = _ENTRY
        waiting = deque([(State(state.machine, start, registers, False), Pushed(NoMemory()))])
        seen = {start}
        size: int | None = None
        for _ in range(MAX_CODE):
            if not waiting:
                return None
            here, stack = waiting.popleft()
            if here.pc == state.pc and state.interrupted:
                return _Reached(here, stack)
            instruction, code = self._decoded(module, here.pc)
            if instruction is None or instruction.flow in ENDS:
                continue
            following = here.pc + instruction.length
            if instruction.flow is Flow.CALL and following == state.pc and not state.interrupted:
                return _Reached(here, stack)
            if code[0] == _MOV_EAX and instruction.length == 5:
                size = int.from_bytes(code[1:5], "little")
            pointer = here.registers[RSP]
            execute(instruction, here, stack)
            if code.startswith(_SIZE_IN_RAX) and size is not None and pointer is not None:
                here.sp = pointer - size
            for target in targets(instruction, following):
                if target not in seen:
                    seen.add(target)
                    way = here.copy()
                    way.pc = target
                    kept = stack.copy() if instruction.flow is Flow.BRANCH else stack
                    waiting.append((way, kept))
        return None


class _Reached:
    """Registers at the frame's instruction, and where the non-volatile ones are; None for in themselves.

    Values and locations are those of a stack whose return address is at `_ENTRY`.
    """

    def __init__(self, here: State, stack: Pushed) -> None:
        self.registers = here.registers
        self.kept: dict[int, int | None] = {}
        stored = {value: at for at, value in stack.kept.items() if value is not None}
        for number in NONVOLATILE:
            unchanged = _UNCHANGED | number << 32
            if here.registers[number] == unchanged:
                self.kept[number] = None
            elif unchanged in stored:
                self.kept[number] = stored[unchanged]


def _caller(state: State, word: StackWord, kept: dict[int, int | None], memory: VirtualMemory) -> State:
    registers: list[int | None] = [None] * len(state.registers)
    for number, location in kept.items():
        registers[number] = state.registers[number] if location is None else stack_word(memory, location)
    caller = State(state.machine, word.place.address, registers, False, Found.CODE, word.location)
    caller.sp = word.location + 8
    return caller
