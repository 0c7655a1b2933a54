"""Scenarios that do to the bench what no scenario should: each loses, floods or confuses the agent."""

import gc
import os
import sys
import time

from agent import Context, scenario

DEVICE = r"\\.\CR42VirtualRegister"
MEBIBYTE = "x" * ((1 << 20) - 1) + "\n"


@scenario
def a_prints_100_megabytes(t: Context) -> None:
    """A talkative one still passes: what it prints is cut on the guest's side."""
    for _ in range(100):
        sys.stdout.write(MEBIBYTE)


@scenario
def b_kills_the_agent(t: Context) -> None:
    """The process is gone, without a word."""
    with t.open(DEVICE):
        os._exit(3)


@scenario
def c_writes_garbage_to_the_host(t: Context) -> None:
    """Something that is no event, on the agent's own channel."""
    wire = next(found for found in gc.get_objects() if type(found).__name__ == "Wire")
    wire._sink.write(b"Hello, \x1b[31mhost\n")
    wire._sink.flush()


@scenario
def d_reboots_the_guest(t: Context) -> None:
    """The Linux below Wine restarts behind everybody's back (Linux, Documentation/admin-guide/sysrq.rst)."""
    with open(r"Z:\proc\sysrq-trigger", "r+b", buffering=0) as trigger:
        trigger.write(b"b")
    time.sleep(20)


@scenario(deadline_s=4)
def e_floods_the_host(t: Context) -> None:
    """Past the agent, on the C runtime's stdout, which the host reads as the agent's stderr."""
    for _ in range(100):
        os.write(1, MEBIBYTE.encode())


@scenario
def f_is_well_behaved(t: Context) -> None:
    """Runs in a guest that was restored after all of that."""
    with t.open(DEVICE):
        pass
