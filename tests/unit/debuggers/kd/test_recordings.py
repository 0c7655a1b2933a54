"""Recorded sessions of a real NT kernel on a serial line: replayed to the live host, and decoded.

Needs WINVM_SAMPLES; the values that are compared come from the recordings' own description.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.file import opened
from harness.debuggers.kd.capture.recording import read_recording
from harness.debuggers.kd.manipulate import Api
from tests.fakes.kd_lines import Noise
from tests.fakes.kd_listening import Bench, Listening
from tests.fakes.kd_recording import RecordedKernel, Recording, continued_with, prompts

REPORTS, MODULES = 55, 53
"""Images that were reported as loaded, two of them user mode's, and modules in the kernel's list."""
NULL_WRITE = "boot-load-null-write"
DOUBLE_COMPLETION = "boot-load-double-completion"
MDL = "boot-load-mdl-scenarios"
ASKED = frozenset({"frames", "culprit"})
"""Fields of a bugcheck for which the live host reads memory that these recordings do not hold."""
TOLD = ("load-symbols", "unload-symbols", "exception", "bugcheck")

every_recording = pytest.mark.parametrize("name", [NULL_WRITE, DOUBLE_COMPLETION, MDL])
in_any_noise = pytest.mark.parametrize(
    "noise",
    [{}, {"lost": 0.02}, {"cut": 0.02}, {"wrong": 0.02}, {"resets": 0.02}, {"asked": 0.02}],
    ids=str,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def recorded(samples: Path, name: str) -> Recording:
    return Recording(samples / "kdcom-reactos" / f"{name}.txt.gz")


def replayed(bench: Bench, recording: Recording, **noise: Any) -> tuple[Listening, RecordedKernel]:
    """The host's events for the whole recording."""
    kernel = RecordedKernel(recording)
    resets = noise.pop("asked", 0.0)
    host, target = bench.serial(kernel, noise=Noise(**noise), retry_s=0.01, resets=resets)
    host.wait(lambda: kernel.done and target.target.idle and not target.target.halted, 60.0)
    host.wait(lambda: len(host.text) >= len(recording.text))  # it acknowledges before it reports the event
    return host, kernel


def check_goldens(name: str, told: list[tuple[str, Mapping[str, Any]]]) -> None:
    """The events that each recording must give."""
    raised = [fields for kind, fields in told if kind == "exception"]
    bugchecks = [fields for kind, fields in told if kind == "bugcheck"]
    assert Counter(kind for kind, _ in told)["load-symbols"] == REPORTS
    if name == MDL:
        assert not raised
        assert not bugchecks
        return
    assert len(bugchecks) == 1
    (bugcheck,) = bugchecks
    assert bugcheck["halted"]
    if name == NULL_WRITE:
        assert (raised[0]["code"], raised[0]["first_chance"]) == (0xC0000005, False)
        assert raised[0]["place"] == "winvm.sys+0x287f"
        assert raised[0]["parameters"] == [1, 0]
        code, address, _, last = bugcheck["parameters"]
        assert (bugcheck["code"], code, last) == (0x1E, 0xFFFFFFFFC0000005, 0)
        assert address == raised[0]["address"]
        assert bugcheck["fault"] == "winvm.sys+0x287f"
    else:
        assert bugcheck["code"] == 0x44
        assert bugcheck["parameters"][0]
        assert bugcheck["parameters"][1:] == [0, 0, 0]
    stop = raised[-1]
    assert (stop["code"], stop["first_chance"], stop["place"]) == (0x80000003, True, "ntoskrnl.exe+0x1730b2")
    assert len(bugcheck["modules"]) == MODULES


def check_markers(text: str) -> None:
    """Forty scenarios began and ended, in order."""
    marks = [line.split()[2:4] for line in text.splitlines() if line.startswith("WINVM-MARK ")]
    assert marks == [[edge, str(number)] for number in range(40) for edge in ("begin", "end")]


@every_recording
@in_any_noise
def test_the_live_host_tells_what_the_kernel_really_said(
    bench: Bench, samples: Path, name: str, noise: dict[str, float]
) -> None:
    recording = recorded(samples, name)
    began = time.monotonic()
    host, kernel = replayed(bench, recording, **noise)
    took = time.monotonic() - began
    assert host.text == recording.text
    assert not host.of("warning")
    check_goldens(name, [(event.kind, event.fields) for event in host.events])
    if name == MDL:
        check_markers(host.text)
    answered = [answer for answer in kernel.answers if answer.payload[:2] == b"\x31\x32"]
    statuses = [continued_with(answer) for answer in kernel.answers if answer not in answered]
    assert statuses == recording.statuses
    assert len(answered) == prompts(recording)
    assert noise or took < recording.seconds / 10


def test_the_access_of_a_foreign_kernel_s_bugcheck_is_told_by_the_exception(
    bench: Bench, samples: Path
) -> None:
    """Its bugcheck 0x1E holds an address where Windows puts the kind of access."""
    host, _ = replayed(bench, recorded(samples, NULL_WRITE))
    (event,) = [event for event in host.events if event.kind == "bugcheck"]
    assert "wrote" not in str(event.fields["explanation"])
    assert event.report
    assert event.report.exception
    assert event.report.exception.parameters == (1, 0)
    assert event.report.bugcheck
    assert event.report.bugcheck.explanation.endswith("wrote to address 0x0, through a null pointer.")


def decode(file: Path) -> list[dict[str, Any]]:
    done = CliRunner().invoke(
        winvm, ["kd", "decode", str(file), "--serial", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


@every_recording
def test_the_decoder_reports_what_the_live_host_reported(bench: Bench, samples: Path, name: str) -> None:
    recording = recorded(samples, name)
    *events, summary = decode(samples / "kdcom-reactos" / f"{name}.txt.gz")
    host, kernel = replayed(bench, recording)
    # Frames are unwound from the images' memory, which the recorded host did not read.
    assert {request.api for request in kernel.refused} <= {Api.READ_VIRTUAL}
    told = [event for event in host.events if event.kind in TOLD]
    known = [event for event in events if event["kind"] in TOLD]
    assert [event["kind"] for event in known] == [event.kind for event in told]
    for decoded, live in zip(known, told, strict=True):
        heard = {name: value for name, value in live.fields.items() if name not in ASKED}
        assert {name: decoded[name] for name in heard} == heard
    text = "".join(event["text"] for event in events if event["kind"] == "dbgprint")
    assert text == recording.text
    check_goldens(name, [(event["kind"], event) for event in events])
    assert (summary["malformed"], summary["packets"]) == (0, len(events) - len(told_bugchecks(events)))
    assert events[-1]["time"] <= recording.seconds


@every_recording
def test_what_the_target_sent_is_enough_for_its_bugcheck(samples: Path, tmp_path: Path, name: str) -> None:
    recording = samples / "kdcom-reactos" / f"{name}.txt.gz"
    with opened(recording) as file:
        sent = b"".join(one.data for one in read_recording(file) if not one.from_host)
    (tmp_path / "serial.log").write_bytes(sent)
    *events, _ = decode(tmp_path / "serial.log")
    check_goldens(name, [(event["kind"], event) for event in events])
    both = told_bugchecks(decode(recording))
    assert [{**event, "frame": 0, "time": 0.0} for event in told_bugchecks(events)] == [
        {**event, "frame": 0, "time": 0.0} for event in both
    ]


def told_bugchecks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "bugcheck"]


def test_the_directions_are_distinguished(samples: Path) -> None:
    *events, _ = decode(samples / "kdcom-reactos" / f"{MDL}.txt.gz")
    counts = Counter((event["from"], event["kind"]) for event in events)
    assert counts["target", "ack"] == 65
    assert counts["host", "ack"] == 2331
    assert counts["target", "dbgprint"] == 2274
    assert counts["host", "manipulate"] == 57
    answers = [event for event in events if event.get("what") == "prompt-answer"]
    assert [event["from"] for event in answers] == ["host"] * 8
