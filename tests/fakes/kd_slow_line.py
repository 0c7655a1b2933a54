"""A serial line of a certain speed between a target and its debugger, and a kernel as large as a real one."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable

from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.host import Event
from harness.debuggers.kd.packets import Packet
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_listening import FATAL, Listening
from tests.fakes.kd_machine import ENTRIES, KERNEL_BASE, MODULE_LIST, STACK, FakeKernel, exception, printed
from tests.fakes.unwind_image import UnwindImage, slot

DRIVER = 0xFFFFF80200000000
MODULES = 150
FUNCTIONS = 30_000
CODE, TABLE, INFO = 0x1000, 0x200000, 0x300000
BREAK = KERNEL_BASE + CODE + 0x80 * 700
"""The kernel's breakpoint routine, a leaf function's place in front of its functions."""
KERNEL_FRAMES, DRIVER_FRAMES, OUTER_FRAMES = 3, 3, 4


class SlowLine:
    """Passes bytes on between two descriptors at a speed in baud, 10 bits a byte, both ways at once.

    `line` is the debugger's end; `far` belongs to the target.
    """

    def __init__(self, far: int, baud: int) -> None:
        near, other = socket.socketpair()
        self.line = other.detach()
        self._near, self._far = near, socket.socket(fileno=far)
        self._seconds = 10 / baud
        self.passed = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._carry, args=ends, daemon=True)
            for ends in ((self._near, self._far), (self._far, self._near))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5.0)
        self._near.close()
        self._far.close()

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        free = 0.0
        while not self._stop.is_set():
            readable, _, _ = select.select([source], [], [], 0.05)
            if not readable:
                continue
            try:
                data = source.recv(64)
            except OSError:
                return
            if not data:
                return
            free = max(free, time.monotonic()) + len(data) * self._seconds
            time.sleep(max(0.0, free - time.monotonic()))
            try:
                to.sendall(data)
            except OSError:
                return
            self.passed += len(data)


class LargeKernel(FakeKernel):
    """A kernel of 30,000 functions and 150 images. Its stack leads from it into the last driver and back."""

    def __init__(self, script: Iterable[Packet] = ()) -> None:
        super().__init__(script)
        self._list_modules()
        self._lay_out_kernel()
        driver = UnwindImage()
        for start in (0x1000, 0x2000, 0x3000):
            driver.function(start, start + 0x100, driver.info([slot(4, 2, 7)], prologue=4))  # 0x40 bytes
            driver.call(start + 0x50)
        self._put(DRIVER, bytes(driver.data))
        self.chain = self._fill_stack()

    def _put(self, address: int, data: bytes) -> None:
        for at in range(0, len(data), 0x1000):
            self.write(address + at, data[at : at + 0x1000])

    def _list_modules(self) -> None:
        for number in range(MODULES):
            at = ENTRIES + 0x200 * number
            after = ENTRIES + 0x200 * (number + 1) if number + 1 < MODULES else MODULE_LIST
            before = ENTRIES + 0x200 * (number - 1) if number else MODULE_LIST
            base, size, path = 0xFFFFF80300000000 + 0x100000 * number, 0x80000, f"driver{number:03}.sys"
            if number == 0:
                base, size, path = KERNEL_BASE, 0x800000, "ntoskrnl.exe"
            elif number == MODULES - 1:
                base, size, path = DRIVER, 0x10000, "winvm.sys"
            name = f"\\SystemRoot\\System32\\drivers\\{path}".encode("utf-16-le")
            entry = struct.pack("<QQ", after, before).ljust(0x30, b"\0")
            entry += struct.pack("<QQI4x", base, 0, size)
            entry += struct.pack("<HHIQ", len(name), len(name), 0, at + 0x100)
            self.write(at, entry.ljust(0x100, b"\0") + name)
        self.write(MODULE_LIST, struct.pack("<QQ", ENTRIES, ENTRIES + 0x200 * (MODULES - 1)))

    def _lay_out_kernel(self) -> None:
        """Functions of 0x40 bytes every 0x80, each with 0x40 bytes of stack; what is between is a leaf's."""
        head = UnwindImage()
        head.function(0x1000, 0x1100, 0)
        image = bytearray(head.data[:0x1000])
        struct.pack_into("<II", image, 0x98 + 112 + 8 * 3, TABLE, 12 * FUNCTIONS)
        struct.pack_into("<8sIIII", image, 0x98 + 0xF0, b".text", 0x400000, CODE, 0x400000, 0x400)
        self._put(KERNEL_BASE, bytes(image))
        starts = range(CODE, CODE + 0x40 * FUNCTIONS, 0x40)
        entries = b"".join(struct.pack("<III", start, start + 0x40, INFO) for start in starts)
        self._put(KERNEL_BASE + TABLE, entries)
        self.write(KERNEL_BASE + INFO, struct.pack("<BBBBH", 1, 4, 1, 0, slot(4, 2, 7)))

    def _fill_stack(self) -> list[int]:
        """The return addresses, innermost first."""
        kernel = [
            KERNEL_BASE + CODE + 0x40 * number + 0x20 for number in (701, 9000, 9100, 20, 12345, 29000, 5)
        ]
        for address in kernel:
            self.write(address - 5, b"\xe8\1\2\3\4")
        own = [DRIVER + start + 0x50 for start in (0x1000, 0x2000, 0x3000)]
        chain = [*kernel[:KERNEL_FRAMES], *own, *kernel[KERNEL_FRAMES:]]
        words = [0] * (9 * len(chain) + 16)
        for number, address in enumerate(chain):
            words[8 + 9 * number] = address
        self.write(STACK, struct.pack(f"<{len(words)}Q", *words))
        return chain


def bugcheck_on_slow_line(baud: int) -> tuple[Event, Event, list[int]]:
    """The halt and the report of a bugcheck of such a kernel, and its return addresses."""
    kernel = LargeKernel([printed(FATAL), exception(0x80000003, BREAK + 0x20), printed("dump written\n")])
    kernel.rcx.append(3)
    kernel.bugchecked(0xE3, 1, 2, 3, 0)
    target = SerialTarget(kernel, retry_s=1.0)
    line = SlowLine(target.line, baud)
    host = Listening(KdcomWire(line.line, "slow line"))
    with contextlib.closing(line), contextlib.closing(target), contextlib.closing(host):
        host.wait(lambda: bool(host.of("bugcheck")))
        return host.of("exception")[0], host.of("bugcheck")[0], kernel.chain
