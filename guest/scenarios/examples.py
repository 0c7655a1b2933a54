"""One example for each kind of call that the agent offers; docs/reference.md shows them.

They use the sample driver's devices: LySharkAsync completes one pending read each 50 ms, CR42 has a 4-byte
register with an atomic ADD, MsgBoard keeps messages, ProcLook signals a named event.
"""

from __future__ import annotations

import struct

from agent import Child, Context, State, equal, raises_win32, scenario
from agent.win32 import constants
from scenarios.contract import Cr42Ioctl, MsgboardIoctl


@scenario
def overlapped_io(t: Context) -> None:
    """Starts two reads, goes on while both pend, and takes their data once the driver completes them."""
    with t.open("LySharkAsync", overlapped=True) as device:
        first, second = device.read_async(64), device.read_async(5)
        equal(second.done, False, "whether the later read has ended already")
        equal(first.wait(), b"hello lyshark", "data of the first read")
        equal(second.wait(timeout_s=2.0), b"hello", "data of the second read")


@scenario
def cancellation(t: Context) -> None:
    """Cancels one pending read of several; it ends with ERROR_OPERATION_ABORTED, the others with data."""
    with t.open("LySharkAsync", overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(8)]
        equal(reads[-1].cancel(), True, "whether there was something to cancel")
        with raises_win32(constants.ERROR_OPERATION_ABORTED):
            reads[-1].wait(1.0)
        equal(reads[0].wait(), b"hello lyshark", "data of a read that was not cancelled")


@scenario
def threads(t: Context) -> None:
    """Four threads start together and add to one register; no addition is lost."""

    def add_twenty(_index: int) -> int:
        with t.open("CR42VirtualRegister") as device:
            for _ in range(20):
                device.ioctl(Cr42Ioctl.ADD_R1, struct.pack("<i", 1), 4)
        return 20

    with t.open("CR42VirtualRegister") as device:
        device.ioctl(Cr42Ioctl.SET_R1, struct.pack("<i", 0))
        equal(sum(t.threads(4, add_twenty)), 80, "additions made")
        equal(device.ioctl(Cr42Ioctl.GET_R1, out=4), struct.pack("<i", 80), "the register")


@scenario(deadline_s=60)
def second_process(t: Context) -> None:
    """Another process posts a message and answers with its number; this one reads the message."""
    with t.spawn(post, "from another process") as child, t.open("MsgBoard") as device:
        equal(child.receive(), "posted", "what the second process says")
        equal(device.ioctl(MsgboardIoctl.GET, out=100), b"from another process", "the newest message")
        child.send("done")
        equal(child.result(), 4, "bytes of the message's number")


def post(child: Child, text: str) -> int:
    """Runs in the second process, which has the same calls as `t`, and messages to its parent."""
    with child.open("MsgBoard") as device:
        number = device.ioctl(MsgboardIoctl.SHOW, text.encode(), 4)
        child.send("posted")
        equal(child.receive(), "done", "the parent's answer")
    return len(number)


@scenario
def events(t: Context) -> None:
    """Opens the driver's named event, and makes one that a thread signals while this thread waits."""
    with t.open_event("Global\\ProcLook") as named:
        named.wait(0.0)  # True if a process has just started or ended
    with t.create_event(manual_reset=False) as signalled:
        equal(signalled.wait(0.05), False, "whether it is signalled before anybody did")
        t.threads(1, lambda _index: signalled.set())
        equal(signalled.wait(1.0), True, "whether it is signalled now")


@scenario(deadline_s=60)
def services(t: Context) -> None:
    """Stops the driver through the service control manager, sees its device gone, and starts it again."""
    with t.services() as manager, manager.open(t.service) as service:
        service.stop()
        equal(service.wait_for(State.STOPPED, 10.0).exit_code, 0, "exit code of the stopped service")
        with raises_win32(constants.ERROR_FILE_NOT_FOUND):
            t.open("MsgBoard")
        service.start()
        equal(service.wait_for(State.RUNNING, 10.0).state, State.RUNNING, "state of the service")


@scenario
def raw_nt_calls(t: Context) -> None:
    """NtDeviceIoControlFile with exact pointers gives the driver's own status and byte count."""
    with t.open_native("\\Device\\CR42") as device, t.memory(4, guarded=True) as memory:
        done = device.ioctl(Cr42Ioctl.GET_R1, 0, 0, memory.address, 4)
        equal((done.status, done.information), (constants.STATUS_SUCCESS, 4), "status and bytes of GET")
        short = device.ioctl(Cr42Ioctl.GET_R1, 0, 0, memory.address, 3)
        equal(short.status, constants.STATUS_BUFFER_TOO_SMALL, "status of a GET into 3 bytes")
