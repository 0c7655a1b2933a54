"""The files that a run deploys into the guest; a crash bundle holds the same ones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.project.config import Parameter, ServiceSection
from harness.toolchain.deployed import Companion
from harness.toolchain.package import Package


@dataclass(frozen=True)
class Payload:
    """Everything that is deployed into the guest.

    Attributes:
        agent: the zipapp.
        service: name of the driver's service.
        drivers: build name -> signed `.sys`.
        contract: generated module that declares HELLO; empty if the driver has none.
        parameters: value of `t.params` in scenarios.
        seed: value of `t.seed` in scenarios; the same when a crash is reproduced.
        packages: build name -> the INF package that installs it; empty when drivers are plain services.
        made: how the driver's service is made.
        files: path below the guest's folder of files, with `/` -> the file.
        companions: the project's other drivers, in their order.
        instruments: what the agent reads from the driver, names of `harness.toolchain.instrument`.
    """

    agent: Path
    service: str
    drivers: Mapping[str, Path]
    contract: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    packages: Mapping[str, Package] = field(default_factory=dict)
    made: ServiceSection = field(default_factory=ServiceSection)
    files: Mapping[str, Path] = field(default_factory=dict)
    companions: tuple[Companion, ...] = ()
    instruments: tuple[str, ...] = ()
