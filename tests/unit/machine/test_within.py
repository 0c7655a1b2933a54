"""An interrupted call of libvirt's has ended, made to by its `abort`, before the interruption goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INTERRUPTED = """\
import os, signal, sys, threading
from harness.deadline import Deadline
from harness.machine.connection import within

said, released, begun = [], threading.Event(), threading.Event()

def call():
    begun.set()
    released.wait()
    said.append("ended")

def abort():
    said.append("abort")
    if begun.is_set() and said.count("abort") > 1:  # the first one comes too early to find a QEMU
        released.set()

def interrupted(frame, event, result):
    if event == "return" and frame.f_code.co_name == sys.argv[1]:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.setprofile(interrupted)
try:
    within(Deadline.after(1), "A call", call, abort)
except KeyboardInterrupt:
    assert "ended" in said, said
    print("interrupted, and the call has ended")
"""


@pytest.mark.parametrize("function", ["wait", "start", "remaining"])
def test_an_interrupted_call_has_ended(function: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, function],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "interrupted, and the call has ended\n", done.stderr
