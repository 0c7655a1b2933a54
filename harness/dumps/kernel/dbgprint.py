"""The DbgPrint ring buffer; the debugger data block has its address, size and write position (wdbgexts.h)."""

from __future__ import annotations

from harness.dumps.kernel.view import KernelView

MAX_BUFFER = 1 << 20
MAX_LINES = 200
_START, _END, _WRITE, _ROLLOVER, _START_POINTER, _SIZE_POINTER = 0x1E0, 0x1E8, 0x1F0, 0x1F8, 0x2C8, 0x2D0


def debug_output(view: KernelView) -> tuple[str, ...]:
    """The last lines in the buffer, oldest first."""
    start = view.number(view.debugger_word(_START_POINTER)) or view.debugger_word(_START)
    size = view.number(view.debugger_word(_SIZE_POINTER), 4) or 0
    if not size and view.debugger_word(_END) > start:
        size = view.debugger_word(_END) - start
    write = view.number(view.debugger_word(_WRITE))
    if not start or write is None or not 0 < size <= MAX_BUFFER or not 0 <= write - start <= size:
        return ()
    data = view.memory.read(start, size)
    at = write - start
    if len(data) < at:
        return ()
    rolled = view.number(view.debugger_word(_ROLLOVER), 4) or 0
    text = data[at:] + data[:at] if rolled and len(data) == size else data[:at]
    lines = text.replace(b"\0", b"").decode("utf-8", "replace").replace("\r", "").split("\n")
    if rolled:
        lines = lines[1:]  # its start was overwritten
    return tuple(line for line in lines if line)[-MAX_LINES:]
