"""The return address of an x64 function whose unwind data is missing, from its instructions.

A kernel minidump keeps no function table, but 256 bytes of code from each return address on. Most functions
come to their return within these: every way through them is followed, calls stepped over, and how far each
instruction moves the stack pointer is added up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from harness.dumps.attribution import AddressMap, call_target
from harness.dumps.image import UnreadableError
from harness.dumps.summary import Found, VirtualMemory
from harness.dumps.unwind.state import RBP, RSP, TARGET_SPAN, WORD, State, stack_word
from harness.dumps.unwind.x64 import returned
from harness.dumps.unwind.x64_instruction import LONGEST, Flow, Instruction, decoded

MAX_INSTRUCTIONS, MAX_SWEPT = 1000, 64
MAX_FOLLOWED = 1 << 17
ENDS = (Flow.RETURN, Flow.STOP, Flow.ANYWHERE)
_INT3 = b"\xcc"
_JUMPS = (0xE9, 0xEB, 0xFF)


class Effort:
    """How many instructions may still be followed in a dump, all its stacks together."""

    def __init__(self, instructions: int = MAX_FOLLOWED) -> None:
        self.left = instructions


def follow(
    addresses: AddressMap, state: State, memory: VirtualMemory, touched: set[int], effort: Effort
) -> State:
    """The caller's state.

    Args:
        effort: pays for every instruction.
        touched: gains the addresses of words on the stack that the code reads or writes: none of these is its
            return address.

    Raises:
        UnreadableError: no path through the available code reaches a plausible return.
    """
    # Of each way also the stack pointer at its calls: a return address lies above it, but for a call that
    # does not come back, behind which another function follows.
    floor = -1 if state.interrupted else state.sp
    waiting = deque([(_behind_breakpoint(addresses, state), floor, Pushed(memory))])
    seen = {waiting[0][0].pc}
    for _ in range(min(MAX_INSTRUCTIONS, effort.left)):
        if not waiting:
            break
        effort.left -= 1
        here, floor, stack = waiting.popleft()
        module = addresses.module_at(here.pc)
        if module is None:
            continue
        instruction = decoded(addresses.image(module).read(here.pc - module.base, LONGEST))
        if instruction is None:
            continue
        _note(instruction, here, touched)
        if instruction.flow is Flow.RETURN:
            found = _returned(addresses, here, stack)
            if found and found.location > floor:
                return found
            continue
        if instruction.flow is Flow.CALL and (pointer := here.registers[RSP]) is not None:
            floor = max(floor, pointer)
        execute(instruction, here, stack)
        here.pc += instruction.length
        for target in targets(instruction, here.pc):
            if target not in seen:
                seen.add(target)
                way = here.copy()
                way.pc = target
                kept = stack.copy() if instruction.flow is Flow.BRANCH else stack
                waiting.append((way, floor, kept))
    _sweep(addresses, state, touched, effort)
    raise UnreadableError("code up to a return")


def is_leaf(addresses: AddressMap, state: State) -> bool | None:
    """Whether the code returns from here and neither moves the stack pointer nor calls; None if not seen."""
    here = _behind_breakpoint(addresses, state)
    module = addresses.module_at(here.pc)
    for _ in range(MAX_SWEPT):
        if module is None or not module.base <= here.pc < module.end:
            return None
        instruction = decoded(addresses.image(module).read(here.pc - module.base, LONGEST))
        if instruction is None or instruction.flow in (Flow.STOP, Flow.ANYWHERE, Flow.JUMP):
            return None
        if instruction.flow is Flow.RETURN:
            return True
        if instruction.moves or instruction.flow is Flow.CALL:
            return False
        here.pc += instruction.length
    return None


def calls_elsewhere(addresses: AddressMap, returns_to: int, pc: int) -> bool:
    """Whether the call before a return address names a function that `pc` does not seem to lie in.

    What is called through a register, a pointer or a stub that jumps on may be anything.
    """
    target = call_target(addresses, returns_to)
    module = addresses.module_at(returns_to)
    if target is None or module is None or not module.base <= target < module.end:
        return False
    first = addresses.image(module).read(target - module.base, 1)
    return bool(first) and first[0] not in _JUMPS and not 0 <= pc - target < TARGET_SPAN


class Pushed:
    """Memory with the registers that the code stores: it stands in a prologue, before its stores."""

    def __init__(self, memory: VirtualMemory) -> None:
        self._memory = memory
        self._pushed: dict[int, int | None] = {}

    def copy(self) -> Pushed:
        """For another way through the code, which stores other values."""
        made = Pushed(self._memory)
        made._pushed = dict(self._pushed)
        return made

    def push(self, address: int, value: int | None) -> None:
        """Keeps what was stored at an address."""
        self._pushed[address & WORD] = value

    @property
    def kept(self) -> Mapping[int, int | None]:
        """What was stored, by address."""
        return self._pushed

    def read(self, address: int, size: int) -> bytes:
        """As `VirtualMemory`; nothing where an unknown value was stored."""
        if size == 8 and address in self._pushed:
            value = self._pushed[address]
            return b"" if value is None else value.to_bytes(8, "little")
        return self._memory.read(address, size)


def _behind_breakpoint(addresses: AddressMap, state: State) -> State:
    """The state, behind the breakpoint that it stands at: the code goes on there."""
    here = state.copy()
    module = addresses.module_at(here.pc)
    if here.interrupted and module and addresses.image(module).read(here.pc - module.base, 1) == _INT3:
        here.pc += 1
    return here


def _note(instruction: Instruction, here: State, touched: set[int]) -> None:
    """Notes the word on the stack that an instruction reads or writes."""
    if instruction.touches is not None:
        base, displacement = instruction.touches
        if (known := here.registers[base]) is not None:
            touched.add((known + displacement) & -8)


def _sweep(addresses: AddressMap, state: State, touched: set[int], effort: Effort) -> None:
    """Notes what the rest of the code at hand touches, behind jumps too: it is the same function's.

    It ends where the stack pointer moves, which is another function or an epilogue, and at padding.
    """
    module = addresses.module_at(state.pc)
    at = state.pc
    for _ in range(min(MAX_SWEPT, effort.left)):
        effort.left -= 1
        if module is None or not module.base <= at < module.end:
            return
        instruction = decoded(addresses.image(module).read(at - module.base, LONGEST))
        if instruction is None or instruction.moves or instruction.flow in ENDS:
            return
        _note(instruction, state, touched)
        at += instruction.length


def _returned(addresses: AddressMap, here: State, memory: VirtualMemory) -> State | None:
    try:
        found = returned(memory, here, Found.CODE)
    except UnreadableError:
        return None
    module = addresses.module_at(found.pc - 1)
    return found if module is not None and addresses.called(module, found.pc) is not False else None


def targets(instruction: Instruction, following: int) -> list[int]:
    """Where an instruction goes on; `following` is the next one's address."""
    if instruction.flow in ENDS:
        return []
    if instruction.flow is Flow.JUMP:
        return [following + instruction.target]
    if instruction.flow is Flow.BRANCH:
        return [following, following + instruction.target]
    return [following]


def execute(instruction: Instruction, state: State, memory: Pushed) -> None:
    """What the instruction does to registers; of what it stores, only registers are kept.

    `sub rsp, rax` loses the stack pointer; a function with a frame pointer takes it from there again.
    """
    value: int | None = None
    if instruction.stores is not None and instruction.touches is not None:
        base, offset = instruction.touches
        if (known := state.registers[base]) is not None:
            memory.push(known + offset, state.registers[instruction.stores])
    if instruction.source is not None:
        base, offset = instruction.source
        known = state.registers[base]
        if known is not None:
            value = (known + offset) & WORD
            if instruction.loads:
                value = _loaded(memory, value)
    for number in instruction.spoiled:
        state.registers[number] = None
    if instruction.leaves:
        frame = state.registers[RBP]
        state.registers[RSP] = None if frame is None else (frame + 8) & WORD
    elif instruction.moves and state.registers[RSP] is not None:
        state.sp += instruction.moves
        if instruction.pushes is not None:
            memory.push(state.sp, state.registers[instruction.pushes])
    if instruction.source is not None:
        state.registers[instruction.destination] = value


def _loaded(memory: VirtualMemory, address: int) -> int | None:
    try:
        return stack_word(memory, address)
    except UnreadableError:
        return None
