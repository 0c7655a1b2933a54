"""Probes of a guest: each result's verdict, crashes that lose no other probe, and the unsigned driver."""

from __future__ import annotations

import shutil
from pathlib import Path

import pefile
import pytest

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.project import config
from harness.project.measured import Verdict
from harness.project.profile import CAPABILITIES, INF_PACKAGE
from harness.run.plan import make_plan
from harness.run.probing import (
    capability,
    finding,
    inf_package,
    probes_digest,
    run_probes,
    sources,
    without_signature,
)
from harness.toolchain.identity import code_digest
from harness.toolchain.inspect import is_signed
from harness.toolchain.sign import TestCertificate, sign
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.fakes.machine import FakeMachine
from tests.fakes.tiny_driver import build_tiny_driver
from tests.fakes.transport import FakeTransport
from tests.unit.run.test_bench import Setup, connected


def probe(name: str, **options: object) -> Scenario:
    return Scenario(f"probe.{name}", "probe", deadline_s=5.0, build="release", **options)  # type: ignore[arg-type]


def break_down(agent: FakeAgent) -> None:
    agent.debug.break_down("bugcheck", 0xD1, 1, 2, 3, 4)


def test_each_capability_has_one_probe(tmp_path: Path) -> None:
    before = probes_digest()
    shutil.copytree(sources(), tmp_path / "probes")
    plan = make_plan(config.load(tmp_path / "probes" / config.FILE_NAME), None)
    tried = [capability(scenario) for scenario in plan.scenarios]
    assert sorted([*tried, INF_PACKAGE]) == sorted(CAPABILITIES)
    assert probes_digest() == before


@pytest.mark.parametrize(
    ("outcome", "notes", "verdict"),
    [
        (Outcome.PASSED, (), Verdict.SHOWN),
        (Outcome.PASSED, ("a remark",), Verdict.SHOWN),
        (Outcome.PASSED, ("differs: no end is reported",), Verdict.DIFFERS),
        (Outcome.FAILED, (), Verdict.NOT_SHOWN),
        (Outcome.ERROR, (), Verdict.NOT_SHOWN),
        (Outcome.CRASHED, (), Verdict.NOT_SHOWN),
        (Outcome.HUNG, (), Verdict.NOT_SHOWN),
        (Outcome.SKIPPED, (), Verdict.NOT_SHOWN),
        (Outcome.LOST, (), Verdict.UNTRIED),
    ],
)
def test_an_outcome_is_a_verdict(outcome: Outcome, notes: tuple[str, ...], verdict: Verdict) -> None:
    found = finding(ScenarioResult("probe.irql", "probe", outcome, "why", notes=notes), None)
    assert (found.verdict, found.outcome) == (verdict, outcome)
    if verdict is Verdict.DIFFERS:
        assert found.message == "no end is reported"
    elif verdict is not Verdict.SHOWN:
        assert found.message == "why"


def test_a_dump_that_cannot_be_read_is_not_shown() -> None:
    passed = ScenarioResult("probe.kernel_dump", "probe", Outcome.PASSED)
    assert finding(passed, "").verdict is Verdict.SHOWN
    found = finding(passed, "the crash left no kernel dump")
    assert (found.verdict, found.message) == (Verdict.NOT_SHOWN, "the crash left no kernel dump")


def test_a_crash_in_a_probe_loses_no_other(tmp_path: Path) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("probe.irql", lambda command: break_down(agent))
        agent.when("probe.wow64", lambda command: agent.finish(command, "failed", message="no program"))

    bench = connected(Setup(tmp_path, script))
    bench.crashes.bundles = False
    found = run_probes(bench, [probe("kernel_seh"), probe("irql"), probe("wow64"), probe("pool_tags")])
    verdicts = {name: one.verdict for name, one in found.items()}
    assert verdicts == {
        "kernel-seh": Verdict.SHOWN,
        "irql": Verdict.NOT_SHOWN,
        "wow64": Verdict.NOT_SHOWN,
        "pool-tags": Verdict.SHOWN,
    }
    assert found["irql"].outcome == "crashed"
    assert "0x000000d1" in found["irql"].message
    assert found["wow64"].message == "no program"


class Unrestorable(FakeMachine):
    """Its QEMU does not start again."""

    def revert(self, deadline: Deadline) -> None:
        raise MachineError("QEMU does not start.")


def test_a_guest_that_is_lost_leaves_the_rest_untried(tmp_path: Path) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("probe.irql", lambda command: break_down(agent))

    setup = Setup(tmp_path, script)
    setup.machine = Unrestorable(tmp_path / "lost")
    setup.machine.start(Deadline.after(5))
    bench = setup.new_bench()
    bench.connect("release")
    bench.crashes.bundles = False
    found = run_probes(bench, [probe("irql"), probe("wow64"), probe("pool_tags")])
    assert (found["irql"].verdict, found["wow64"].verdict) == (Verdict.NOT_SHOWN, Verdict.UNTRIED)
    assert found["wow64"].message == "QEMU does not start."
    assert "pool-tags" not in found


def test_a_pnputil_that_says_nothing_installs_nothing() -> None:
    transport = FakeTransport()
    found = inf_package(transport)
    assert (found.verdict, found.outcome) == (Verdict.NOT_SHOWN, "error")
    transport.answer("pnputil.exe")
    assert inf_package(transport).verdict is Verdict.NOT_SHOWN
    transport.answer("pnputil.exe", 5)
    assert inf_package(transport).message.endswith("ended with 0x5")
    transport.answer("pnputil.exe", stdout=b"Microsoft PnP Utility\r\nPublished Name: oem0.inf\r\n")
    assert inf_package(transport).verdict is Verdict.UNTRIED


def test_the_unsigned_driver_is_the_signed_one_without_its_signature(tmp_path: Path) -> None:
    plain = build_tiny_driver(tmp_path)
    signed = tmp_path / "signed.sys"
    signed.write_bytes(plain.read_bytes())
    sign(signed, TestCertificate.ensure(tmp_path / "certificate"))
    assert is_signed(signed)
    bare = without_signature(signed, tmp_path / "bare")
    assert not is_signed(bare)
    assert code_digest(bare) == code_digest(signed)
    with pefile.PE(str(bare)) as image:
        assert image.verify_checksum()
