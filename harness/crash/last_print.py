"""Finds the driver's function that printed last, for a crash whose stack names none.

A function whose return address was overwritten is on no stack, and a crash off the stack leaves no dump. The
driver's last line of debug output is then the best witness: the text that it was printed from is in the
driver's image, and the instructions that refer to that text are in one function. It is a guess: that function
may have returned since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pefile

from harness.dumps.summary import Place
from harness.toolchain.references import DEBUG, EXECUTE, code_positions, referring_code

SOURCE = "last debug output"
"""`Summary.fault_source` of a place found here."""
_TEXT = re.compile(rb"[\x09\x0a\x0d\x20-\x7e]{4,512}\x00")
_CONVERSION = re.compile(r"%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?(?:hh|h|ll|l|I64|I32|I|w|z|j|t|L)?[a-zA-Z]")
_LEAST = 6
"""Characters of a line that its format must account for."""
_MAX_DATA = 16 << 20
_MAX_BYTES = 64 << 20


def last_print(driver: Path, printed: Sequence[str]) -> Place | None:
    """The instruction that refers to the format of the last line; None if there is none in just one function.

    Args:
        driver: the image, with its PDB beside it.
        printed: the driver's debug output, oldest first.
    """
    lines = [line.strip() for line in printed if line.strip()]
    try:
        if not lines or driver.stat().st_size > _MAX_BYTES:
            return None
        with pefile.PE(str(driver), fast_load=True) as image:
            image.parse_data_directories([DEBUG])
            formats = frozenset(at for at, text in _texts(image) if printed_by(lines[-1], text))
            code = sorted({at for places in referring_code(image, formats).values() for at in places})
            frames = code_positions(image, driver, code)
    except (OSError, pefile.PEFormatError):
        return None
    functions = {frames[at][-1].function for at in code if frames.get(at)}
    if len(functions) != 1 or any(not frames.get(at) for at in code):
        return None
    return Place(code[-1], driver.name, code[-1], frames[code[-1]])


def printed_by(line: str, form: str) -> bool:
    """Whether a line of output, without blanks around it, may come from the last line of a format."""
    pieces = _CONVERSION.split(form.strip().splitlines()[-1].strip() if form.strip() else "")
    known = "".join(pieces)
    if len(known) < _LEAST or not line.startswith(pieces[0]) or not line.endswith(pieces[-1]):
        return False
    at = len(pieces[0])
    if len(pieces) == 1:
        return line == pieces[0]
    for piece in pieces[1:-1]:
        at = line.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return at <= len(line) - len(pieces[-1])


def _texts(image: pefile.PE) -> Iterator[tuple[int, str]]:
    """(RVA, text) of the strings in the image's data."""
    for section in image.sections:
        if not section.Characteristics & EXECUTE:
            data = section.get_data()[:_MAX_DATA]
            for found in _TEXT.finditer(data):
                yield section.VirtualAddress + found.start(), found[0][:-1].decode("ascii")
