"""The corpus: one JSON file for each case, in a folder of the user's repository.

`crash-<signature>.json` is a case that took the driver down, `<digest>.json` one that reached code that no
case before it had. The files may come from anybody: they are capped, checked, and never executed on the host;
the agent checks a case again (guest/agent/fuzz/case.py has the meaning of an operation).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from harness.errors import ConfigurationError
from harness.host.regular import open_regular
from harness.outcome import Scenario

FORMAT = 1
FILE_LIMIT = 1 << 20
FILES_LIMIT = 20_000
SCENARIO = "corpus"
"""Kind of the scenarios that replay cases, and the first part of their names."""
REPLAY_S = 30.0
DATA_LIMIT = 4096
MOST_OPERATIONS = 64
LENGTH = Annotated[int, Field(ge=0, le=1 << 20)]


class Operation(BaseModel):
    """One operation of a case, as guest/agent/fuzz/case.py describes it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)

    op: Literal["open", "ioctl", "read", "write", "cancel", "close", "wait"]
    on: Annotated[int, Field(ge=0, le=3)] = 0
    device: Annotated[
        str, StringConstraints(pattern=r"^\\(\?\?|Device|DosDevices)\\[ -\[\]-~\\]{1,200}$")
    ] = ""
    code: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0
    given: Annotated[
        str, Field(alias="in", max_length=2 * DATA_LIMIT), StringConstraints(pattern=r"^([0-9a-f]{2})*$")
    ] = ""
    length: LENGTH = 0
    out: LENGTH = 0
    source: Annotated[Literal["own", "null", "freed", "kernel", "same"], Field(alias="from")] = "own"
    into: Literal["own", "null", "freed", "kernel", "same"] = "own"
    thread: Annotated[int, Field(ge=0, le=3)] = 0

    @model_validator(mode="after")
    def _opens_a_device(self) -> Operation:
        if (self.op == "open") != bool(self.device):
            raise ValueError("open names a device, and nothing else does")
        return self

    def document(self) -> dict[str, Any]:
        """As the agent reads it; what has its usual value is left out."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


Operations = tuple[Operation, ...]


class Case(BaseModel):
    """A case with where it came from.

    Attributes:
        signature: of the crash that it causes; empty for a case that reached new code.
        what: that crash in one line.
        reproduced: how many of `replays` in a restored guest crashed so; both 0 if none was tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    signature: Annotated[str, Field(max_length=300)] = ""
    what: Annotated[str, Field(max_length=2000)] = ""
    driver: Annotated[str, Field(max_length=100)] = ""
    reproduced: Annotated[int, Field(ge=0, le=1000)] = 0
    replays: Annotated[int, Field(ge=0, le=1000)] = 0
    operations: Annotated[tuple[Operation, ...], Field(min_length=1, max_length=MOST_OPERATIONS)]

    @property
    def file_name(self) -> str:
        """`crash-<signature>.json`, or the digest of the operations."""
        if self.signature:
            return f"crash-{re.sub(r'[^A-Za-z0-9._-]', '_', self.signature)[:120]}.json"
        return f"{hashlib.sha256(self.sent.encode()).hexdigest()[:16]}.json"

    @property
    def sent(self) -> str:
        """JSON of the operations, for the agent."""
        return json.dumps(documents(self.operations), separators=(",", ":"))

    @property
    def text(self) -> str:
        """The file: one operation a line, so that a difference of two versions can be read."""
        head = self.model_dump(exclude={"operations"}, exclude_defaults=True)
        lines = [f'  "{name}": {json.dumps(value)},' for name, value in {"format": FORMAT, **head}.items()]
        operations = ",\n".join(f"    {json.dumps(one)}" for one in documents(self.operations))
        return "\n".join(["{", *lines, '  "operations": [', operations, "  ]", "}", ""])


def documents(operations: Iterable[Operation]) -> list[dict[str, Any]]:
    """Operations as the agent reads them."""
    return [operation.document() for operation in operations]


def parsed(content: bytes, name: str) -> Case:
    """Reads one file's content.

    Raises:
        ConfigurationError: it is no case; the message names the file and the first thing wrong.
    """
    remedy = "Remove the file from the corpus, or restore it from version control."
    if len(content) > FILE_LIMIT:
        raise ConfigurationError(
            f"{name} is larger than {FILE_LIMIT} bytes, which no case is.", remedy=remedy
        )
    try:
        return Case.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise ConfigurationError(
            f"{name} is not a case of a corpus: {where or 'file'}: {first['msg'][:200]}.", remedy=remedy
        ) from error


def from_operations(documents: object) -> Operations | None:
    """Operations that the guest's journal holds; None if they are none."""
    try:
        return Case.model_validate({"operations": documents}, strict=False).operations
    except (ValidationError, RecursionError):
        return None


def read(folder: Path) -> dict[Path, Case]:
    """All cases of a corpus, by file, in the order of names; empty if the folder does not exist.

    A path to one file gives that case. Symbolic links are not followed.

    Raises:
        ConfigurationError: a file is no case, cannot be read, or there are too many.
    """
    files = [folder] if folder.is_file() else sorted(folder.glob("*.json"))
    if len(files) > FILES_LIMIT:
        raise ConfigurationError(
            f"The corpus {folder} has {len(files)} files; {FILES_LIMIT} are the most.",
            remedy="Make it smaller: winvm fuzz --minimise-corpus",
        )
    found = {}
    for file in files:
        try:
            if not stat.S_ISREG(file.lstat().st_mode):
                continue
            with open_regular(file) as stream:
                content = stream.read(FILE_LIMIT + 1)
        except OSError as error:
            raise ConfigurationError(
                f"{file} cannot be read: {error.strerror}.", remedy="Correct its permissions."
            ) from error
        found[file] = parsed(content, file.name)
    return found


def write(folder: Path, case: Case) -> Path:
    """Writes a case's file, over an earlier one of its name; never a part of it.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    target = folder / case.file_name
    unfinished = folder / f".{case.file_name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(case.text, encoding="utf-8")
        return unfinished.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"The case {target} cannot be written: {error.strerror}.", remedy="Name another folder: --corpus"
        ) from error


def scenarios(folder: Path) -> tuple[Scenario, ...]:
    """A scenario for each case of a corpus.

    Raises:
        ConfigurationError: as `read`, or there is no case.
    """
    cases = read(folder)
    if not cases:
        raise ConfigurationError(
            f"The corpus {folder} has no case.", remedy="Name the folder that winvm fuzz --corpus filled."
        )
    return tuple(
        Scenario(
            f"{SCENARIO}.{file.stem}",
            SCENARIO,
            summary=case.what or "reaches code that no earlier case does",
            deadline_s=REPLAY_S,
            file=str(file),
            line=1,
            case=case.sent,
        )
        for file, case in cases.items()
    )


def kept(cases: Iterable[Case]) -> Sequence[Case]:
    """Those that reached new code, the smallest first."""
    return sorted((one for one in cases if not one.signature), key=lambda one: (len(one.sent), one.sent))
