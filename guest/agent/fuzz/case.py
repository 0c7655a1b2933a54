"""A case: a list of operations on a driver's devices, as JSON, small enough to read, to journal and to send.

An operation is an object with `op` and, where they mean something:

- `on`: the slot 0 to 3 of the handle; `open` fills it with `device`, an object path such as `\\??\\Winvm`.
- `code`: of an `ioctl`.
- `in`: the input's bytes in hexadecimal; `length`: of the input, zeros follow the bytes, at most 1 MiB.
- `out`: length of the output buffer in bytes, at most 1 MiB.
- `from`, `into`: where the buffers are, see `PLACES`; `own` by default.
- `thread`: operations in a row with a number other than 0 run in threads of those numbers, at the same time.
"""

from __future__ import annotations

import re
from typing import Any

Operation = dict[str, Any]
Case = list[Operation]

OPS = ("open", "ioctl", "read", "write", "cancel", "close", "wait")
PLACES = ("own", "null", "freed", "kernel", "same")
"""`freed`: an address that was freed; `kernel`: one of the kernel's; `same`, of the output: the input."""
SLOTS = 4
THREADS = 4
MOST = 64  # operations of a case
DATA_LIMIT = 4096  # bytes that a case holds of one input
LENGTH_LIMIT = 1 << 20
DEVICE = re.compile(r"\\(\?\?|Device|DosDevices)\\[ -\[\]-~\\]{1,200}")
HEX = re.compile(r"([0-9a-f]{2})*")


def checked(document: object) -> Case:
    """The document as a case. Raises `ValueError` that says what of it is none."""
    if not isinstance(document, list) or not 0 < len(document) <= MOST:
        raise ValueError(f"a case is a list of 1 to {MOST} operations")
    return [_operation(number, one) for number, one in enumerate(document, start=1)]


def _operation(number: int, one: object) -> Operation:
    if not isinstance(one, dict) or one.get("op") not in OPS:
        raise ValueError(f"operation {number} is none of {', '.join(OPS)}")
    limits = {
        "on": SLOTS - 1,
        "code": 0xFFFFFFFF,
        "length": LENGTH_LIMIT,
        "out": LENGTH_LIMIT,
        "thread": THREADS - 1,
    }
    for key, value in one.items():
        if key in limits:
            good = type(value) is int and 0 <= value <= limits[key]
        elif key == "in":
            good = (
                isinstance(value, str) and len(value) <= 2 * DATA_LIMIT and HEX.fullmatch(value) is not None
            )
        elif key in ("from", "into"):
            good = value in PLACES
        elif key == "device":
            good = isinstance(value, str) and DEVICE.fullmatch(value) is not None
        else:
            good = key == "op"
        if not good:
            raise ValueError(f"operation {number} has {str(key)[:20]!r} = {str(value)[:60]!r}")
    if (one["op"] == "open") != ("device" in one):
        raise ValueError(f"operation {number}: `open` names a device, and nothing else does")
    return dict(one)


def input_of(operation: Operation) -> bytes:
    """What the operation gives the driver."""
    data = bytes.fromhex(operation.get("in", ""))
    return data.ljust(operation["length"], b"\0") if operation.get("length", 0) > len(data) else data


def shown(case: Case) -> str:
    """The case in one line, for a person."""
    words = []
    for one in case:
        op = one["op"]
        if op == "ioctl":
            op += f" 0x{one.get('code', 0):X} in={max(len(one.get('in', '')) // 2, one.get('length', 0))}"
            op += f" out={one.get('out', 0)}"
        words.append(op + (f" thread={one['thread']}" if one.get("thread") else ""))
    return "; ".join(words)
