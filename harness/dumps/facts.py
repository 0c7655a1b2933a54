"""What was found in a kernel's structures, as plain data, and its JSON form. Addresses are integers."""

from __future__ import annotations

from typing import Any

from harness.dumps.record import record

DOCUMENTED = "documented layout"
FROM_PDB = "nt symbols"


@record
class IrpLocation:
    """One I/O stack location: `device` is the device object; `driver` the name of its driver object.

    driver and device_name are empty where the dump does not tell them.
    """

    number: int
    current: bool
    function: str
    device: int
    driver: str
    device_name: str
    completion: int


@record
class Irp:
    """An I/O request packet: `locations` that are in use, the one used first, of the highest number, last.

    layout: the source of the offsets, `DOCUMENTED` or `FROM_PDB`.
    """

    address: int
    status: int
    count: int
    current: int
    thread: int
    locations: tuple[IrpLocation, ...]
    layout: str


@record
class PoolBlock:
    """A pool block that holds `address`: where its data starts, the block's size and its tag.

    walked: the page's headers lead to it from the page's start; else only the header in front fits.
    """

    address: int
    start: int
    size: int
    tag: str
    allocated: bool
    walked: bool
    layout: str


@record
class SecondaryData:
    """Data that a driver added to a small dump: `text` is all of it if it is text, else the text in it.

    what: what the tag is known for; empty for a tag that is not known.
    """

    tag: str
    size: int
    text: str
    whole: bool
    what: str = ""


@record
class BlockedThread:
    """A thread that does not run, with its stack pointer; `name` says whose it is."""

    address: int
    name: str
    stack_pointer: int
    registers: dict[str, int]


@record
class NamedText:
    """The text that the bugcheck's parameter of this number, from 1, points to."""

    parameter: int
    text: str


@record
class KernelFacts:
    """What a kernel's own structures tell.

    debug_output: the last lines that drivers printed, from the DbgPrint buffer; oldest first.
    driver: name in KiBugCheckDriver, or of the broken driver in a small dump.
    texts: names and messages that the bugcheck's parameters point to.
    needs_symbols: what cannot be told without the kernel's PDB.
    """

    debug_output: tuple[str, ...] = ()
    driver: str = ""
    irps: tuple[Irp, ...] = ()
    pool: tuple[PoolBlock, ...] = ()
    secondary: tuple[SecondaryData, ...] = ()
    needs_symbols: tuple[str, ...] = ()
    texts: tuple[NamedText, ...] = ()


NOTHING = KernelFacts()


def facts_document(facts: KernelFacts) -> dict[str, Any]:
    """The facts as JSON-ready data."""
    return {
        "debug_output": list(facts.debug_output),
        "driver": facts.driver,
        "texts": [dict(vars(one)) for one in facts.texts],
        "irps": [
            {**vars(irp), "locations": [dict(vars(location)) for location in irp.locations]}
            for irp in facts.irps
        ],
        "pool": [dict(vars(block)) for block in facts.pool],
        "secondary": [dict(vars(one)) for one in facts.secondary],
        "needs_symbols": list(facts.needs_symbols),
    }
