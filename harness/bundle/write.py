"""Writes the bundle of a captured crash beside the crash's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.bundle.manifest import (
    CRASH,
    CompanionDriver,
    Content,
    Driver,
    Trigger,
    TriggerKind,
    member_files,
    profile_document,
    write_bundle,
)
from harness.bundle.payload import Payload
from harness.crash.expectation import describe
from harness.outcome import CrashRecord, Scenario
from harness.project.config import Parameter
from harness.project.profile import VERIFIER, Profile
from harness.results import crash_document, json_text

LOADED, UNLOADED = "loaded", "unloaded"
WITHOUT_SCENARIO: Mapping[str, TriggerKind] = {LOADED: "load", UNLOADED: "unload"}
"""Name that a crash outside scenarios is attributed to -> the action that replays it."""

Ran = tuple[Scenario, Mapping[str, Parameter]]
"""A scenario that ran, and its parameters."""


def trigger_of(blamed: str, ran: Sequence[Ran], seed: int) -> Trigger:
    """The action that crashes the driver again in a replay.

    Args:
        ran: scenarios that ran in this guest since it was restored, oldest first.
    """
    before = [scenario.name for scenario, _ in ran]
    for scenario, parameters in reversed(ran):
        before.pop()
        if scenario.name == blamed:
            return Trigger(
                kind="scenario",
                name=blamed,
                deadline_s=scenario.deadline_s,
                parameters=dict(parameters),
                seed=seed,
                before=before,
                case=scenario.case,
            )
    return Trigger(kind=WITHOUT_SCENARIO.get(blamed, "elsewhere"), name=blamed)


@dataclass(frozen=True)
class CrashedGuest:
    """Circumstances of the crash.

    Attributes:
        build: of the driver that crashed.
        image: manifest of the guest image.
        environment: versions and digests, as in results.json.
    """

    profile: Profile
    payload: Payload
    build: str
    image: Path
    environment: Mapping[str, str]


def write_crash_bundle(target: Path, crash: CrashRecord, trigger: Trigger, guest: CrashedGuest) -> None:
    """Writes the bundle of a crash; its folder holds everything but crash.json, which comes from `crash`.

    Args:
        target: the bundle, in the folder that holds the crash's folder.

    Raises:
        OSError: a file cannot be read, or the disk is full.
        ValueError: a manifest cannot hold a name or value.
    """
    payload, build, profile = guest.payload, guest.build, guest.profile
    package = payload.packages.get(build)
    driver = Driver(
        service=payload.service,
        build=build,
        contract=payload.contract,
        inf=package.inf.name if package else "",
        verified=VERIFIER in profile.capabilities,
        made=payload.made,
    )
    files: dict[str, Content] = {
        **member_files(payload, driver, guest.image, crash.folder),
        CRASH: json_text(crash_document(crash)).encode(),
    }
    write_bundle(
        target,
        files,
        winvm=version("winvm"),
        signature=crash.signature,
        what=describe(crash.report),
        trigger=trigger,
        driver=driver,
        companions=[
            CompanionDriver(service=other.name, made=other.service, before=other.before)
            for other in payload.companions
        ],
        guest=profile.name,
        profile=profile_document(profile),
        image=json.loads(guest.image.read_bytes())["digest"],
        environment=dict(guest.environment),
    )
