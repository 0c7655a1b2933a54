"""Notes on blocks of pool that a guarded driver allocated in a scenario and still had at its end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.crash.reported_place import reported_places
from harness.errors import WinvmError
from harness.interfaces import DebugStream, KeptBlocks, SeesPool
from harness.outcome import DebugRecord, KernelCrash

MOST_NOTES = 8


def kept_notes(stream: DebugStream, records: Iterable[DebugRecord], image: Path | None) -> list[str]:
    """One sentence for each place of allocation, the largest first; none if the guest tells nothing.

    Args:
        image: the driver that was loaded, on the host; names functions and lines.
    """
    if not isinstance(stream, SeesPool):
        return []
    found = sorted(stream.kept_blocks(records), key=lambda kept: -kept.bytes)
    notes = [_sentence(kept, stream.images(), image) for kept in found[:MOST_NOTES]]
    return [*notes, f"{len(found) - MOST_NOTES} more places"] if len(found) > MOST_NOTES else notes


def _sentence(kept: KeptBlocks, images: tuple[str, ...], image: Path | None) -> str:
    blocks = "1 pool block" if kept.count == 1 else f"{kept.count} pool blocks"
    return (
        f"the driver still has {blocks} of the scenario, {kept.bytes} bytes with tag {kept.tag}, "
        f"allocated at {_place(kept.stack, images, image)}"
    )


def _place(stack: tuple[int, ...], images: tuple[str, ...], image: Path | None) -> str:
    where = KernelCrash("bugcheck", 0, (), time=0.0, notes=images, stack=stack[:1])
    try:
        places = reported_places(where, image) if image else ()
    except WinvmError:
        places = ()
    frames = [frame for place in places for frame in place.frames]
    if frames:
        return f"{frames[0].function} ({frames[0].file}:{frames[0].line})"
    return f"{stack[0]:#x}" if stack else "an unknown place"
