"""Makes every build of a configured driver: compiled or prebuilt, signed, verified, inspected."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.errors import BuildError
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.journal import Journal, StepKind
from harness.project.config import Config
from harness.toolchain.compile import compile_build
from harness.toolchain.deployed import Companion
from harness.toolchain.inf.checks import check_inf
from harness.toolchain.inspect import inspect_driver, is_signed
from harness.toolchain.instrument import build_output
from harness.toolchain.package import take_package
from harness.toolchain.prebuilt import take_prebuilt
from harness.toolchain.rules import RuleFinding, judge
from harness.toolchain.sign import TestCertificate, sign, verify


def build_drivers(
    config: Config, exports: Path | None, journal: Journal, builds: Iterable[str] | None = None
) -> dict[str, Path]:
    """Compiles, signs and inspects every build; returns build name -> `.sys`, in the order of winvm.toml.

    A prebuilt driver is not compiled, and keeps the signature that it has.

    Args:
        builds: make only these.
        exports: the guest image's list of what its Wine implements; imports beyond it become notes.

    Raises:
        BuildError: a step fails.
    """
    drivers = {}
    wanted = config.driver.builds if builds is None else frozenset(builds)
    with hold(config.build_lock):
        certificate = TestCertificate.ensure(config.build_folder / "certificate")
        for build in filter(wanted.__contains__, config.driver.builds):
            with journal.step(StepKind.SETUP, f"build driver ({build})") as found:
                output = build_output(config, build)
                drivers[build] = _build(config, build, output, certificate, exports, journal)
                found["sha256"] = file_sha256(drivers[build])
    return drivers


def build_companions(
    config: Config, exports: Path | None, journal: Journal, builds: Iterable[str]
) -> tuple[Companion, ...]:
    """The project's other drivers, made as `build_drivers` makes the one under test.

    Raises:
        BuildError: a step fails.
    """
    made = []
    with hold(config.build_lock):
        certificate = TestCertificate.ensure(config.build_folder / "certificate")
        for companion in config.deploy.drivers:
            drivers, own = {}, config.of_companion(companion)
            for build in builds:
                with journal.step(StepKind.SETUP, f"build driver {companion.name} ({build})"):
                    output = config.build_folder / "companions" / companion.name / build
                    drivers[build] = _build(own, build, output, certificate, exports, journal)
            made.append(Companion(companion.name, drivers, companion.service, companion.load == "before"))
    return tuple(made)


def _build(
    config: Config,
    build: str,
    output: Path,
    certificate: TestCertificate,
    exports: Path | None,
    journal: Journal,
) -> Path:
    prebuilt = config.prebuilt_driver(build)
    if prebuilt:
        driver = take_prebuilt(prebuilt, config.driver.name, output)
    else:
        driver = compile_build(config, build, output, journal)
    if not prebuilt or not is_signed(driver):
        sign(driver, certificate)
        verify(driver, certificate)
    notes = [*_package_notes(config, build), *_notes(config, driver, exports, prebuilt is not None)]
    for line in notes:
        journal.warn(f"{driver.name} ({build}): {line}")
    return driver


def _notes(config: Config, driver: Path, exports: Path | None, prebuilt: bool) -> list[str]:
    folder = config.driver_folder if config.driver_folder.is_dir() else config.root
    sources = None if prebuilt else folder
    rules = config.check.rules
    return inspect_driver(driver, exports, prebuilt=prebuilt, rules=rules, sources=sources)


def _package_notes(config: Config, build: str) -> list[str]:
    """What is noted of the INF package; raises `BuildError` for what Windows would install nothing of."""
    inf = config.package(build)
    if inf is None:
        return []
    found = check_inf(inf, take_package(inf).files, config.driver.name)
    refused, noted = judge([RuleFinding(*one) for one in found], config.check.rules)
    if refused:
        raise BuildError(
            f"The driver package {inf} fails {len(refused)} check{'s' * (len(refused) > 1)}.",
            remedy="Correct the INF, or give a rule another severity under [check] rules in winvm.toml.",
            detail="\n".join(refused),
        )
    return noted
