"""Scenarios that misuse the bench: each ends, floods or confuses the agent."""

import gc
import os
import sys
import time

from agent import Context, scenario

DEVICE = r"\\.\CR42VirtualRegister"
MEBIBYTE = "x" * ((1 << 20) - 1) + "\n"


@scenario
def a_prints_100_megabytes(t: Context) -> None:
    """A scenario that prints much still passes: its output is cut in the guest."""
    for _ in range(100):
        sys.stdout.write(MEBIBYTE)


@scenario
def b_kills_the_agent(t: Context) -> None:
    """The agent's process ends without a message."""
    with t.open(DEVICE):
        os._exit(3)


@scenario
def c_writes_garbage_to_the_host(t: Context) -> None:
    """Writes a line that is no event to the agent's own channel."""
    wire = next(found for found in gc.get_objects() if type(found).__name__ == "Wire")
    wire._sink.write(b"Hello, \x1b[31mhost\n")
    wire._sink.flush()


@scenario
def d_reboots_the_guest(t: Context) -> None:
    """The Linux below Wine restarts without notice (Linux, Documentation/admin-guide/sysrq.rst)."""
    with open(r"Z:\proc\sysrq-trigger", "r+b", buffering=0) as trigger:
        trigger.write(b"b")
    time.sleep(20)


@scenario(deadline_s=4)
def e_floods_the_host(t: Context) -> None:
    """Writes to the C runtime's stdout, past the agent; the host reads it as the agent's stderr."""
    for _ in range(100):
        os.write(1, MEBIBYTE.encode())


@scenario
def f_is_well_behaved(t: Context) -> None:
    """Runs in the guest that was restored after the scenarios above."""
    with t.open(DEVICE):
        pass
