"""From a captured crash to its bundle beside the crash's folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from harness.bundle.manifest import Driver, Trigger, TriggerKind, member_files, profile_document, write_bundle
from harness.bundle.payload import Payload
from harness.crash.expectation import describe
from harness.outcome import Crash, Scenario
from harness.project.config import Parameter
from harness.project.profile import VERIFIER, Profile
from harness.results import crash_document, write_json

LOADED, UNLOADED = "loaded", "unloaded"
WITHOUT_SCENARIO: Mapping[str, TriggerKind] = {LOADED: "load", UNLOADED: "unload"}
"""Whom a crash outside of scenarios is blamed on -> what a replay of it does."""

Ran = tuple[Scenario, Mapping[str, Parameter]]
"""A scenario that ran, and its parameters."""


def trigger_of(blamed: str, ran: Sequence[Ran], seed: int) -> Trigger:
    """What a replay does to crash the driver again.

    Args:
        ran: what ran in this guest since it was restored, oldest first.
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
            )
    return Trigger(kind=WITHOUT_SCENARIO.get(blamed, "elsewhere"), name=blamed)


def bundled(
    crash: Crash,
    target: Path,
    trigger: Trigger,
    payload: Payload,
    build: str,
    profile: Profile,
    image: Path,
    environment: Mapping[str, str],
) -> Crash:
    """Writes the bundle of a captured crash to `target`; the crash with its name, or with a note why not.

    Args:
        target: in the folder that holds the crash's folder, two below that of the run's artifacts.
        build: of the driver that went down.
        image: manifest of the guest image.

    Raises:
        OSError: crash.json cannot be written anew.
    """
    folder = crash.folder
    assert folder
    package = payload.packages.get(build)
    try:
        inf = package.inf.name if package else ""
        driver = Driver(
            service=payload.service,
            build=build,
            contract=payload.contract,
            inf=inf,
            verified=VERIFIER in profile.capabilities,
        )
        write_bundle(
            target,
            member_files(payload.agent, driver, payload.drivers[build], image, folder, package),
            winvm=version("winvm"),
            signature=crash.signature,
            what=describe(crash),
            trigger=trigger,
            driver=driver,
            guest=profile.name,
            profile=profile_document(profile),
            image=json.loads(image.read_bytes())["digest"],
            environment=dict(environment),
        )
    except (OSError, ValueError) as error:
        crash = dataclasses.replace(crash, notes=(*crash.notes, f"{target.name} is missing: {error}"))
    else:
        crash = dataclasses.replace(crash, bundle=f"{target.parent.name}/{target.name}")
    write_json(folder / "crash.json", crash_document(crash))
    return crash
