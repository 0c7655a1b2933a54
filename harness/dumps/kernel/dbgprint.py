"""The DbgPrint ring buffer; the debugger data block has its address, size and write position (wdbgexts.h)."""

from __future__ import annotations

from harness.dumps.kernel.view import KernelView

MAX_BUFFER = 1 << 20
MAX_LINES = 200
_START, _END, _WRITE, _ROLLOVER, _START_POINTER, _SIZE_POINTER = 0x1E0, 0x1E8, 0x1F0, 0x1F8, 0x2C8, 0x2D0


def debug_output(view: KernelView, most: int | None = None) -> tuple[str, ...]:
    """The last lines in the buffer, oldest first.

    Args:
        most: bytes that are read in front of the write position; the whole buffer by default.
    """
    start = view.number(view.debugger_word(_START_POINTER)) or view.debugger_word(_START)
    size = view.number(view.debugger_word(_SIZE_POINTER), 4) or 0
    if not size and view.debugger_word(_END) > start:
        size = view.debugger_word(_END) - start
    write = view.number(view.debugger_word(_WRITE))
    if not start or write is None or not 0 < size <= MAX_BUFFER or not 0 <= write - start <= size:
        return ()
    at = write - start
    begin = 0 if most is None else max(0, at - most)
    data = view.memory.read(start + begin, at - begin)
    if len(data) < at - begin:
        return ()
    cut = begin > 0
    if not cut and (view.number(view.debugger_word(_ROLLOVER), 4) or 0):
        wanted = size - at if most is None else min(size - at, most - at)
        older = view.memory.read(start + size - wanted, wanted)
        if len(older) == wanted:
            data, cut = older + data, True
    lines = data.replace(b"\0", b"").decode("utf-8", "replace").replace("\r", "").split("\n")
    if cut:
        lines = lines[1:]  # its start is missing
    return tuple(line for line in lines if line)[-MAX_LINES:]
