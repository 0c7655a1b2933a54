"""What a guest image was found to be able to do: one finding for each capability, in the image's manifest.

`manifest.json` of an image has it under `capabilities`, once the probes have run:

    {"probes": digest, "measured": time, "profile": name, "accelerator": name,
     "found": {"irql": {"verdict": "not shown", "outcome": "failed", "message": text}, ...}}

`harness/run/probing.py` measures. A capability without a finding is untried.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ImageError
from harness.project.profile import CAPABILITIES, Profile

_P = TypeVar("_P", bound=Profile)

KEY = "capabilities"
"""Of an image's manifest."""


class Verdict(StrEnum):
    """What is known of one capability of one guest."""

    SHOWN = "shown"
    DIFFERS = "differs"  # it is there, and not quite as in Windows: the finding's message says how
    NOT_SHOWN = "not shown"
    UNTRIED = "untried"


class Found(BaseModel):
    """One capability: the verdict, and the outcome and message of the probe that it rests on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    verdict: Verdict = Verdict.UNTRIED
    outcome: Annotated[str, Field(max_length=40)] = ""
    message: Annotated[str, Field(max_length=2000)] = ""


class Measured(BaseModel):
    """All that one run of the probes found.

    Attributes:
        probes: hex SHA-256 over the probes; others may find something else.
        measured: when, in ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    probes: str
    measured: str = ""
    profile: str = ""
    accelerator: str = ""
    found: dict[str, Found] = Field(default_factory=dict)

    def of(self, capability: str) -> Found:
        """The finding; untried if there is none."""
        return self.found.get(capability, Found())

    def lacking(self) -> frozenset[str]:
        """Capabilities that the probes did not find."""
        return frozenset(name for name in CAPABILITIES if self.of(name).verdict is Verdict.NOT_SHOWN)

    def untried(self) -> frozenset[str]:
        """Capabilities of which the probes say nothing."""
        return frozenset(name for name in CAPABILITIES if self.of(name).verdict is Verdict.UNTRIED)


def read(manifest: Path) -> Measured | None:
    """What an image's manifest says; None if the image was never probed, or the entry cannot be used."""
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
        return Measured.model_validate(document[KEY])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def write(manifest: Path, measured: Measured) -> None:
    """Puts the findings into an image's manifest, in place of older ones; everything else stays as it is.

    The file keeps its time: the age of an image is that of its build.

    Raises:
        ImageError: the manifest cannot be read or written.
    """
    try:
        before = manifest.stat()
        document: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        document[KEY] = measured.model_dump(mode="json")
        unfinished = manifest.with_name(f".{manifest.name}.new")
        unfinished.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        unfinished.chmod(before.st_mode & 0o777)
        os.utime(unfinished, ns=(before.st_atime_ns, before.st_mtime_ns))
        unfinished.replace(manifest)
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(
            f"The capabilities that were measured cannot be written into {manifest}: {error}.",
            remedy="Run as the user who built the image.",
        ) from error


def limited(profile: _P, measured: Measured | None, provided: frozenset[str] = frozenset()) -> _P:
    """The profile for an image: what the image was not found to have is taken away, and nothing is added.

    Args:
        measured: None for an image that was never probed; then every capability is untried.
        provided: capabilities that the run itself switches on.
    """
    found = measured or Measured(probes="")
    return profile.model_copy(
        update={
            "missing_capabilities": profile.missing_capabilities | (found.lacking() - provided),
            "untried_capabilities": found.untried() - profile.missing_capabilities - provided,
        }
    )


def table(guests: Mapping[str, Measured | None]) -> str:
    """A Markdown table with a row for each capability and a column for each guest; None is never probed."""
    rows = [["capability", *guests], ["---"] * (len(guests) + 1)]
    for name in sorted(CAPABILITIES):
        verdicts = [
            measured.of(name).verdict if measured else Verdict.UNTRIED for measured in guests.values()
        ]
        rows.append([f"`{name}`", *verdicts])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
